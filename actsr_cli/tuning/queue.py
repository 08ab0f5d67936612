"""Assigns the trials of a study to processes on one or several machines, each of which may die at any time."""

from __future__ import annotations

import random
import uuid
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import optuna
from optuna.distributions import BaseDistribution
from optuna.samplers import BaseSampler, TPESampler
from optuna.trial import FrozenTrial, TrialState

from actsr_cli.files import write_text
from actsr_cli.locks import held, holder
from actsr_cli.tuning.attempts import AGAIN, DEATHS, SURPLUS, counted
from actsr_cli.tuning.draws import combinations, draws
from actsr_cli.tuning.space import draw, grid
from actsr_cli.tuning.study import Plan, claiming, locks_of, total

_BIRTH = timedelta(minutes=1)
"""The worker of an older trial without an owner died after requesting the trial and before locking it."""
_SUGGESTIONS = 20
"""Suggestions that are made until one was not tried before; then a combination is drawn at random."""
LIVES = 3
"""A trial whose process died this many times has failed: something kills it, such as too little memory."""

OWNER, RUN, ERROR = "owner", "run", "error"
"""Attributes of a trial: id of the lock folder that has its lock, name of its run, error message if it failed."""


def claim(plan: Plan, study: optuna.Study) -> tuple[optuna.trial.Trial, ExitStack] | None:
    """The next trial and its lock, which this process holds until it leaves that context; None if no trial is left.

    First puts the trials of dead processes back into the queue.
    """
    with claiming(plan):
        revive(plan, study)
        trials = study.get_trials(deepcopy=False)
        if len([trial for trial in counted(trials) if trial.state != TrialState.WAITING]) >= total(plan):
            return None
        for _ in range(1 + sum(trial.state == TrialState.WAITING for trial in trials)):  # those in the queue come first
            trial = study.ask()
            lock = ExitStack()
            lock.enter_context(held(_lock_file(plan, trial.number), f"trial {trial.number} of {plan.title}", "trained"))
            trial.set_user_attr(OWNER, _place_id(plan))
            place = _place(study.get_trials(deepcopy=False), trial.number)
            if place < total(plan):
                study.sampler = _Given(_values(plan, study, trial.number, place))
                draw(plan.space, trial)
                return trial, lock
            with lock:
                if AGAIN not in trial.user_attrs:  # the queue is empty, and another machine has taken the last trial
                    trial.set_user_attr(SURPLUS, True)
                    study.tell(trial, state=TrialState.FAIL)
                    return None
                fail_and_repeat(study, trial.number)  # its turn comes with a larger number of trials
        return None


def revive(plan: Plan, study: optuna.Study) -> None:
    """End the trials whose process on this machine has died, and enqueue each again, at most `LIVES` - 1 times."""
    for trial in study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
        if _has_died(plan, study, trial):
            deaths = trial.user_attrs.get(DEATHS, 0) + 1
            if deaths < LIVES:
                fail_and_repeat(study, trial.number, deaths)
            else:
                study.tell(trial.number, state=TrialState.FAIL)


def fail_and_repeat(study: optuna.Study, number: int, deaths: int | None = None) -> None:
    """End a trial that was interrupted, and enqueue a new one with the same settings.

    Args:
        study: the study of the trial.
        number: number of the trial.
        deaths: how often its process has died so far; None: it did not die this time, so the count stays.
    """
    trial = study.get_trials(deepcopy=False)[number]
    study.tell(number, state=TrialState.FAIL)
    settings = trial.system_attrs.get("fixed_params") or trial.params
    known = trial.user_attrs.get(DEATHS, 0) if deaths is None else deaths
    study.enqueue_trial(settings, user_attrs={AGAIN: number, DEATHS: known})


def _place(trials: Sequence[FrozenTrial], number: int) -> int:
    """The number of counted trials before this one; a repeated trial has the place of the trial that it repeats."""
    while AGAIN in trials[number].user_attrs:
        number = trials[number].user_attrs[AGAIN]
    return sum(AGAIN not in trial.user_attrs and SURPLUS not in trial.user_attrs for trial in trials[:number])


