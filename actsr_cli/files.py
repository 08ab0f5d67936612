"""Files and folders that are whole or not there at all: everything that actsr writes goes through here."""

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
    """Yields a place beside `path` to write to; what is there at the end is renamed into place, nothing on an error.

    Each process has a place of its own, so that of several at once the last one's file stands, whole.
    """
    partial = _place_beside(path)
    try:
        yield partial
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


@contextmanager
def scratch_folder(path: Path) -> Iterator[Path]:
    """Yields an empty folder beside `path`; whatever is left in it at the end is removed."""
    scratch = _place_beside(path)
    shutil.rmtree(scratch, ignore_errors=True)
    scratch.mkdir(parents=True)
    try:
        yield scratch
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


@contextmanager
def replacing_folder(path: Path) -> Iterator[Path]:
    """Yields an empty folder beside `path`, which takes its place at the end; nothing changes on an error.

    Of several processes at once the folder of one of them stands, whole. The old folder is moved aside before the new
    one is moved in, and deleted last.
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
    """Put files of a scratch folder into `folder` in the order of `names`, in place of files of the same names.

    A folder that is not there yet appears at once, with everything that the scratch folder holds.
    """
    if not folder.exists():
        scratch.rename(folder)
        return
    for name in names:
        (scratch / name).replace(folder / name)


def write_text(path: Path, text: str) -> None:
    """Write a text file in UTF-8, with its line ends as they are."""
    with replacing(path) as partial:
        partial.write_text(text, encoding="utf-8", newline="")


def write_json(path: Path, values: Mapping[str, Any]) -> None:
    """Write a JSON object, indented."""
    write_text(path, json.dumps(without_nan(values), indent=2, allow_nan=False) + "\n")


def without_nan(values: Any) -> Any:
    """The same for JSON, which knows no NaN: null stands in its place, in mappings and lists however deep."""
    if isinstance(values, Mapping):
        return {key: without_nan(value) for key, value in values.items()}
    if isinstance(values, list | tuple):
        return [without_nan(value) for value in values]
    return None if isinstance(values, float) and math.isnan(values) else values


def write_record(path: Path, record: BaseModel, *, without: Iterable[str] = ()) -> None:
    """Write a typed record as JSON, indented; the fields in `without` are left out."""
    write_text(path, record.model_dump_json(indent=2, exclude=set(without)) + "\n")


def _place_beside(path: Path) -> Path:
    """A place of this process beside `path`; what processes that were killed on this machine left there is removed."""
    start, end = f".{path.name}.{platform.node()}.", ".partial"
    for left in path.parent.glob(f"{escape(start)}*{end}"):
        if _has_ended(left.name.removeprefix(start).removesuffix(end)):
            with suppress(OSError):  # another user's file, or another process was faster: no reason not to write
                shutil.rmtree(left) if left.is_dir() else left.unlink()
    return path.with_name(f"{start}{os.getpid()}{end}")


def _has_ended(process: str) -> bool:
    """Whether the process of this number is no more; what cannot be known is taken for running."""
    if sys.platform == "win32" or not process.isdecimal():
        return False
    try:
        os.kill(int(process), 0)
    except ProcessLookupError:
        return True
    except (OSError, OverflowError):
        return False
    return False
