"""A study in the terminal: a table that is updated while it runs, and a summary at its end."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Literal

import optuna
from optuna.trial import FrozenTrial, TrialState
from rich.console import RenderableType
from rich.live import Live
from rich.table import Table

from actsr_cli import console
from actsr_cli.tuning.attempts import SURPLUS, counted
from actsr_cli.tuning.charts import importance_bars
from actsr_cli.tuning.outcome import Outcome, counts_text
from actsr_cli.tuning.queue import RUN
from actsr_cli.tuning.study import Plan, best_first, total
from actsr_cli.tuning.trials import (
    error_of,
    score_text,
    seconds_of,
    settings_text,
    short_key,
    state_of,
    trial_cells,
    trial_columns,
)
from actsr_cli.words import command

_SHOWN = 12
"""Number of trials in a table: the latest ones while the study runs, the best ones in the summary."""


class StudyView:
    """Shows the trials of a study: on a terminal as a table that is updated, elsewhere as one line per trial that ends.

    Args:
        plan: the study.
        study: its trials.
    """

    def __init__(self, plan: Plan, study: optuna.Study) -> None:
        self.plan = plan
        self.study = study
        self._live: Live | None = None
        self._told = {trial.number for trial in self._trials() if trial.state.is_finished()}

    @contextmanager
    def live(self) -> Iterator[None]:
        """Shows the table for as long as the context lasts."""
        if console.messages.quiet or not console.messages.is_terminal:
            yield
            return
        with Live(self._table(), console=console.messages, refresh_per_second=2, transient=True) as self._live:
            yield
        self._live = None

    def update(self) -> None:
        """Show the trials that have ended since the last call, and redraw the table."""
        for trial in self._trials():
            if trial.state.is_finished() and trial.number not in self._told and SURPLUS not in trial.user_attrs:
                self._told.add(trial.number)
                console.note(self._line(trial))
        if self._live is not None:
            self._live.update(self._table())

    def first_error(self) -> str:
        """The error of the first failed trial, as the end of a sentence; empty if none has failed."""
        errors = [error_of(trial) for trial in counted(self._trials()) if trial.state == TrialState.FAIL]
        return f"; the first one failed: {errors[0]}" if errors else ""

    def _trials(self) -> list[FrozenTrial]:
        return self.study.get_trials(deepcopy=False)

    def _best(self, trials: list[FrozenTrial]) -> int | None:
        """The number of the best finished trial."""
        ranking = best_first(self.study, trials)
        return ranking[0].number if ranking else None

    def _line(self, trial: FrozenTrial) -> str:
        trials = self._trials()
        state = state_of(trial) if trial in counted(trials) else "stopped, waits to be run again"
        parts = [f"trial {trial.number:>3}", state, settings_text(trial), score_text(trial)]
        parts += ["best so far"] if trial.number == self._best(trials) else []
        return "   ".join(filter(None, [*parts, error_of(trial)]))

    def _table(self) -> RenderableType:
        trials = counted(self._trials())
        best = self._best(trials)
        table = _trial_table(self.plan, f"Study {self.plan.title}", self._caption(trials, best))
        begun = [trial for trial in trials if trial.state != TrialState.WAITING]
        shown = [trial for trial in begun if trial.number == best or trial in begun[-_SHOWN:]]
        for trial in shown:
            _add_row(self.plan, table, trial, highlight=trial.number == best)
        return table

    def _caption(self, trials: list[FrozenTrial], best: int | None) -> str:
        ended = [trial for trial in trials if trial.state.is_finished()]
        parts = [f"{len(ended)} of {max(len(ended), total(self.plan))} trials"]
        if best is not None:
            parts.append(f"best: trial {best}, {self.plan.config.training.monitor} {score_text(self._trials()[best])}")
        if left := _minutes_left(self.plan, ended):
            parts.append(f"about {left:.0f} min left")
        return "   ".join(parts)


def print_outcome(plan: Plan, outcome: Outcome) -> None:
    """Print the best trials, the importance of each key, and the paths of the results."""
    caption = f"{plan.config.training.monitor} on validation at the best epoch; {counts_text(outcome)}"
    if outcome.ranking:
        table = _trial_table(plan, f"Study {plan.title}: best trials", caption)
        for trial in outcome.ranking[:_SHOWN]:
            _add_row(plan, table, trial, highlight=trial is outcome.best)
        console.results.print(table)
    if outcome.best is not None:
        bars = ", ".join(f"{short_key(key)} {share:.0%}" for key, share in importance_bars(outcome))
        note = outcome.importance.note
        text = f"{bars} of the variance of the values ({note})" if bars else f"not shown, {note}"
        console.results.print(f"Importance of the settings: {text}", soft_wrap=True, markup=False)
        console.note(f"Pictures: {plan.folder / 'study.html'}")
        console.note(f"Next: {command('train', '--preset', str(plan.folder / 'best.yaml'), '--seeds', '3')}")


def outcome_record(plan: Plan, outcome: Outcome) -> dict[str, Any]:
    """The state of a study for JSON: finished trials, the best first."""
    return {
        "study": plan.title,
        "folder": str(plan.folder),
        "sampler": plan.sampler,
        "monitor": plan.config.training.monitor,
        "ended": outcome.done,
        "left": outcome.left,
        "trials": [
            {
                "number": trial.number,
                "run": trial.user_attrs.get(RUN),
                "value": trial.value,
                "params": trial.params,
                "epochs": trial.last_step,
                "seconds": seconds_of(trial),
            }
            for trial in outcome.ranking
        ],
        "importances": outcome.importance.shares,
        "interactions": outcome.importance.rest if outcome.importance.shares else None,
        "importances_note": outcome.importance.note,
        "preset": None if outcome.best is None else str(plan.folder / "best.yaml"),
    }


def _trial_table(plan: Plan, title: str, caption: str) -> Table:
    table = Table(title=title, caption=caption, title_justify="left", caption_justify="left")
    monitor = plan.config.training.monitor
    for name in trial_columns(plan):
        justify: Literal["left", "right"] = "right" if name in ("trial", monitor, "epochs", "minutes") else "left"
        # A narrow terminal shows whole names, on several lines.
        table.add_column(name, justify=justify, overflow="fold")
    return table


def _add_row(plan: Plan, table: Table, trial: FrozenTrial, *, highlight: bool) -> None:
    table.add_row(*trial_cells(plan, trial), style="bold" if highlight else None)


def _minutes_left(plan: Plan, ended: list[FrozenTrial]) -> float | None:
    """The expected time to the end, from the mean time of the trials that have ended; None before one has finished.

    Pruned trials are short, so that the mean says too little before a whole one has finished.
    """
    if not any(trial.state == TrialState.COMPLETE for trial in ended):
        return None
    seconds = [seconds_of(trial) or 0.0 for trial in ended if trial.state != TrialState.FAIL]
    return max(0, total(plan) - len(ended)) * sum(seconds) / len(seconds) / plan.workers / 60
