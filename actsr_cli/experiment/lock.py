"""The lock of a run's folder, which the process that trains the run holds."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from actsr_cli.errors import RunError

_FILE_NAME = "run.lock"
_GLANCE = 0.2
"""Seconds after which a tested lock counts as held: another process may test it at the same moment."""
_WAIT = 1.0
"""Seconds that a training waits for its lock, which another process may hold for a moment to test it."""


@contextmanager
def held(folder: Path, name: str) -> Iterator[None]:
    """Hold the lock of the run in a folder for as long as the context lasts.

    Args:
        folder: the run's folder.
        name: the run's name, for the error.

    Raises:
        RunError: another process holds it.
    """
    from filelock import FileLock, Timeout  # slow to import, and listing finished runs takes no lock

    lock = FileLock(folder / _FILE_NAME)
    try:
        lock.acquire(timeout=_WAIT)
    except Timeout:
        raise in_training(name) from None
    try:
        yield
    finally:
        lock.release()


def is_held(folder: Path) -> bool:
    """Whether a process trains the run in a folder."""
    path = folder / _FILE_NAME
    if not path.exists():
        return False
    if not os.access(path, os.W_OK):  # another user's run: its lock cannot be tried, so its record is believed
        return True
    from filelock import FileLock, Timeout

    try:
        with FileLock(path).acquire(timeout=_GLANCE, poll_interval=0.02):  # another process may look at the same time
            return False
    except Timeout:
        return True


def in_training(name: str) -> RunError:
    """The error that another process trains a run."""
    return RunError(f"{name} is being trained by another process", hint="Wait until the training ends, or stop it.")
