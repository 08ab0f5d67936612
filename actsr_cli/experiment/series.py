"""Series: runs NAME-s0, NAME-s1 … that differ only in their seed."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from actsr_cli.errors import RunError
from actsr_cli.evaluation.protocol import Protocol
from actsr_cli.experiment.find import Listed, Name, called, find_folder, find_run, list_runs
from actsr_cli.experiment.place import has_finished_epoch, is_run
from actsr_cli.experiment.record import Status
from actsr_cli.experiment.run import Run, open_run
from actsr_cli.experiment.status import LONGER_KEYS, RESUMABLE_KEYS
from actsr_cli.models.registry import display_name
from actsr_cli.words import command

if TYPE_CHECKING:
    from actsr_cli.config import RunConfig
    from actsr_cli.data.sequences import SequenceData

_MEMBER = re.compile(r"(.+)-s(\d+)")


@dataclass(frozen=True)
class Group:
    """A run or a series, as named on the command line.

    Attributes:
        name: DATASET/MODEL/NAME of the run, or of the series without -sSEED.
        runs: the run, or the runs of the series by seed.
        is_series: whether it is a series.
    """

    name: str
    runs: tuple[Run, ...]
    is_series: bool = False


def find_group(runs_dir: Path, name: str | None = None, *, finished: bool = True) -> Group:
    """The run called `name`, or the runs NAME-s0, NAME-s1 … of a series.

    Args:
        runs_dir: root of the runs.
        name: a folder, DATASET/MODEL/NAME or its end; None: the latest finished run.
        finished: whether the runs of a series must be finished.

    Raises:
        RunError: there is no such run or series, or there are both, or the runs of the series differ in more than their
            seed, have other seeds than their names say, or are not finished.
    """
    members = [] if name is None else find_members(runs_dir, name)
    if not members:
        run = find_run(runs_dir, name)
        return Group(run.name, (run,))
    runs = [open_run(member.path) for member in members]
    for member, run in zip(members, runs, strict=True):
        if run.config.training.seed != _seed(member):
            raise RunError(f"{member.name} has the seed {run.config.training.seed}, so it does not belong to a series")
        if _without_seed(run.config) != _without_seed(runs[0].config):
            raise RunError(f"{member.name} differs from {runs[0].name} in more than its seed, so they are not a series")
        if finished:
            _check_finished(run)
    return Group(runs[0].name.rpartition("-s")[0], tuple(runs), is_series=True)


def find_folders(runs_dir: Path, name: str) -> list[Path]:
    """The folder of the run called `name`, or the folders of a series; the runs need not be readable.

    Raises:
        RunError: there is no such run, or more than one.
    """
    return [member.path for member in find_members(runs_dir, name)] or [find_folder(runs_dir, name)]


def find_members(runs_dir: Path, name: str) -> list[Listed]:
    """The runs of the series called `name`, by seed; empty if there is no such series.

    Raises:
        RunError: there are several such series, or also a run of this name.
    """
    if is_run(Path(name)):
        return []
    runs = list_runs(runs_dir)
    members = called(runs, name, _series)
    if len({member.path.parent for member in members}) > 1:
        names = ", ".join(sorted({"/".join(member.place[:-1]) for member in members}))
        raise RunError(f"'{name}' matches series in {names}", hint="Give more of the path.")
    if members and (same := called(runs, name)):
        raise RunError(
            f"'{name}' matches a series of {len(members)} runs and the run {same[0].name}",
            hint=f"For the run, give its folder: {same[0].path}",
        )
    return sorted(members, key=_seed)


def finished_run(runs_dir: Path, config: RunConfig, data: SequenceData, name: str) -> Run | None:
    """The finished run with this name; None if there is no such run, or it has no finished epoch.

    Raises:
        RunError: a run of this name has a different configuration or different data, or is not finished.
    """
    path = runs_dir / config.dataset / display_name(config) / name
    if not path.exists() or not has_finished_epoch(path):
        return None
    run = open_run(path)
    same_settings = _without_seed(run.config) == _without_seed(config)
    if not same_settings or run.record.fingerprint != data.fingerprint or _seed_of(run.config) != _seed_of(config):
        raise RunError(f"{run.name} has different settings or data than this series", hint="Give another --name.")
    _check_finished(run)
    return run


def best_metrics(run: Run) -> dict[str, float]:
    """Validation metrics of a run at its best epoch, such as {"hit@10": 0.08}; RunError if there are none."""
    metrics = run.metrics.get(f"valid/{Protocol.of(run.config.evaluation).key}")
    if metrics is None:
        raise RunError(f"{run.name} has not been validated")
    return metrics_of(metrics)


def shared_metrics(group: Group) -> dict[str, list[dict[str, float]]]:
    """The metrics of each run of a group, for each split and protocol that all runs were evaluated on.

    Metrics that some runs lack, such as those at another cut-off, are left out. So are those of an epoch that is no
    longer the best one of its run, which was trained further.
    """
    measured = [_of_its_model(run) for run in group.runs]
    shared = {}
    for key in measured[0]:
        if all(key in metrics for metrics in measured):
            of_runs = [metrics_of(metrics[key]) for metrics in measured]
            names = [name for name in of_runs[0] if all(name in metrics for metrics in of_runs)]
            shared[key] = [{name: metrics[name] for name in names} for metrics in of_runs]
    return shared


def metrics_of(metrics: Mapping[str, float]) -> dict[str, float]:
    """The metrics in a record of an evaluation, without its epoch and counts."""
    return {name: value for name, value in metrics.items() if name not in ("epoch", "users", "targets")}


def _of_its_model(run: Run) -> dict[str, dict[str, float]]:
    """The metrics of the model that a run has now."""
    epoch = run.record.best_epoch
    return {key: found for key, found in run.metrics.items() if epoch is None or found.get("epoch", epoch) == epoch}


def _series(name: Name) -> Name | None:
    """The name of the series of a run, from the name of the run."""
    found = _MEMBER.fullmatch(name[-1])
    return None if found is None else (*name[:-1], found[1])


def _seed(member: Listed) -> int:
    """The seed in the name of a run; -1 if there is none."""
    found = _MEMBER.fullmatch(member.place[-1]) or _MEMBER.fullmatch(member.recorded[-1])
    return -1 if found is None else int(found[2])


def _without_seed(config: RunConfig) -> dict[str, Any]:
    """The settings that determine a run's results, without the seed."""
    without = {key.removeprefix("training.") for key in RESUMABLE_KEYS - LONGER_KEYS}
    return config.model_dump(exclude={"description": True, "training": without | {"seed"}})


def _seed_of(config: RunConfig) -> int:
    return config.training.seed


def _check_finished(run: Run) -> None:
    if (status := run.status) is Status.FINISHED:
        return
    run.check_not_training()
    resumable = run.checkpoint_file.exists() or not run.record.epochs
    way = (
        f"Continue it with {run.record.resumed_by(run.name)}"
        if resumable
        else f"Its checkpoint is missing. Delete it with {command('runs', 'delete', run.name)}"
    )
    raise RunError(f"{run.name} is not finished (it is {status})", hint=f"{way}, then run this command again.")
