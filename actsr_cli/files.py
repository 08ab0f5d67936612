"""Atomic, durable writing of files and folders: everything that actsr writes goes through here.

What is written is first made in a hidden folder `.NAME.HOST.PROCESS.partial` beside its place, flushed to the disk, and
then renamed. Folders that killed processes have left are removed the next time that something is written beside them.
"""

from __future__ import annotations

import errno
import math
import os
import platform
import re
import shutil
import sys
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from actsr_cli.errors import DiskError

if TYPE_CHECKING:  # pydantic takes its time, and most of what is written is no record
    from pydantic import BaseModel

_LEFT = re.compile(r"\..+\.(?P<process>\d+)\.partial")
_DAY = 24 * 60 * 60
"""Seconds without a change after which what a process of another machine has begun counts as left by it."""


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yield a temporary path; the file there is renamed to `path` at the end, and removed on an error.

    Each process has its own temporary path. If several write at once, the file of the last one stays, complete.

    Raises:
        DiskError: the file cannot be written.
    """
    # In a folder, because some libraries write to a temporary file of their own. Its parent must exist: where somebody
    # has deleted a run in training, the training ends.
    with scratch_folder(path, parents=False) as scratch:
        partial = scratch / path.name
        yield partial
        partial.chmod(scratch.stat().st_mode & 0o666)  # some libraries do not follow the umask
        _flush(partial)
        partial.replace(path)
        _flush(path.parent)


@contextmanager
def scratch_folder(path: Path, *, parents: bool = True) -> Iterator[Path]:
    """Yield an empty temporary folder beside `path`; it is removed at the end.

    Args:
        path: what is made in it.
        parents: whether missing folders above are made.

    Raises:
        DiskError: it cannot be made, or the disk fails within the context.
    """
    _sweep(path.parent)
    scratch = _scratch_of(path)
    with disk_errors(path, scratch):
        try:
            shutil.rmtree(scratch, ignore_errors=True)
            scratch.mkdir(parents=parents)
            yield scratch
        finally:
            shutil.rmtree(scratch, ignore_errors=True)


@contextmanager
def replacing_folder(path: Path) -> Iterator[Path]:
    """Yield an empty folder, which becomes `path` at the end; nothing changes on an error.

    If `path` exists, its files are replaced one by one, so that readers find each of them at all times, and files that
    are no longer among them are deleted last.

    Raises:
        DiskError: the folder cannot be written.
    """
    with scratch_folder(path) as scratch:
        yield scratch
        names = [file.name for file in scratch.iterdir()]
        move_into(path, scratch, names)
        for file in path.iterdir():
            if file.name not in names:
                file.unlink()


def move_into(folder: Path, scratch: Path, names: Iterable[str]) -> None:
    """Move what is in a scratch folder into `folder` in the order of `names`; it replaces files of the same names.

    If `folder` does not exist, the whole scratch folder is renamed to it.
    """
    if not folder.exists():
        move_to(folder, scratch)
        return
    for name in names:
        _flush_all(scratch / name)
    for name in names:
        (scratch / name).replace(folder / name)
    _flush(folder)


def move_to(folder: Path, scratch: Path) -> None:
    """Rename a scratch folder to `folder`, which must not exist or be empty."""
    _flush_all(scratch)
    scratch.rename(folder)
    _flush(folder.parent)


def check_folder(path: Path) -> None:
    """Check that a folder is or can be at `path`, before the work whose results it gets.

    Raises:
        DiskError: a file is there or in the place of a folder above.
    """
    there = next(each for each in (path, *path.absolute().parents) if each.exists())
    if not there.is_dir():
        raise DiskError(f"{there} is a file, not a folder", hint="Choose another folder.")


def remove_folder(folder: Path) -> None:
    """Delete a folder. It is renamed first, so that it is never seen half deleted.

    Raises:
        DiskError: it cannot be deleted.
    """
    aside = _scratch_of(folder.with_name(f"{folder.name}.deleted"))  # not where a successor is being made
    shutil.rmtree(aside, ignore_errors=True)
    with disk_errors(folder, aside):
        folder.rename(aside)
        shutil.rmtree(aside)


def write_text(path: Path, text: str) -> None:
    """Write a text file in UTF-8, with unchanged line ends."""
    with replacing(path) as partial:
        partial.write_text(text, encoding="utf-8", newline="")


def without_nan(values: Any) -> Any:
    """The same values with None for each NaN, which JSON does not have, also in nested mappings and lists."""
    if isinstance(values, Mapping):
        return {key: without_nan(value) for key, value in values.items()}
    if isinstance(values, list | tuple):
        return [without_nan(value) for value in values]
    return None if isinstance(values, float) and math.isnan(values) else values


def write_record(path: Path, record: BaseModel, *, without: Iterable[str] = ()) -> None:
    """Write a typed record as JSON, indented; the fields in `without` are left out."""
    write_text(path, record.model_dump_json(indent=2, exclude=set(without)) + "\n")


def is_unfinished(name: str) -> bool:
    """Whether a file or folder of this name holds what a process was writing, or is."""
    return _LEFT.fullmatch(name) is not None


def _scratch_of(path: Path) -> Path:
    """The place of this process beside `path`."""
    return path.with_name(f".{path.name}.{platform.node()}.{os.getpid()}.partial")


def _sweep(folder: Path) -> None:
    """Remove what killed processes have left in a folder.

    It is from this machine and its process has ended, or it is from another machine and has not changed for a day.
    """
    here = f".{platform.node()}."
    with suppress(OSError):  # another user's files, or another process was faster: writing still works
        for left in folder.glob(".*.partial"):
            found = _LEFT.fullmatch(left.name)
            if found is None:
                continue
            is_from_here = left.name[: found.start("process")].endswith(here)
            if _has_ended(int(found["process"])) if is_from_here else _age(left) > _DAY:
                shutil.rmtree(left, ignore_errors=True) if left.is_dir() else left.unlink()


def _age(path: Path) -> float:
    """Seconds since a folder or a file in it was changed."""
    return time.time() - max(each.stat().st_mtime for each in (path, *path.rglob("*")))


def _has_ended(process: int) -> bool:
    """Whether the process of this number has ended; False if that cannot be known."""
    if sys.platform == "win32":
        return False
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return True
    except (OSError, OverflowError):
        return False
    return False


def _flush_all(path: Path) -> None:
    """Flush a file, or a folder with all that is in it."""
    for each in (*path.rglob("*"), path):
        _flush(each)


def _flush(path: Path) -> None:
    """Wait until a file, or the list of files of a folder, is on the disk, where it outlives a power cut."""
    is_folder = path.is_dir()
    if is_folder and sys.platform == "win32":  # its folders cannot be opened
        return
    descriptor = os.open(path, os.O_RDWR if sys.platform == "win32" else os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if not is_folder or error.errno not in (errno.EINVAL, errno.ENOTSUP):  # some file systems cannot flush folders
            raise
    finally:
        os.close(descriptor)


_HINTS = {
    errno.ENOSPC: "Free some space, then run the command again. A training continues with: actsr train --resume RUN",
    errno.EDQUOT: "Your quota is used up. Delete something, then run the command again.",
    errno.EROFS: "The disk is read-only. Choose another folder.",
    errno.EACCES: "You may not write there. Choose another folder, or ask its owner.",
    errno.EPERM: "You may not write there. Choose another folder, or ask its owner.",
    errno.ENOENT: "Its folder was deleted or moved in the meantime, or the disk is gone.",
    errno.EFBIG: "The file is larger than the system allows.",
    errno.EIO: "The disk fails. Check it before you go on.",
}
_OF_DISKS = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EFBIG, errno.EIO})
"""Errors of writing, wherever they are raised; others are known by the file that they name."""


@contextmanager
def disk_errors(path: Path, scratch: Path) -> Iterator[None]:
    """Turn system errors of writing `path` within this context into DiskErrors; others pass.

    Args:
        path: what is written.
        scratch: the folder where it is written first.

    Raises:
        DiskError: it cannot be written.
    """
    try:
        yield
    except OSError as error:
        named = [Path(os.fsdecode(name)) for name in (error.filename, error.filename2) if isinstance(name, str | bytes)]
        is_ours = any(name == path or name.is_relative_to(scratch) or name == path.parent for name in named)
        is_numpy = type(error) is OSError and error.errno is None  # of a short write, it gives no reason
        if not (is_ours or is_numpy or error.errno in _OF_DISKS):
            raise
        reason = (error.strerror or str(error)).splitlines()[0]
        raise DiskError(f"{path} cannot be written: {reason.lower()}", hint=_HINTS.get(error.errno or 0)) from error
