"""Writes recommendations to CSV, JSON lines or Parquet while they are made."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.csv as arrow_csv
import pyarrow.parquet as parquet

from actsr_cli.data.vocabulary import Vocabulary
from actsr_cli.errors import ConfigError
from actsr_cli.files import replacing
from actsr_cli.recommending.recommendations import ItemList, Recommendations, no_recommendations

Write = Callable[[Recommendations], None]


def check_output(path: Path) -> None:
    """Check that an output file can be written.

    Raises:
        ConfigError: its suffix is unknown, its folder is missing, or a folder has its name.
    """
    if path.suffix not in _WRITERS:
        raise ConfigError(
            f"the format of {path} cannot be recognised from its name", hint=f"End its name in {', '.join(_WRITERS)}."
        )
    if not path.parent.is_dir():
        raise ConfigError(f"there is no folder {path.parent} for {path.name}", hint="Create the folder first.")
    if path.is_dir():
        raise ConfigError(f"{path} is a folder")


@contextmanager
def writing(path: Path, vocabulary: Vocabulary) -> Iterator[Write]:
    """Open a file for recommendations. The file appears when all are written.

    CSV and Parquet have one row per listed item, JSON lines one object per history.

    Args:
        path: its suffix chooses the format: .csv, .jsonl or .parquet.
        vocabulary: the items.

    Raises:
        ConfigError: see `check_output`.
    """
    check_output(path)
    schema = no_recommendations(vocabulary).to_arrow().schema
    with replacing(path) as partial, _WRITERS[path.suffix](partial, schema) as write:
        yield write


def as_dict(found: ItemList) -> dict[str, Any]:
    """A list for JSON: user, by, unknown, items."""
    return {
        "user": found.user,
        "by": found.by,
        "unknown": list(found.unknown),
        "items": [{**each._asdict(), "score": _shortest(each.score)} for each in found],
    }


def _shortest(score: float) -> float:
    """A float32 with the fewest digits: 0.1, not 0.10000000149011612."""
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
        yield lambda found: file.writelines(json.dumps(as_dict(each), ensure_ascii=False) + "\n" for each in found)


_WRITERS: dict[str, Callable[[Path, pa.Schema], AbstractContextManager[Write]]] = {
    ".csv": _csv,
    ".jsonl": _json_lines,
    ".parquet": _parquet,
}
