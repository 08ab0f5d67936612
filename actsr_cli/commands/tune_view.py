"""A study in the terminal: a table that is updated while it runs, and a summary at its end."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from typing import Any

import optuna
from optuna.trial import FrozenTrial, TrialState
from rich.console import RenderableType
from rich.live import Live
from rich.table import Table

from actsr_cli import console
from actsr_cli.experiment.record import Status
from actsr_cli.tuning.outcome import Outcome
from actsr_cli.tuning.queue import DEATHS, ERROR, LIVES, RUN, SURPLUS, counted
from actsr_cli.tuning.study import Plan, best_first, total

_SHOWN = 12
"""Number of trials in a table: the latest ones while the study runs, the best ones in the summary."""
_STATES = {
    TrialState.RUNNING: Status.RUNNING.value,
    TrialState.WAITING: "waiting",
    TrialState.COMPLETE: Status.FINISHED.value,
    TrialState.PRUNED: Status.PRUNED.value,
    TrialState.FAIL: Status.FAILED.value,
}


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

    def extent(self) -> str:
        """The number of trials and the keys of the search, in one line."""
        keys = ", ".join(dimension.key for dimension in self.plan.space)
        return f"{self.plan.sampler} search of {total(self.plan)} trials over {keys}"

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
        errors = [_error(trial) for trial in counted(self._trials()) if trial.state == TrialState.FAIL]
        return f"; the first one failed: {errors[0]}" if errors else ""

    def _trials(self) -> list[FrozenTrial]:
        return self.study.get_trials(deepcopy=False)

    def _best(self, trials: list[FrozenTrial]) -> int | None:
        """The number of the best finished trial."""
        ranking = best_first(self.study, trials)
        return ranking[0].number if ranking else None

    def _line(self, trial: FrozenTrial) -> str:
        trials = self._trials()
        state = _state(trial) if trial in counted(trials) else "stopped, waits to be run again"
        parts = [f"trial {trial.number:>3}", state, _settings(trial), _value(trial)]
        parts += ["best so far"] if trial.number == self._best(trials) else []
        return "   ".join(filter(None, [*parts, _error(trial)]))

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
            parts.append(f"best: trial {best}, {self.plan.config.training.monitor} {_value(self._trials()[best])}")
        if left := _minutes_left(self.plan, ended):
            parts.append(f"about {left:.0f} min left")
        return "   ".join(parts)


def print_outcome(plan: Plan, outcome: Outcome) -> None:
    """Print the best trials, the importance of each key, and the paths of the results."""
    counts = ", ".join(f"{count} {name}" for name, count in outcome.done.items() if count) or "none ended"
    left = f", {outcome.left} left" if outcome.left else ""
    caption = f"{plan.config.training.monitor} on validation at the best epoch; {counts}{left}"
    if outcome.ranking:
        table = _trial_table(plan, f"Study {plan.title}: best trials", caption)
        for trial in outcome.ranking[:_SHOWN]:
            _add_row(plan, table, trial, highlight=trial is outcome.best)
        console.results.print(table)
    if outcome.importances:
        shares = ", ".join(f"{_short(key)} {share:.0%}" for key, share in outcome.importances.items())
        console.results.print(f"Importance of the settings: {shares}", soft_wrap=True)
    if outcome.best is not None:
        console.note(f"Pictures: {plan.folder / 'study.html'}")
        console.note(f"Next: actsr train --preset {plan.folder / 'best.yaml'} --seeds 3")


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
                "seconds": _seconds(trial),
            }
            for trial in outcome.ranking
        ],
        "importances": outcome.importances,
        "preset": None if outcome.best is None else str(plan.folder / "best.yaml"),
    }


def _trial_table(plan: Plan, title: str, caption: str) -> Table:
    table = Table(title=title, caption=caption, title_justify="left", caption_justify="left")
    for name in ("trial", "state", *(_short(dimension.key) for dimension in plan.space)):
        table.add_column(name, overflow="fold")  # a narrow terminal shows whole names, on several lines
    for name in ("epochs", plan.config.training.monitor, "minutes"):
        table.add_column(name, justify="right")
    return table


def _add_row(plan: Plan, table: Table, trial: FrozenTrial, *, highlight: bool) -> None:
    settings = [_text(trial.params.get(dimension.key)) for dimension in plan.space]
    epochs = "" if trial.last_step is None else str(trial.last_step)
    seconds = _seconds(trial)
    minutes = "" if seconds is None else f"{seconds / 60:.1f}"
    style = "bold" if highlight else None
    table.add_row(str(trial.number), _state(trial), *settings, epochs, _value(trial), minutes, style=style)


def _state(trial: FrozenTrial) -> str:
    return _STATES[trial.state]


def _error(trial: FrozenTrial) -> str:
    """The error of a failed trial; empty for any other."""
    if trial.user_attrs.get(DEATHS) == LIVES - 1 and trial.state == TrialState.FAIL and ERROR not in trial.user_attrs:
        return f"its process was killed {LIVES} times"
    return str(trial.user_attrs.get(ERROR, ""))


def _settings(trial: FrozenTrial) -> str:
    return " ".join(f"{_short(key)}={_text(value)}" for key, value in trial.params.items())


def _short(key: str) -> str:
    return key.rpartition(".")[2]


def _text(value: object) -> str:
    return f"{value:.4g}" if isinstance(value, float) else "" if value is None else str(value)


def _value(trial: FrozenTrial) -> str:
    """The value of a trial; of a running one the best so far, which it has reported last."""
    if trial.value is not None:
        return f"{trial.value:.4f}"
    return "" if trial.last_step is None else f"{trial.intermediate_values[trial.last_step]:.4f}"


def _seconds(trial: FrozenTrial) -> float | None:
    if trial.datetime_start is None:
        return None
    end = trial.datetime_complete or datetime.now(trial.datetime_start.tzinfo)
    return (end - trial.datetime_start).total_seconds()


def _minutes_left(plan: Plan, ended: list[FrozenTrial]) -> float | None:
    """The expected time to the end, from the mean time of the trials that have ended; None before one has finished.

    Pruned trials are short, so that the mean says too little before a whole one has finished.
    """
    if not any(trial.state == TrialState.COMPLETE for trial in ended):
        return None
    seconds = [_seconds(trial) or 0.0 for trial in ended if trial.state != TrialState.FAIL]
    return max(0, total(plan) - len(ended)) * sum(seconds) / len(seconds) / plan.workers / 60
