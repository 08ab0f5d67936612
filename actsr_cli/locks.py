"""Locks: one process at a time writes a run, a data set or a study, and the lock says which one.

The lock is one of the operating system, which falls with its process. In a file beside it the owner has signed. That
file decides where locks of the operating system do not reach from machine to machine, as on some network file systems:
its owner touches it every few seconds for as long as it lives.

Notes about waiting and about locks of dead processes go to the logger `actsr`.
"""

from __future__ import annotations

import json
import os
import platform
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from functools import cache
from logging import getLogger
from pathlib import Path
from threading import Event, Thread
from typing import TYPE_CHECKING

from actsr_cli.errors import BusyError, DiskError
from actsr_cli.files import write_text

if TYPE_CHECKING:
    from filelock import BaseFileLock

_BEAT = 10.0
"""Seconds between two touches of an owner's file."""
_SILENCE = 60.0
"""Seconds without a touch after which an owner on another machine counts as dead."""
_PATIENCE = 1.0
"""Seconds that a lock is tried for: another process may hold it for a moment to test it."""
_GLANCE = 0.2
"""Seconds after which a tested lock counts as held: another process may test it at the same moment."""

_log = getLogger("actsr")


@dataclass(frozen=True)
class Owner:
    """The process that holds a lock.

    Attributes:
        process: its number.
        host: the name of its host.
        machine: tells apart the machines whose locks do not reach one another.
        since: when it took the lock, ISO 8601.
    """

    process: int
    host: str
    machine: str
    since: str

    def __str__(self) -> str:
        since = datetime.fromisoformat(self.since).astimezone()
        today = since.date() == datetime.now(UTC).astimezone().date()
        return f"process {self.process} on host {self.host} since {since:{'%H:%M' if today else '%Y-%m-%d %H:%M'}}"


@contextmanager
def held(file: Path, name: str, doing: str, *, waits: bool = False) -> Iterator[None]:
    """Hold a lock for as long as the context lasts.

    Args:
        file: the lock file, NAME.lock; its owner signs in NAME.owner beside it.
        name: what the lock protects, for messages.
        doing: what its owner does with it, such as "trained".
        waits: wait until another process has released it.

    Raises:
        BusyError: another process holds it, and `waits` is false.
        DiskError: the lock file cannot be written.
    """
    lock = _acquired(file, name, doing, waits)
    try:
        if (before := _signed(file)) is not None:
            _log.info("%s was being %s by %s, which has died: taking over", name, doing, before)
        with _signing(file):
            yield
    finally:
        lock.release()


def holder(file: Path) -> str | None:
    """Who holds a lock, such as "process 4242 on host gpu1 since 14:03"; None if nobody does.

    A lock that this process may not write is judged by its owner's file alone.
    """
    if not file.exists():
        return None
    owner = _signed(file)
    if not _can_be_tried(file):
        return None if owner is None or time.time() - _touched(file) > _SILENCE else str(owner)
    from filelock import FileLock, Timeout  # slow to import, and listing finished runs tries no lock

    try:
        with FileLock(file).acquire(timeout=_GLANCE, poll_interval=0.02):
            owner = _living_elsewhere(file)
            return None if owner is None else str(owner)
    except Timeout:
        return str(_signed(file) or _UNKNOWN)


def is_ours(file: Path) -> bool:
    """Whether no other process has signed a lock that this one has taken: its file may have been deleted since."""
    owner = _signed(file)
    return owner is None or (owner.process, owner.machine) == (os.getpid(), _machine())


def _acquired(file: Path, name: str, doing: str, waits: bool) -> BaseFileLock:
    from filelock import FileLock, Timeout

    lock = FileLock(file)
    is_told = False
    while True:
        try:
            file.parent.mkdir(parents=True, exist_ok=True)
            lock.acquire(timeout=_PATIENCE)
            other = _living_elsewhere(file)
            if other is None:
                return lock
            lock.release()
        except Timeout:
            other = _signed(file)
        except OSError as error:
            raise DiskError(f"{file} cannot be written: {error.strerror or error}") from error
        busy = f"{name} is being {doing} by {other or _UNKNOWN}"
        if not waits:
            raise BusyError(busy, hint="Wait until that process ends, or stop it.")
        if not is_told:
            _log.info("Waiting: %s", busy)
            is_told = True
        time.sleep(_GLANCE)


@contextmanager
def _signing(file: Path) -> Iterator[None]:
    """Say who holds a lock, and keep saying it. Without space on the disk the lock holds all the same."""
    place, ended = _owner_file(file), Event()
    owner = Owner(os.getpid(), platform.node(), _machine(), datetime.now(UTC).isoformat(timespec="seconds"))
    with suppress(DiskError):
        write_text(place, json.dumps(asdict(owner)) + "\n")

    def touch() -> None:
        while not ended.wait(_BEAT):
            with suppress(OSError):  # the folder may have been deleted
                os.utime(place)

    Thread(target=touch, daemon=True).start()
    try:
        yield
    finally:
        ended.set()
        with suppress(OSError):
            place.unlink()


def _signed(file: Path) -> Owner | None:
    """The owner that has signed and not signed off; None if there is none or it cannot be read."""
    try:
        owner = Owner(**json.loads(_owner_file(file).read_text(encoding="utf-8")))
        str(owner)
    except (OSError, ValueError, TypeError, RecursionError):
        return None
    return owner


def _living_elsewhere(file: Path) -> Owner | None:
    """The owner on another machine that is still alive, although the lock is free here; this process must hold it."""
    owner = _signed(file)
    if owner is None or owner.machine == _machine():
        return None
    os.utime(file)  # by the clock of the disk, as the touches of its owner
    return owner if file.stat().st_mtime - _touched(file) <= _SILENCE else None


def _can_be_tried(file: Path) -> bool:
    """Whether this process may open a lock file for writing; `os.access` does not know all read-only disks."""
    try:
        os.close(os.open(file, os.O_RDWR))
    except OSError:
        return False
    return True


def _touched(file: Path) -> float:
    """When the owner of a lock was last heard of, as Unix time."""
    with suppress(OSError):
        return _owner_file(file).stat().st_mtime
    return 0.0


def _owner_file(file: Path) -> Path:
    return file.with_name(file.name.removesuffix(".lock") + ".owner")


@cache
def _machine() -> str:
    """The id of the running kernel: containers on it share its locks, whatever their host names are."""
    with suppress(OSError):
        return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    return platform.node()


_UNKNOWN = "another process"
