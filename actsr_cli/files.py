"""Files that are whole or not there at all."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from pydantic import BaseModel


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yields a place beside `path` to write to; what is there at the end is renamed into place, nothing on an error.

    Each process has a place of its own, so that of several at once the last one's file stands, whole.
    """
    partial = path.with_name(f"{path.name}.{os.getpid()}.partial")
    try:
        yield partial
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


def write_text(path: Path, text: str) -> None:
    """Write a text file in UTF-8, with its line ends as they are."""
    with replacing(path) as partial:
        partial.write_text(text, encoding="utf-8", newline="")


def write_json(path: Path, values: Mapping[str, Any]) -> None:
    """Write a JSON object, indented."""
    write_text(path, json.dumps(values, indent=2) + "\n")


def write_record(path: Path, record: BaseModel, *, without: Iterable[str] = ()) -> None:
    """Write a typed record as JSON, indented; the fields in `without` are left out."""
    write_text(path, record.model_dump_json(indent=2, exclude=set(without)) + "\n")