def _values(plan: Plan, study: optuna.Study, number: int, place: int) -> Mapping[str, Any]:
    """The combination of a trial.

    The storage gives each trial a unique number, and so a unique place. A grid and a random search assign their
    combinations by place, so two machines never take the same one. (Optuna's own grid sampler may give several workers
    the same combination, and may give the combination of a killed trial to none.)
    """
    seed = plan.config.training.seed
    if plan.sampler == "tpe":
        return _suggested(plan, study, number, int(np.random.SeedSequence([seed, place]).generate_state(1)[0]))
    if plan.sampler == "grid":
        points = grid(plan.space)
        random.Random(seed).shuffle(points)  # noqa: S311 (no secret); so that a part of a grid covers all of it
        return points[place]
    return draws(plan.space, seed, place + 1)[place]


def _suggested(plan: Plan, study: optuna.Study, number: int, seed: int) -> Mapping[str, Any]:
    """The suggestion of a tree-structured Parzen estimator for a trial; another one if that was tried before.

    All trials have the same seed, so a second trial of a combination would have the result of the first. Suggestions
    are made in a copy of the study: one that is not taken leaves nothing behind.
    """
    trials = study.get_trials(deepcopy=False)
    others = [trial for trial in counted(trials) if trial.number != number]
    tried = [trial.system_attrs.get("fixed_params") or trial.params for trial in others]
    copy = optuna.create_study(direction=study.direction, sampler=TPESampler(seed=seed))
    copy.add_trials([trial for trial in others if trial.state in (TrialState.COMPLETE, TrialState.PRUNED)])
    begun = trials[number].system_attrs.get("fixed_params", {})  # of a repetition: what its first process had drawn
    for _ in range(_SUGGESTIONS):
        copy.enqueue_trial(begun)
        trial = copy.ask()
        draw(plan.space, trial)
        if trial.params not in tried:
            return trial.params
        copy.tell(trial, state=TrialState.FAIL)
    count = min(len(tried) + 1, combinations(plan.space) or len(tried) + 1)
    fitting = (each for each in draws(plan.space, seed, count) if each not in tried and begun.items() <= each.items())
    return next(fitting, trial.params)


class _Given(BaseSampler):
    """Suggests fixed values.

    Args:
        values: the value of each key.
    """

    def __init__(self, values: Mapping[str, Any]) -> None:
        self.values = values

    def infer_relative_search_space(self, study: optuna.Study, trial: FrozenTrial) -> dict[str, BaseDistribution]:
        return {}

    def sample_relative(
        self, study: optuna.Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        return {}

    def sample_independent(
        self, study: optuna.Study, trial: FrozenTrial, param_name: str, param_distribution: BaseDistribution
    ) -> Any:
        return self.values[param_name]


def _lock_file(plan: Plan, number: int) -> Path:
    """The lock that the process of a trial holds as long as it lives."""
    return locks_of(plan) / f"{number}.lock"


def _place_id(plan: Plan) -> str:
    """Id of the folder of locks. Machines that share a storage may have different folders; host names may change."""
    file = locks_of(plan) / "id"
    if not file.exists():
        write_text(file, uuid.uuid4().hex)
    return file.read_text(encoding="utf-8")


def _has_died(plan: Plan, study: optuna.Study, trial: FrozenTrial) -> bool:
    """Whether the process of a running trial has died; False if its lock is on another machine."""
    owner = trial.user_attrs.get(OWNER)
    if owner is None:
        begun = trial.datetime_start
        return begun is not None and datetime.now(UTC) - begun.astimezone(UTC) > _BIRTH
    if owner != _place_id(plan):
        return False
    if holder(_lock_file(plan, trial.number)) is not None:
        return False
    return study.get_trials(deepcopy=False)[trial.number].state == TrialState.RUNNING  # it may have just ended
