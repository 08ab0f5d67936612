"""A study: trials of one search, in a storage that any number of processes and machines work on.

runs/studies/DATASET/MODEL/NAME/
    journal.log     the trials, where no other storage is named
    locks/          one held by each trial that is being trained: a free one tells that its process has died
    trials.csv, best.yaml, study.html, *.png    what came of it
"""

from __future__ import annotations

import json
import random
import socket
import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Literal

import optuna
from filelock import FileLock, Timeout
from optuna.pruners import BasePruner, NopPruner, SuccessiveHalvingPruner
from optuna.samplers import BaseSampler, RandomSampler, TPESampler
from optuna.storages import BaseStorage, JournalStorage, RDBStorage
from optuna.storages.journal import JournalFileBackend
from optuna.trial import FrozenTrial, TrialState
from sqlalchemy.engine import make_url
from sqlalchemy.exc import SQLAlchemyError

from actsr_cli.config import RunConfig
from actsr_cli.errors import RunError
from actsr_cli.experiment.run import open_run
from actsr_cli.models.registry import display_name
from actsr_cli.tuning.space import Space, grid

Sampler = Literal["grid", "random", "tpe"]

FIRST_RUNG = 3
"""Validated epochs before a trial can be given up."""
_REDUCTION = 3
"""Of the trials that reach a rung, one of so many goes on; each rung is so many times as many epochs up."""
_BIRTH = timedelta(minutes=1)
"""A trial without an owner that is older died between being asked for and being locked."""
NOT_SEARCHED = {"device", "threads", "log_attention"}
"""Training settings that change no number: a study may go on with others."""

OWNER, AGAIN, RUN, ERROR = "owner", "again", "run", "error"
"""What is noted of a trial: its process's lock, the number of the trial that it repeats, its run, why it failed."""


@dataclass(frozen=True)
class Plan:
    """What a study searches and where it is kept; every worker gets it.

    Attributes:
        name: of the study among those of its data set and model; its trials' runs are called NAME-tNUMBER.
        sampler: how settings are chosen.
        config: settings of all trials but for the searched ones.
        preset: what they come from, for the record.
        space: what is searched.
        fingerprint: of the prepared data.
        trials: how many in all, over every call; None takes the whole grid.
        pruning: whether trials that fall behind on the validation curve are given up.
        storage: URL of a database; None keeps a journal in the study's folder.
        runs_dir: root of the runs.
        data_dir: root of the data sets.
        workers: processes on this machine.
        deadline: seconds since the epoch after which no trial begins; None: there is none.
    """

    name: str
    sampler: Sampler
    config: RunConfig
    preset: str | None
    space: Space
    fingerprint: str
    trials: int | None
    pruning: bool
    storage: str | None
    runs_dir: Path
    data_dir: Path
    workers: int = 1
    deadline: float | None = None

    @property
    def title(self) -> str:
        """DATASET/MODEL/NAME."""
        return f"{self.config.dataset}/{display_name(self.config.model)}/{self.name}"

    @property
    def folder(self) -> Path:
        """Where the study is kept."""
        return self.runs_dir / "studies" / self.title

    @property
    def place(self) -> str:
        """Where the trials are kept, for people to read: no password of a database is in it."""
        if self.storage is None:
            return str(self.folder)
        try:
            return make_url(self.storage).render_as_string(hide_password=True)
        except SQLAlchemyError:
            return self.storage

    @property
    def identity(self) -> dict[str, Any]:
        """What makes it this study and no other, as JSON has it."""
        facts = {
            "settings": self.config.model_dump(mode="json", exclude={"training": NOT_SEARCHED, "description": True}),
            "search space": {
                each.key: each.domain if isinstance(each.domain, tuple) else each.domain.model_dump()
                for each in self.space
            },
            "sampler": self.sampler,
            "pruning": self.pruning,
            "data": self.fingerprint,
        }
        plain: dict[str, Any] = json.loads(json.dumps(facts))
        return plain


def open_study(plan: Plan) -> optuna.Study:
    """The plan's study, made where there is none yet; a grid's combinations wait in it.

    Raises:
        RunError: the study of this name is another one, or the storage cannot be opened.
    """
    plan.folder.mkdir(parents=True, exist_ok=True)
    with _claiming(plan):
        try:
            study = optuna.create_study(
                study_name=plan.title,
                storage=_storage(plan),
                direction="maximize",
                pruner=_pruner(plan),
                load_if_exists=True,
            )
        except (SQLAlchemyError, ImportError) as error:
            raise RunError(
                f"storage {plan.place} cannot be opened: {str(error).splitlines()[0]}",
                hint="It takes a URL such as sqlite:///studies.db or postgresql://user@host/database, and its driver.",
            ) from error
        known = study.user_attrs.get("identity")
        if known is None:
            _refuse_strange_runs(plan)
            study.set_user_attr("identity", plan.identity)
        elif known != plan.identity:
            differing = ", ".join(key for key, value in plan.identity.items() if known.get(key) != value)
            raise RunError(
                f"study {plan.title} was begun with another {differing}",
                hint=f"Give another --name, or delete {plan.folder} and begin anew.",
            )
        if plan.sampler == "grid":
            _enqueue_grid(plan, study)
    return study


