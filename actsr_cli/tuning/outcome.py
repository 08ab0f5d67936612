"""Results of a study: its state, and its best settings as a preset."""

from __future__ import annotations

from dataclasses import dataclass

import optuna
import yaml
from optuna.trial import FrozenTrial, TrialState

from actsr_cli.errors import RunError
from actsr_cli.experiment.record import Status
from actsr_cli.experiment.run import Run, open_run
from actsr_cli.presets import TUNE, with_values
from actsr_cli.tuning.attempts import counted
from actsr_cli.tuning.importance import Importance, importance_of
from actsr_cli.tuning.queue import RUN
from actsr_cli.tuning.space import NOT_SEARCHED, Range
from actsr_cli.tuning.study import Plan, best_first, total, whole
from actsr_cli.words import visible

_WHOLE = ("data", "split")
"""Sections that best.yaml writes in full: without them, `train` would use the data that were prepared last."""


@dataclass(frozen=True)
class Outcome:
    """The state of a study.

    Attributes:
        done: number of ended trials by status: `finished`, `pruned`, `failed`.
        left: number of trials of the plan that have not ended.
        best: the best finished trial; None if no trial has finished.
        ranking: finished trials, the best first.
        importance: how much each key changes the value.
    """

    done: dict[Status, int]
    left: int
    best: FrozenTrial | None
    ranking: list[FrozenTrial]
    importance: Importance


def outcome_of(plan: Plan, study: optuna.Study) -> Outcome:
    """The current state of a study."""
    trials = counted(study.get_trials(deepcopy=False))
    ended = {
        name: [trial for trial in trials if trial.state == state]
        for name, state in (
            (Status.FINISHED, TrialState.COMPLETE),
            (Status.PRUNED, TrialState.PRUNED),
            (Status.FAILED, TrialState.FAIL),
        )
    }
    done = {name: len(group) for name, group in ended.items()}
    ranking = best_first(study, trials)
    best = ranking[0] if ranking else None
    importance = importance_of(plan.space, ranking, pruned=done[Status.PRUNED], whole=whole(plan))
    return Outcome(done, max(0, total(plan) - sum(done.values())), best, ranking, importance)


def counts_text(outcome: Outcome) -> str:
    """The number of trials by state: `4 finished, 2 pruned, 3 left`."""
    counts = {name.value: count for name, count in outcome.done.items()} | {"left": outcome.left}
    return ", ".join(f"{count} {name}" for name, count in counts.items() if count) or "none ended"


def winner(plan: Plan, outcome: Outcome) -> Run:
    """The run of the best trial.

    Raises:
        RunError: no trial has finished, or the run is not on this machine.
    """
    if outcome.best is None:
        raise RunError("no trial of the study has finished", hint="Run the same command again to continue the study.")
    path = plan.runs_dir / outcome.best.user_attrs[RUN]
    if not path.exists():
        raise RunError(
            f"the run of the best trial was deleted or is on another machine: {path} is missing",
            hint="Run the command on the machine that has this run.",
        )
    return open_run(path)


def best_preset(plan: Plan, outcome: Outcome, command: str) -> str:
    """The settings of the best trial as a preset, with the name of the study and its search space."""
    best = outcome.best
    if best is None:
        raise ValueError("no trial has finished")
    config = with_values(plan.config, best.params)
    monitor = config.training.monitor
    found = f"best of study {plan.title} (trial {best.number}, validation {monitor} {best.value:.4f})"
    every = config.model_dump(mode="json")
    settings = config.model_dump(mode="json", exclude_defaults=True) | {"description": found}
    for key in ("model.name", "calibration.kind", "loss.name", *best.params):
        section, name = key.split(".")[:2]  # written even if they equal the default
        settings[section] = {name: every[section][name]} | settings.get(section, {})
    settings |= {section: every[section] for section in _WHOLE}
    for name in NOT_SEARCHED:
        settings.get("training", {}).pop(name, None)
    settings = {section: settings[section] for section in every if section in settings}
    settings[TUNE] = {
        each.key: each.domain.model_dump(exclude_defaults=True) if isinstance(each.domain, Range) else list(each.domain)
        for each in plan.space
    }
    counts = ", ".join(f"{count} {name}" for name, count in outcome.done.items() if count)
    head = f"# Study {plan.title}: {counts}. Chosen on validation alone.\n# {visible(command)}\n"
    return head + yaml.safe_dump(settings, sort_keys=False, width=100)
