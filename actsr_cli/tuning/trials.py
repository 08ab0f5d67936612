"""Trials as text, the same in the terminal and on the page of the study."""

from __future__ import annotations

from datetime import datetime

from optuna.trial import FrozenTrial, TrialState

from actsr_cli.experiment.record import Status
from actsr_cli.tuning.attempts import DEATHS
from actsr_cli.tuning.queue import ERROR, LIVES
from actsr_cli.tuning.study import Plan

_STATES = {
    TrialState.RUNNING: Status.RUNNING.value,
    TrialState.WAITING: "waiting",
    TrialState.COMPLETE: Status.FINISHED.value,
    TrialState.PRUNED: Status.PRUNED.value,
    TrialState.FAIL: Status.FAILED.value,
}


def trial_columns(plan: Plan) -> tuple[str, ...]:
    """The headers of `trial_cells`."""
    keys = (short_key(dimension.key) for dimension in plan.space)
    return ("trial", plan.config.training.monitor, "state", *keys, "epochs", "minutes")


def trial_cells(plan: Plan, trial: FrozenTrial) -> tuple[str, ...]:
    """A trial as a row of a table."""
    keys = (dimension.key for dimension in plan.space)
    settings = (value_text(trial.params[key]) if key in trial.params else "" for key in keys)
    epochs = "" if trial.last_step is None else str(trial.last_step)
    seconds = seconds_of(trial)
    minutes = "" if seconds is None else f"{seconds / 60:.1f}"
    return (str(trial.number), score_text(trial), state_of(trial), *settings, epochs, minutes)


def state_of(trial: FrozenTrial) -> str:
    """The state of a trial, in the words of the states of runs."""
    return _STATES[trial.state]


def error_of(trial: FrozenTrial) -> str:
    """The error of a failed trial; empty for any other."""
    if trial.user_attrs.get(DEATHS) == LIVES - 1 and trial.state == TrialState.FAIL and ERROR not in trial.user_attrs:
        return f"its process was killed {LIVES} times"
    return str(trial.user_attrs.get(ERROR, ""))


def settings_text(trial: FrozenTrial) -> str:
    """The settings of a trial in one line: `learning_rate=0.001 layers=2`."""
    return " ".join(f"{short_key(key)}={value_text(value)}" for key, value in trial.params.items())


def short_key(key: str) -> str:
    """The last part of a dotted key."""
    return key.rpartition(".")[2]


def value_text(value: object) -> str:
    """A setting as text, fractions with four digits."""
    return f"{value:.4g}" if isinstance(value, float) else "none" if value is None else str(value)


def score(trial: FrozenTrial) -> float | None:
    """The value of a trial; of one that has none the best so far, which it has reported last."""
    if trial.value is not None:
        return trial.value
    return None if trial.last_step is None else trial.intermediate_values[trial.last_step]


def score_text(trial: FrozenTrial) -> str:
    """`score` as text; empty if there is none."""
    found = score(trial)
    return "" if found is None else f"{found:.4f}"


def seconds_of(trial: FrozenTrial) -> float | None:
    """The duration of a trial, up to now if it is running; None if it has not begun."""
    if trial.datetime_start is None:
        return None
    end = trial.datetime_complete or datetime.now(trial.datetime_start.tzinfo)
    return (end - trial.datetime_start).total_seconds()
