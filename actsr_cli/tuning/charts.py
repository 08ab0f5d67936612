"""The trials of a study as charts, which its page and its pictures both show."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate

from optuna.trial import FrozenTrial

from actsr_cli.pages.charts import Chart, Series
from actsr_cli.tuning.outcome import Outcome
from actsr_cli.tuning.space import Dimension, Range
from actsr_cli.tuning.study import Plan
from actsr_cli.tuning.trials import value_text

_LOUD = 5
"""The curves of so many trials, the best ones, have colours."""
REST = "interactions and chance"


def history_chart(plan: Plan, outcome: Outcome) -> Chart:
    """The value of each finished trial, and the best one so far."""
    trials = sorted(outcome.ranking, key=lambda trial: trial.number)
    points = [(float(trial.number), float(trial.value or 0)) for trial in trials]
    best = accumulate((value for _, value in points), min if plan.lower_is_better else max)
    return Chart(
        title="Values in the order of the trials",
        x="trial",
        y=_score(plan),
        series=[
            Series("finished trial", points, look="points"),
            Series("best so far", [(number, value) for (number, _), value in zip(points, best, strict=True)]),
        ],
        scale="whole",
    )


def epochs_chart(plan: Plan, outcome: Outcome, trials: Sequence[FrozenTrial]) -> Chart:
    """The best value of each trial up to each epoch."""
    loud = {trial.number: None for trial in outcome.ranking[:_LOUD]}
    curves = {
        trial.number: sorted((float(epoch), value) for epoch, value in trial.intermediate_values.items())
        for trial in trials
        if trial.intermediate_values
    }
    order = [*(number for number in loud if number in curves), *(number for number in curves if number not in loud)]
    series = [Series(f"trial {number}", curves[number], quiet=number not in loud) for number in order]
    return Chart("Best value up to each epoch", "epoch", _score(plan), series, scale="whole")


def key_charts(plan: Plan, outcome: Outcome) -> list[Chart]:
    """For each searched key the value of each finished trial by its setting."""
    return [
        _key_chart(plan, outcome, each)
        for each in plan.space
        if any(each.key in trial.params for trial in outcome.ranking)
    ]


def importance_bars(outcome: Outcome) -> list[tuple[str, float]]:
    """The share of the variance of each key, and the rest; empty if it is not known."""
    shares = list(outcome.importance.shares.items())
    return [*shares, (REST, outcome.importance.rest)] if shares else []


def _key_chart(plan: Plan, outcome: Outcome, dimension: Dimension) -> Chart:
    tried = [trial for trial in outcome.ranking if dimension.key in trial.params]
    domain = dimension.domain
    names: list[str] = []
    if isinstance(domain, Range):
        scale = "log" if domain.log else "whole" if dimension.whole else "numbers"
        points = [(float(trial.params[dimension.key]), float(trial.value or 0)) for trial in tried]
    else:
        scale, values = "names", list(dict.fromkeys(domain))
        names = [value_text(value) for value in values]
        points = [(float(values.index(trial.params[dimension.key])), float(trial.value or 0)) for trial in tried]
    series = [Series("finished trial", sorted(points), look="points")]
    return Chart(dimension.key, dimension.key, _score(plan), series, scale, names)  # type: ignore[arg-type]


def _score(plan: Plan) -> str:
    return f"{plan.config.training.monitor}, validation"