def claim(plan: Plan, study: optuna.Study) -> tuple[optuna.trial.Trial, FileLock] | None:
    """The next trial with the lock that its process must hold; None where there is none left.

    Trials of processes that have died are put back in the queue first.
    """
    with _claiming(plan):
        revive(plan, study)
        trials = study.get_trials(deepcopy=False)
        waiting = any(trial.state == TrialState.WAITING for trial in trials)
        if not waiting and (plan.sampler == "grid" or len(counted(trials)) >= (plan.trials or 0)):
            return None
        study.sampler = _sampler(plan, seed=plan.config.training.seed + len(trials))
        trial = study.ask()
        path = plan.folder / "locks" / f"{trial.number}.lock"
        path.parent.mkdir(exist_ok=True)
        lock = FileLock(path)
        lock.acquire()
        trial.set_user_attr(OWNER, _owner(path))
        for dimension in plan.space:
            dimension.suggest(trial)
        return trial, lock


def revive(plan: Plan, study: optuna.Study) -> None:
    """End the trials whose process on this machine has died, and let each be run again."""
    for trial in study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
        if _has_died(plan, trial):
            run = trial.user_attrs.get(RUN)  # none where it died before it had one
            if run is not None and Path(run).exists():
                open_run(Path(run)).update(status="interrupted")
            fail_and_repeat(study, trial.number)


def fail_and_repeat(study: optuna.Study, number: int) -> None:
    """End a trial that was stopped on its way; another with the same settings waits in its place."""
    trial = study.get_trials(deepcopy=False)[number]
    study.tell(number, state=TrialState.FAIL)
    settings = trial.params or trial.system_attrs.get("fixed_params")
    if settings:
        study.enqueue_trial(settings, user_attrs={AGAIN: number})


def counted(trials: Sequence[FrozenTrial]) -> list[FrozenTrial]:
    """Trials but for those that another one repeats."""
    repeated = {trial.user_attrs[AGAIN] for trial in trials if AGAIN in trial.user_attrs}
    return [trial for trial in trials if trial.number not in repeated]


def total(plan: Plan) -> int:
    """How many trials the plan has."""
    if plan.sampler != "grid":
        return plan.trials or 0
    size = len(grid(plan.space))
    return size if plan.trials is None else min(size, plan.trials)


def in_time(plan: Plan) -> bool:
    """Whether another trial may begin."""
    return plan.deadline is None or time.time() < plan.deadline


def _claiming(plan: Plan) -> FileLock:
    """What one process at a time holds while it looks for its next trial."""
    return FileLock(plan.folder / "claim.lock")


def _storage(plan: Plan) -> BaseStorage:
    if plan.storage is None:
        return JournalStorage(JournalFileBackend(str(plan.folder / "journal.log")))
    return RDBStorage(plan.storage)


def _sampler(plan: Plan, seed: int) -> BaseSampler:
    """A sampler for the next trial alone: its number is in the seed, so that no two workers draw the same."""
    return TPESampler(seed=seed) if plan.sampler == "tpe" else RandomSampler(seed=seed)


def _pruner(plan: Plan) -> BasePruner:
    """Asynchronous successive halving (Li et al., MLSys 2020) over validated epochs."""
    if not plan.pruning:
        return NopPruner()
    return SuccessiveHalvingPruner(min_resource=FIRST_RUNG, reduction_factor=_REDUCTION)


def _enqueue_grid(plan: Plan, study: optuna.Study) -> None:
    """Let those combinations wait that no trial has yet; shuffled, so that a part of a grid is spread over it.

    Optuna's own grid sampler is not used: several workers may be given the same combination by it, and none is given
    the combination of a trial that was killed.
    """
    combinations = grid(plan.space)
    random.Random(plan.config.training.seed).shuffle(combinations)  # noqa: S311 (no secret)
    known = [trial.params or trial.system_attrs.get("fixed_params") for trial in study.get_trials(deepcopy=False)]
    for combination in combinations[: plan.trials]:
        if combination not in known:
            study.enqueue_trial(combination)


def _refuse_strange_runs(plan: Plan) -> None:
    strange = sorted(plan.runs_dir.glob(f"{plan.title}-t[0-9]*"))
    if strange:
        raise RunError(
            f"there are runs of another study {plan.title}, such as {strange[0]}",
            hint="Give another --name, or delete them: actsr runs delete …",
        )


def _owner(lock: Path) -> str:
    return f"{socket.gethostname()}:{lock.resolve()}"


def _has_died(plan: Plan, trial: FrozenTrial) -> bool:
    """Whether the process of a running trial is no more; of other machines' trials nobody here can know."""
    path = plan.folder / "locks" / f"{trial.number}.lock"
    if trial.user_attrs.get(OWNER) is None:
        begun = trial.datetime_start
        return begun is not None and datetime.now(UTC) - begun.astimezone(UTC) > _BIRTH
    if trial.user_attrs[OWNER] != _owner(path):
        return False
    try:
        with FileLock(path).acquire(blocking=False):
            return True
    except Timeout:
        return False
