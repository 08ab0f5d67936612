"""The place of a run below the root of the runs: how a new run gets it, and how a run is deleted."""

from __future__ import annotations

from contextlib import suppress
from datetime import datetime
from logging import getLogger
from pathlib import Path

from actsr_cli.errors import RunError
from actsr_cli.experiment import lock
from actsr_cli.experiment.record import FILE_NAME, read_record
from actsr_cli.files import is_unfinished, remove_folder
from actsr_cli.models.registry import all_models
from actsr_cli.words import command, name_problem, shortened

CONFIG, MODEL = "config.yaml", "model.safetensors"
CHECKPOINT, BATCH_CHECKPOINT = "checkpoint.safetensors", "checkpoint-batch.safetensors"
"""Files in the folder of a run, see `run.py`."""

_AT_THE_START = {
    FILE_NAME,
    CONFIG,
    "items.parquet",
    "users.parquet",
    "run.lock",
    "run.owner",
    ".metrics.lock",
    "tensorboard",
}
"""What a run has before its first checkpoint, beside files that were being written."""

_log = getLogger("actsr")


def is_run(path: Path) -> bool:
    """Whether a folder is that of a run, which may be damaged."""
    return (path / FILE_NAME).exists() or (path / CONFIG).exists()


def has_finished_epoch(path: Path) -> bool:
    """Whether the run in a folder has a finished epoch, or a checkpoint within its first.

    Without a checkpoint, or with a damaged one, its record tells: a model that is not trained by gradients has no
    checkpoint, and is finished or nothing. Without a record, there is nothing but the files that a run begins with.
    """
    if (path / BATCH_CHECKPOINT).exists():
        return True
    if (path / CHECKPOINT).exists():
        from actsr_cli.training.checkpoint import saved_state  # brings torch

        with suppress(RunError):  # a damaged one: the record tells
            return saved_state(path / CHECKPOINT).epoch > 0
    try:
        record = read_record(path)
    except RunError:
        return not _holds_a_beginning(path)
    model = all_models().get(record.model)
    is_counted = model is not None and not model.trained
    return record.finished or (bool(record.epochs) and not is_counted)


def _holds_a_beginning(path: Path) -> bool:
    """Whether nothing is in a folder but what a run has before its first checkpoint."""
    return all(each.name in _AT_THE_START or is_unfinished(each.name) for each in path.iterdir())


def check_place(path: Path, hint: str | None = None) -> None:
    """Check that a new run can be made in a folder: nothing is there but a run without a finished epoch.

    Args:
        path: the folder.
        hint: what to do about a run with results.

    Raises:
        BusyError: a process trains the run that is there.
        RunError: there is a run with results, or something else.
    """
    if not path.is_dir():
        raise RunError(f"there is a file {path} already", hint="Give another --name.")
    name = "/".join(path.parts[-3:])
    lock.check_free(path, name)
    if not is_run(path) and not _holds_a_beginning(path):
        raise RunError(f"there is a folder {path} already, and it is not a run", hint="Give another --name.")
    if has_finished_epoch(path):
        raise RunError(f"there is a run {path} already", hint=hint or _instead_of(path, name))


def _instead_of(path: Path, name: str) -> str:
    """What to do about a run with results that is in the way."""
    with suppress(RunError):  # a damaged one cannot be continued either
        record = read_record(path)
        if (path / CHECKPOINT).exists():  # else it was counted, combined or imported
            return f"Give another --name, or continue it: {record.resumed_by(name)}"
    return f"Give another --name, or delete it: {command('runs', 'delete', name)}"


def free_place(parent: Path, name: str | None) -> Path:
    """The folder of a new run; a run without a finished epoch that is there is deleted, which is logged.

    The caller must hold the lock of `lock.creating`.

    Args:
        parent: the folder of its data set and model.
        name: the name of the folder; None: date and time.

    Raises:
        BusyError: a process trains the run of this name.
        RunError: there is a run of this name with results.
    """
    if name is None:
        return _unused(parent)
    path = parent / name
    if path.exists():
        check_place(path)
        remove_folder(path)
        _log.info("%s ended before its first epoch was finished: starting it anew", "/".join(path.parts[-3:]))
    return path


def check_deletable(path: Path, runs_dir: Path) -> None:
    """Raise BusyError if a process trains the run in a folder below `runs_dir`."""
    hint = "Wait until that process ends, or stop it. --force deletes the run all the same."
    lock.check_free(path, "/".join(path.relative_to(runs_dir).parts), hint)


def delete_run(path: Path, runs_dir: Path, *, force: bool = False) -> None:
    """Delete a run's folder below `runs_dir`, and its parent folders that become empty.

    Args:
        path: the folder.
        runs_dir: root of the runs.
        force: also delete a run in training, whose process then ends with an error.

    Raises:
        BusyError: a process trains the run, and `force` is false.
    """
    if not force:
        check_deletable(path, runs_dir)
    remove_folder(path)
    for above in path.parents:
        if above == runs_dir or not above.is_relative_to(runs_dir) or any(above.iterdir()):
            break
        above.rmdir()


def check_name(name: str) -> None:
    """Check that a name can be that of a folder.

    Raises:
        RunError: it cannot.
    """
    if problem := name_problem(name):
        raise RunError(f"'{shortened(name)}' is not a valid name for a run: {problem}")


def new_name() -> str:
    """A new run name from date and time."""
    return datetime.now().astimezone().strftime("%Y%m%d-%H%M%S")


def _unused(parent: Path) -> Path:
    stamp = new_name()
    for attempt in range(1, 1000):
        path = parent / (stamp if attempt == 1 else f"{stamp}-{attempt}")
        if not path.exists():
            return path
    raise RunError(f"no free name for a run in {parent}")
