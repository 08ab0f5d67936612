"""The page of a study, made from the files in `page/`."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict
from importlib.resources import files

from optuna.trial import FrozenTrial

from actsr_cli.evaluation.protocol import Protocol
from actsr_cli.pages.page import Page, page_html
from actsr_cli.tuning.charts import epochs_chart, history_chart, importance_bars, key_charts
from actsr_cli.tuning.outcome import Outcome, counts_text
from actsr_cli.tuning.queue import RUN
from actsr_cli.tuning.study import Plan, extent
from actsr_cli.tuning.trials import error_of, score, score_text, settings_text, trial_cells, trial_columns


def study_page(plan: Plan, outcome: Outcome, trials: Sequence[FrozenTrial], command: str) -> str:
    """The HTML of the page. The page loads no other files.

    Args:
        plan: the study.
        outcome: its state; a trial must have finished.
        trials: its trials, finished or not.
        command: its command line.
    """
    charts = [history_chart(plan, outcome), epochs_chart(plan, outcome, trials)]
    payload = {
        "facts": _facts(plan, outcome, trials, command),
        "winner": _winner(plan, outcome),
        "importance": {"bars": importance_bars(outcome), "note": outcome.importance.note},
        "charts": [asdict(chart) for chart in charts if chart.series],
        "keys": [asdict(chart) for chart in key_charts(plan, outcome)],
        "columns": [*trial_columns(plan), "error"],
        "trials": [[*trial_cells(plan, trial), error_of(trial)] for trial in _sorted(plan, outcome, trials)],
    }
    place = files("actsr_cli.tuning") / "page"
    return page_html(Page("Study", plan.title, f"{extent(plan)}.", place, payload))


def _facts(plan: Plan, outcome: Outcome, trials: Sequence[FrozenTrial], command: str) -> list[tuple[str, str]]:
    begun = [trial.datetime_start for trial in trials if trial.datetime_start is not None]
    ended = [trial.datetime_complete for trial in trials if trial.datetime_complete is not None]
    protocol = Protocol.of(plan.config.evaluation).title
    return [
        ("Command", command),
        ("Date", " to ".join(dict.fromkeys(f"{day:%Y-%m-%d %H:%M}" for day in (min(begun), max(ended))))),
        ("Trials", counts_text(outcome)),
        ("Compared by", f"{plan.config.training.monitor} on the validation split, at the best epoch"),
        ("Protocol", protocol),
    ]


def _winner(plan: Plan, outcome: Outcome) -> list[tuple[str, str]]:
    best = outcome.best
    if best is None:
        raise ValueError("no trial has finished")
    return [
        ("Trial", f"{best.number}, run {best.user_attrs.get(RUN, 'unknown')}"),
        (plan.config.training.monitor, score_text(best)),
        ("Settings", settings_text(best)),
        ("Epochs", "" if best.last_step is None else str(best.last_step)),
    ]


def _sorted(plan: Plan, outcome: Outcome, trials: Sequence[FrozenTrial]) -> list[FrozenTrial]:
    """The finished trials, then those that have a value all the same, then the others; each the best first."""
    finished = {trial.number for trial in outcome.ranking}
    others = [trial for trial in trials if trial.number not in finished]
    sign = 1 if plan.lower_is_better else -1
    others.sort(key=lambda trial: math.inf if (found := score(trial)) is None else sign * found)
    return [*outcome.ranking, *others]
