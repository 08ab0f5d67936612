"""The locks of runs: of the folder of a run, held by the process that trains it, and of the creation of runs."""

from __future__ import annotations

from contextlib import AbstractContextManager
from pathlib import Path

from actsr_cli import locks
from actsr_cli.errors import BusyError

_OF_A_RUN = "run.lock"
_OF_ALL_RUNS = ".lock"


def held(folder: Path, name: str) -> AbstractContextManager[None]:
    """Hold the lock of the run in a folder for as long as the context lasts.

    Args:
        folder: the run's folder.
        name: the run's name, for the error.

    Raises:
        BusyError: another process holds it.
    """
    return locks.held(folder / _OF_A_RUN, name, "trained")


def creating(runs_dir: Path) -> AbstractContextManager[None]:
    """Hold the lock of the moment in which a new run takes its place; waits for other processes."""
    return locks.held(runs_dir / _OF_ALL_RUNS, f"the list of runs in {runs_dir}", "changed", waits=True)


def holder(folder: Path) -> str | None:
    """The process that trains the run in a folder, such as "process 4242 on host gpu1 since 14:03", or None."""
    return locks.holder(folder / _OF_A_RUN)


def check_ours(folder: Path, name: str) -> None:
    """Check that no other process trains a run in a folder whose lock this process has taken.

    Raises:
        BusyError: one does: the run was deleted by force, and a new one has its name.
    """
    if not locks.is_ours(folder / _OF_A_RUN):
        raise BusyError(f"{name} was deleted, and {holder(folder) or 'another process'} trains a new run of this name")


def check_free(folder: Path, name: str, hint: str = "Wait until that process ends, or stop it.") -> None:
    """Check that no process trains the run in a folder.

    Raises:
        BusyError: one does.
    """
    if (owner := holder(folder)) is not None:
        raise BusyError(f"{name} is being trained by {owner}", hint=hint)
