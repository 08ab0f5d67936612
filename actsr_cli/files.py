"""Atomic writing of files and folders: everything that actsr writes goes through here."""

from __future__ import annotations

import json
import math
import os
import platform
import shutil
import sys
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from glob import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:  # pydantic takes its time, and most of what is written is no record
    from pydantic import BaseModel


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yield a temporary path beside `path`; the file there is renamed to `path` at the end, and removed on an error.

    Each process has its own temporary path. If several write at once, the file of the last one stays, complete.
    """
    partial = _place_beside(path)
    try:
        yield partial
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


@contextmanager
def scratch_folder(path: Path) -> Iterator[Path]:
    """Yield an empty temporary folder beside `path`; it is removed at the end."""
    scratch = _place_beside(path)
    shutil.rmtree(scratch, ignore_errors=True)
    scratch.mkdir(parents=True)
    try:
        yield scratch
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


@contextmanager
def replacing_folder(path: Path) -> Iterator[Path]:
    """Yield an empty folder beside `path`, which replaces `path` at the end; nothing changes on an error.

    If several processes write at once, the folder of one of them stays, complete. The old folder is moved aside before
    the new one is moved in, and deleted last.
    """
    with scratch_folder(path) as scratch, scratch_folder(path.with_name(f"{path.name}.old")) as aside:
        yield scratch
        with suppress(FileNotFoundError):  # there is none, or another process has just moved it aside
            path.rename(aside / path.name)
        try:
            scratch.rename(path)
        except OSError:
            if not path.is_dir():  # else another process was faster: its folder stays
                raise


def move_into(folder: Path, scratch: Path, names: Iterable[str]) -> None:
    """Move files of a scratch folder into `folder` in the order of `names`; they replace files of the same names.

    If `folder` does not exist, the whole scratch folder is renamed to it.
    """
    if not folder.exists():
        scratch.rename(folder)
        return
    for name in names:
        (scratch / name).replace(folder / name)


def write_text(path: Path, text: str) -> None:
    """Write a text file in UTF-8, with unchanged line ends."""
    with replacing(path) as partial:
        partial.write_text(text, encoding="utf-8", newline="")


def write_json(path: Path, values: Mapping[str, Any]) -> None:
    """Write a JSON object, indented."""
    write_text(path, json.dumps(without_nan(values), indent=2, allow_nan=False) + "\n")


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


def _place_beside(path: Path) -> Path:
    """The temporary path of this process beside `path`; removes those of killed processes of this machine."""
    start, end = f".{path.name}.{platform.node()}.", ".partial"
    for left in path.parent.glob(f"{escape(start)}*{end}"):
        if _has_ended(left.name.removeprefix(start).removesuffix(end)):
            with suppress(OSError):  # another user's file, or another process was faster: writing still works
                shutil.rmtree(left) if left.is_dir() else left.unlink()
    return path.with_name(f"{start}{os.getpid()}{end}")


def _has_ended(process: str) -> bool:
    """Whether the process of this number has ended; False if that cannot be known."""
    if sys.platform == "win32" or not process.isdecimal():
        return False
    try:
        os.kill(int(process), 0)
    except ProcessLookupError:
        return True
    except (OSError, OverflowError):
        return False
    return False
