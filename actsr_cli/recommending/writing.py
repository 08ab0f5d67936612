"""Recommendations as files: CSV, JSON lines or Parquet, written as they come."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import IO, Any

import numpy as np
import pyarrow as pa
import pyarrow.csv as arrow_csv
import pyarrow.parquet as parquet

from actsr_cli.errors import ConfigError
from actsr_cli.files import replacing
from actsr_cli.recommending.recommendations import Recommendations

Write = Callable[[Recommendations], None]


def check_output(path: Path) -> None:
    """Raise where the suffix of an output file names no format.

    Raises:
        ConfigError: it names none.
    """
    if path.suffix not in _WRITERS:
        raise ConfigError(f"the format of {path} cannot be told from its name", hint=f"Call it {', '.join(_WRITERS)}.")


@contextmanager
def writing(path: Path, schema: pa.Schema) -> Iterator[Write]:
    """Opens a file for recommendations, which is there once all are written.

    CSV and Parquet have one row per listed item, JSON lines one object per history.

    Args:
        path: its suffix chooses the format: .csv, .jsonl or .parquet.
        schema: of `Recommendations.to_arrow`.

    Raises:
        ConfigError: the suffix names no format.
    """
    check_output(path)
    with replacing(path) as partial, _WRITERS[path.suffix](partial, schema) as write:
        yield write


def as_dicts(found: Recommendations) -> Iterator[dict[str, Any]]:
    """One object per history, as JSON has it: user, by, unknown, items."""
    for listed in found:
        yield {
            "user": listed.user,
            "by": listed.by,
            "unknown": list(listed.unknown),
            "items": [{**each._asdict(), "score": _shortest(each.score)} for each in listed],
        }


def write_lines(file: IO[str], found: Recommendations) -> None:
    """Write one JSON object per history and line."""
    file.writelines(json.dumps(each, ensure_ascii=False) + "\n" for each in as_dicts(found))


def _shortest(score: float) -> float:
    """A float32 with no more digits than it has: 0.1, not 0.10000000149011612."""
    return float(str(np.float32(score)))


@contextmanager
def _csv(path: Path, schema: pa.Schema) -> Iterator[Write]:
    with arrow_csv.CSVWriter(str(path), schema) as writer:
        yield lambda found: writer.write_table(found.to_arrow())


@contextmanager
def _parquet(path: Path, schema: pa.Schema) -> Iterator[Write]:
    with parquet.ParquetWriter(str(path), schema) as writer:
        yield lambda found: writer.write_table(found.to_arrow())


@contextmanager
def _json_lines(path: Path, _: pa.Schema) -> Iterator[Write]:
    with path.open("w", encoding="utf-8", newline="") as file:
        yield lambda found: write_lines(file, found)


_WRITERS: dict[str, Callable[[Path, pa.Schema], AbstractContextManager[Write]]] = {
    ".csv": _csv,
    ".jsonl": _json_lines,
    ".parquet": _parquet,
}
