"""Writes the results of a study into its folder."""

from __future__ import annotations

from collections.abc import Sequence

import optuna
from optuna.trial import FrozenTrial

from actsr_cli.files import write_text
from actsr_cli.pages.charts import bar_figure, chart_figure, save
from actsr_cli.tuning.attempts import counted
from actsr_cli.tuning.charts import epochs_chart, history_chart, importance_bars, key_charts
from actsr_cli.tuning.outcome import Outcome, best_preset
from actsr_cli.tuning.report import study_page
from actsr_cli.tuning.study import Plan

IMPORTANCES = "param_importances"


def write_outcome(plan: Plan, study: optuna.Study, outcome: Outcome, command: str) -> None:
    """Write trials.csv into the study's folder and, if a trial has finished, also best.yaml, study.html and pictures.

    Args:
        plan: the study.
        study: its trials.
        outcome: the state of the study.
        command: the command line of the study, recorded in best.yaml and on the page.
    """
    table = study.trials_dataframe(attrs=("number", "state", "value", "params", "user_attrs", "duration"))
    write_text(plan.folder / "trials.csv", table.to_csv(index=False))
    if outcome.best is None:
        return
    write_text(plan.folder / "best.yaml", best_preset(plan, outcome, command))
    trials = counted(study.get_trials(deepcopy=False))
    write_text(plan.folder / "study.html", study_page(plan, outcome, trials, command))
    _draw(plan, outcome, trials)


def _draw(plan: Plan, outcome: Outcome, trials: Sequence[FrozenTrial]) -> None:
    charts = {"optimization_history": [history_chart(plan, outcome)], "slice": key_charts(plan, outcome)}
    charts["intermediate_values"] = [chart for chart in [epochs_chart(plan, outcome, trials)] if chart.series]
    figures = {name: chart_figure(drawn, columns=2) for name, drawn in charts.items() if drawn}
    if bars := importance_bars(outcome):
        share = f"share of the variance of {plan.config.training.monitor} ({outcome.importance.note})"
        figures[IMPORTANCES] = bar_figure("Importance of the settings", share, bars)
    else:
        (plan.folder / f"{IMPORTANCES}.png").unlink(missing_ok=True)  # of fewer trials, or of another version
    for name, figure in figures.items():
        save(figure, plan.folder / f"{name}.png")
