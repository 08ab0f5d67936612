"""Resumes a run that was stopped."""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import replace
from logging import getLogger
from pathlib import Path

from actsr_cli.config import RunConfig
from actsr_cli.config.schema import leaves
from actsr_cli.data.sequences import SequenceData
from actsr_cli.distributed import ALONE, Workers
from actsr_cli.errors import RunError
from actsr_cli.experiment.record import Status
from actsr_cli.experiment.run import Run
from actsr_cli.experiment.status import RESUMABLE_KEYS
from actsr_cli.experiment.train import Training, carry_out
from actsr_cli.models.registry import display_name
from actsr_cli.training.trainer import Observer, TrainingState
from actsr_cli.words import counted

_log = getLogger("actsr")


def changed_keys(run: Run, config: RunConfig) -> set[str]:
    """The dotted keys whose values in `config` differ from those of a run.

    Raises:
        RunError: a key may not change when a run is resumed.
    """
    before, after = dict(leaves(run.config.model_dump())), dict(leaves(config.model_dump()))
    changed = {key for key in (before | after) if key not in before or before[key] != after.get(key)}
    if "training.epochs" in changed and run.config.training.schedule != "constant":
        raise RunError(
            f"training.epochs cannot change when a run with a {run.config.training.schedule} schedule is resumed",
            hint="The learning rate depends on the number of epochs. To change it, train a new run.",
        )
    if refused := sorted(changed - RESUMABLE_KEYS):
        raise RunError(
            f"{', '.join(refused)} cannot change when a run is resumed",
            hint=f"Only {', '.join(sorted(RESUMABLE_KEYS))} can. To change other settings, train a new run.",
        )
    return changed


def reconfigure(run: Run, config: RunConfig) -> Run:
    """The same run with `config`, which is written to disk when the run is resumed.

    Raises:
        RunError: a key differs that may not change.
    """
    return replace(run, config=config) if changed_keys(run, config) else run


def check_resumable(run: Run) -> None:
    """Raise if a run cannot be resumed.

    Raises:
        BusyError: another process trains the run.
        RunError: it has nothing to resume from.
    """
    run.check_not_training()
    _check_resumable(run)


def _check_resumable(run: Run) -> None:
    run.record.check_trained_here("resumed")
    if run.checkpoint_file.exists() or (run.model_is_trained and not run.record.epochs):
        return
    if run.status is Status.FINISHED:
        raise RunError(f"{run.name} is finished: {display_name(run.config)} is not trained by gradients")
    if run.model_is_trained:
        raise RunError(
            f"{run.name} cannot be resumed: {run.checkpoint_file} is missing", hint="Train a new run: actsr train …"
        )


def resume_run(
    run: Run, data: SequenceData, observer: Observer, workers: Workers = ALONE, runs_dir: Path | None = None
) -> TrainingState:
    """Resume a run from its last checkpoint, exactly as if it had never stopped.

    A run without a checkpoint is trained anew. If only the end of a run was not recorded, it is recorded.

    Raises:
        BusyError: another process trains the run.
        RunError: the run is finished, its checkpoint is missing, the data are others, or it was trained by another
            number of processes.
    """
    if run.checkpoint_file.exists():
        _check_same_processes(run, workers)
    if run.record.fingerprint != data.fingerprint:
        raise RunError(f"{run.name} was trained on other data, so it cannot be resumed")
    with run.training_lock() if workers.leads else nullcontext():
        anew = workers.from_leader(lambda: _begins_anew(run))
        return carry_out(Training(run, data, observer, workers, resume=not anew, runs_dir=runs_dir))


def _check_same_processes(run: Run, workers: Workers) -> None:
    """Raise RunError if the training was shared by another number of processes: its numbers would be other ones."""
    before = run.record.processes
    if before is None or before == workers.count:
        return
    way = "in one process" if before == 1 else f"with --processes {before}, or torchrun with as many in all"
    raise RunError(
        f"{run.name} was trained by {counted(before, 'process', 'processes')}: it cannot be resumed by {workers.count}",
        hint=f"Each process draws its own random numbers. Start it {way}.",
    )


def _begins_anew(run: Run) -> bool:
    """Whether a run has no checkpoint; what it has written is then deleted."""
    _check_resumable(run)
    if run.checkpoint_file.exists():
        return False
    run.clear()
    _log.info("%s has no checkpoint: training it anew", run.name)
    return True
