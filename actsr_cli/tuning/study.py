"""A study: the trials of one search, in a storage that processes and machines share.

runs/studies/DATASET/MODEL/NAME/
    journal.log     the trials, if no other storage is given
    claim.lock      lock of the process that takes a trial
    locks/          a lock per running trial, held by its process: a free lock means that the process has died; their id
    trials.csv, best.yaml, study.html, *.png    results
"""

from __future__ import annotations

import json
import re
import time
from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import optuna
from optuna.pruners import BasePruner, NopPruner
from optuna.storages import BaseStorage, JournalStorage, RDBStorage
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState
from sqlalchemy.engine import make_url
from sqlalchemy.exc import SQLAlchemyError

from actsr_cli import locks
from actsr_cli.config import RunConfig
from actsr_cli.errors import RunError
from actsr_cli.evaluation.metrics import parse_measure
from actsr_cli.experiment import lock
from actsr_cli.models.registry import display_name, short_name
from actsr_cli.tuning.attempts import Halving
from actsr_cli.tuning.draws import combinations
from actsr_cli.tuning.journal import Journal
from actsr_cli.tuning.space import NOT_SEARCHED, Space, grid
from actsr_cli.words import counted

Sampler = Literal["grid", "random", "tpe"]

FIRST_RUNG = 3
"""Number of epochs before a trial can be pruned."""
_SPACE = "search space"
"""The fact about a study whose order counts, too: by the order of the keys, combinations are drawn."""
_REDUCTION = 3
"""Each rung keeps the best third of the trials and trains them three times longer."""


@dataclass(frozen=True)
class Plan:
    """What a study searches and where it is stored; every worker gets a copy.

    Attributes:
        name: name of the study, unique for its data set and model; the runs of its trials are called NAME-tNUMBER.
        sampler: how settings are chosen.
        config: settings of all trials, except the searched ones.
        preset: the preset that they come from, for the record.
        space: the search space.
        fingerprint: fingerprint of the prepared data.
        trials: total number of trials over all calls; None: the whole grid.
        pruning: whether trials that fall behind on the validation curve are stopped early.
        storage: URL of a database; None: a journal in the study's folder.
        runs_dir: root of the runs.
        data_dir: root of the data sets.
        workers: number of processes on this machine.
        deadline: Unix time in seconds after which no trial starts; None: no limit.
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
        return f"{self.config.dataset}/{display_name(self.config)}/{self.name}"

    @property
    def folder(self) -> Path:
        """The folder of the study."""
        return self.runs_dir / "studies" / self.title

    @property
    def place(self) -> str:
        """Where the trials are stored, for display: the URL of a database has no password in it."""
        if self.storage is None:
            return str(self.folder)
        try:
            return make_url(self.storage).render_as_string(hide_password=True)
        except SQLAlchemyError:
            return self.storage

    @property
    def lower_is_better(self) -> bool:
        """Whether a lower value of the metric that compares the trials is better."""
        return parse_measure(self.config.training.monitor).lower_is_better

    @property
    def identity(self) -> dict[str, Any]:
        """The facts that identify the study, as JSON values."""
        facts = {
            "settings": self.config.model_dump(mode="json", exclude={"training": NOT_SEARCHED, "description": True}),
            _SPACE: {
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
    """Open the plan's study, or create it.

    Raises:
        RunError: a different study has this name, or the storage cannot be opened.
        DiskError: its folder cannot be written.
    """
    with claiming(plan):
        try:
            study = optuna.create_study(
                study_name=plan.title,
                storage=_storage(plan),
                direction="minimize" if plan.lower_is_better else "maximize",
                pruner=_pruner(plan),
                load_if_exists=True,
            )
        except (SQLAlchemyError, ImportError) as error:
            raise RunError(
                f"storage {plan.place} cannot be opened: {str(error).splitlines()[0]}",
                hint="Give a URL such as sqlite:///studies.db or postgresql://user@host/database; install its driver.",
            ) from error
        known, wanted = study.user_attrs.get("identity"), plan.identity
        if known is None:
            _refuse_strange_runs(plan)
            study.set_user_attr("identity", wanted)
        elif known != wanted or list(known[_SPACE]) != list(wanted[_SPACE]):
            differing = ", ".join(key for key, value in wanted.items() if known.get(key) != value)
            can_be_deleted = plan.storage is None and not any(map(locks.holder, locks_of(plan).glob("*.lock")))
            raise RunError(
                f"study {plan.title} already exists and differs in: {differing or 'the order of its search space'}",
                hint="Give another --name" + (f", or delete {plan.folder} and start again." if can_be_deleted else "."),
            )
    return study


def total(plan: Plan) -> int:
    """The number of trials in the plan; no combination is tried twice."""
    return min(size for size in (plan.trials, whole(plan)) if size is not None)


def whole(plan: Plan) -> int | None:
    """The number of all combinations that the study can try; None if they are countless."""
    return len(grid(plan.space)) if plan.sampler == "grid" else combinations(plan.space)


def extent(plan: Plan) -> str:
    """How a study searches, in one line: the sampler, the number of trials, and the keys."""
    keys = ", ".join(dimension.key for dimension in plan.space)
    return f"{plan.sampler} search of {counted(total(plan), 'trial')} over {keys}"


def best_first(study: optuna.Study, trials: Sequence[FrozenTrial]) -> list[FrozenTrial]:
    """The finished trials, the best first; ties in the order of the trials."""
    finished = [trial for trial in trials if trial.state == TrialState.COMPLETE]
    return sorted(finished, key=lambda trial: trial.value or 0.0, reverse=study.direction == StudyDirection.MAXIMIZE)


def in_time(plan: Plan) -> bool:
    """Whether there is time to start another trial."""
    return plan.deadline is None or time.time() < plan.deadline


def claiming(plan: Plan) -> AbstractContextManager[None]:
    """Hold the lock of the process that takes the next trial; waits for others."""
    return locks.held(plan.folder / "claim.lock", f"study {plan.title}", "changed", waits=True)


def locks_of(plan: Plan) -> Path:
    """The folder of the locks of the trials, which exists."""
    folder = plan.folder / "locks"
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def _storage(plan: Plan) -> BaseStorage:
    if plan.storage is None:
        return JournalStorage(Journal(plan.folder / "journal.log"))
    return RDBStorage(plan.storage)


def _pruner(plan: Plan) -> BasePruner:
    """Asynchronous successive halving (Li et al., MLSys 2020) over epochs."""
    if not plan.pruning:
        return NopPruner()
    return Halving(min_resource=FIRST_RUNG, reduction_factor=_REDUCTION)


def _refuse_strange_runs(plan: Plan) -> None:
    folders = [plan.runs_dir / plan.config.dataset / model for model in _models_of(plan)]
    runs = [run for folder in folders for run in folder.glob("*")]
    strange = sorted(run for run in runs if re.fullmatch(rf"{re.escape(plan.name)}-t\d+", run.name))
    if strange:
        lock.check_free(strange[0], "/".join(strange[0].parts[-3:]), hint="Give another --name.")
        raise RunError(
            f"there are runs of another study {plan.name}, such as {strange[0]}",
            hint="Give another --name, or delete these runs: actsr runs delete …",
        )


def _models_of(plan: Plan) -> set[str]:
    """The short names of all models that a study may train."""
    searched = {each.key: each.domain for each in plan.space if isinstance(each.domain, tuple)}
    models = searched.get("model.name", (plan.config.model.name,))
    calibrations = searched.get("calibration.kind", (plan.config.calibration.kind,))
    return {short_name(str(model), str(calibration)) for model in models for calibration in calibrations}
