"""Reads histories from files: JSON lines and Parquet lists as a stream, tables with the readers of data sets."""

from __future__ import annotations

import json
import shutil
import sys
import tempfile
from collections.abc import Collection, Iterable, Iterator
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as parquet
from numpy.typing import NDArray

from actsr_cli.data.readers import Columns, find_reader, format_names, guess_reader
from actsr_cli.data.readers.columns import FILE_ORDER
from actsr_cli.data.readers.interactions import BadLines, find_column
from actsr_cli.data.readers.parquet_files import is_list, parquet_schema, readable
from actsr_cli.data.readers.parts import read_interactions
from actsr_cli.data.readers.registry import uncompressed
from actsr_cli.data.readers.tables import USUAL_NAMES
from actsr_cli.data.readers.text import read_lines, text_lines
from actsr_cli.data.readers.times import check_comparable
from actsr_cli.errors import ConfigError, DataError, nearest
from actsr_cli.recommending.histories import RawHistories, rows_of_users
from actsr_cli.recommending.values import checked_times, raw_id, raw_ids

JSON_LINES = "jsonl"
STDIN = Path("-")
_JSON_SUFFIXES = (".jsonl", ".ndjson", ".json")
_KEYS = ("user", "items", "timestamps")
_CHUNK = 4096
"""Number of histories read at a time and kept in memory."""

Entry = tuple[str | None, list[str], NDArray[np.float64] | None]
"""A user, raw item ids and their times; None if the file has no users or times."""


def history_formats() -> tuple[str, ...]:
    """Names of the formats of histories."""
    return (JSON_LINES, *format_names())


def read_histories(
    path: Path, format_name: str | None = None, columns: Columns | None = None, *, way: str = ""
) -> Iterator[RawHistories]:
    """The histories in a file, in chunks.

    JSON lines hold a history per line: a list of item ids, or an object with `items` and, optionally, `user` and
    `timestamps`. A Parquet file holds a list per row, or an interaction per row. All other
    formats are those of data sets. Tables of interactions are read as a whole.

    Args:
        path: the file; `-` is standard input.
        format_name: one of `history_formats`; Default: by the file's suffix; JSON lines for standard input.
        columns: how the columns of a table are found, and the encoding of a text.
        way: how the times of the model's data are written; empty if unknown.

    Raises:
        DataError: the file is missing or malformed.
        ConfigError: the format does not take an option of `columns`.
    """
    name = format_name or _guessed(path)
    columns = columns or Columns()
    _check_options(name, columns)
    where = "standard input" if path == STDIN else str(path)
    if name == JSON_LINES:
        if path == STDIN:
            lines = text_lines(sys.stdin.buffer, where, columns.encoding)
        else:
            lines = read_lines(_existing(path), columns.encoding)
        yield from _chunks(_json_entries(lines, where, way), where)
        return
    with _on_disk(path) as file:
        if name == "parquet" and (listed := _list_columns(file, columns)) is not None:
            yield from _chunks(_listed_entries(file, listed, way), where)
        else:
            yield from _interaction_chunks(file, name, columns, way)


def read_ids(path: Path, known: Collection[str] = ()) -> list[str]:
    """The raw ids in a text file, one per line; empty lines are skipped.

    A line with blanks around it is an id as it is if that is one of the `known` ids, and else without these blanks.

    Raises:
        DataError: the file does not exist, or holds no ids.
    """
    known = frozenset(known)
    ids = [line if line in known else line.strip() for line in read_lines(_existing(path)) if line.strip()]
    if not ids:
        raise DataError(f"{path} holds no ids", hint="Write one id per line.")
    return ids


def _guessed(path: Path) -> str:
    """The format of a file, by its suffix."""
    if path == STDIN or uncompressed(_existing(path)).suffix.lower() in _JSON_SUFFIXES:
        return JSON_LINES
    try:
        return guess_reader(path).name
    except DataError as error:
        raise DataError(error.message, hint=f"Give --format {'|'.join(history_formats())}.") from None


def _check_options(name: str, columns: Columns) -> None:
    """Check that a format exists, and takes the given options."""
    if name not in (names := history_formats()):
        raise DataError(f"unknown format '{name}'; {nearest(name, names)}")
    options = ("encoding",) if name == JSON_LINES else find_reader(name).options
    if unused := [option for key, option in columns.given.items() if key not in options]:
        raise ConfigError(f"{unused[0]} does not go with the format {name}")


def _chunks(entries: Iterator[Entry], where: str) -> Iterator[RawHistories]:
    """The entries of a file in chunks; `where` names the file in errors.

    Raises:
        DataError: only some histories have users, or times.
    """
    count = 0
    has: tuple[bool, bool] | None = None
    for first in entries:
        users, items, times = zip(first, *islice(entries, _CHUNK - 1), strict=True)
        has = (users[0] is not None, times[0] is not None) if has is None else has
        for number, (user, time) in enumerate(zip(users, times, strict=True), start=count + 1):
            if (user is not None, time is not None) != has:
                raise DataError(
                    f"{where}: history {number} has other keys than the histories before it",
                    hint="Give a user for all histories or for none, and likewise timestamps.",
                )
        numbers = [str(number) for number in range(count + 1, count + 1 + len(items))]
        yield RawHistories(users if has[0] else numbers, items, times if has[1] else None, strangers=not has[0])
        count += len(items)


def _json_entries(lines: Iterable[str], where: str, way: str) -> Iterator[Entry]:
    """The histories in JSON lines."""
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            entry: Any = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise DataError(f"{where}, line {number}: not JSON ({error})", hint=_HINT) from None
        if "\\ud" in line.lower() and not _can_be_written(entry):
            raise DataError(f"{where}, line {number}: a text holds half of a character (\\ud800 to \\udfff)")
        try:
            yield _json_entry({"items": entry} if isinstance(entry, list) else entry, way)
        except DataError as error:
            raise DataError(f"{where}, line {number}: {error.message}", hint=error.hint or _HINT) from None


_HINT = 'A line holds ["B001", "B002"], or {"user": "anna", "items": ["B001", "B002"], "timestamps": [1400, 1500]}.'


def _can_be_written(entry: Any) -> bool:
    """Whether all texts are valid Unicode: JSON may contain halves of surrogate pairs."""
    try:
        json.dumps(entry, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        return False
    return True


def _json_entry(entry: Any, way: str) -> Entry:
    if not isinstance(entry, dict) or not isinstance(entry.get("items"), list):
        raise DataError("no list of items")
    if unknown := [key for key in entry if key not in _KEYS]:
        raise DataError(f"unknown key '{unknown[0]}'; {nearest(unknown[0], _KEYS)}")
    items = raw_ids(entry["items"], "items")
    times = entry.get("timestamps")
    if times is not None and not isinstance(times, list):
        raise DataError("timestamps are not a list")
    user = None if entry.get("user") is None else raw_id(entry["user"], "user")
    return user, items, None if times is None else checked_times(times, len(items), "the history", way)


def _list_columns(path: Path, columns: Columns) -> tuple[str | None, str, str | None] | None:
    """The columns of user, items and times of a Parquet file with a list of items per row; None for other files."""
    schema = parquet_schema(path)

    def find(role: str, given: str | None) -> str | None:
        return find_column(schema.names, given, (f"{role}s", *USUAL_NAMES[role]), role, path)

    item = find("item", columns.item)
    if item is None or not is_list(schema.field(item).type):
        return None
    time = None if columns.timestamp == FILE_ORDER else find("timestamp", columns.timestamp)
    if time is not None and not is_list(schema.field(time).type):
        raise DataError(
            f"{path}: the column '{item}' holds lists, and the column '{time}' does not",
            hint="Give the time of each item, or --timestamp-column none.",
        )
    return find("user", columns.user), item, time


def _listed_entries(path: Path, columns: tuple[str | None, str, str | None], way: str) -> Iterator[Entry]:
    """The histories in the rows of a Parquet file."""
    user, item, time = columns
    wanted = [name for name in columns if name is not None]
    for number, row in enumerate(_rows(path, wanted), start=1):
        try:
            items = raw_ids(row[item] or [], "items")
            times = None if time is None else checked_times(row[time] or [], len(items), "the history", way)
            yield None if user is None else raw_id(row[user], "user"), items, times
        except DataError as error:
            raise DataError(f"{path}, row {number}: {error.message}", hint=error.hint) from None


def _rows(path: Path, columns: list[str]) -> Iterator[dict[str, Any]]:
    """The rows of a Parquet file, read in chunks."""
    with readable(path), parquet.ParquetFile(path) as file:
        for batch in file.iter_batches(batch_size=_CHUNK, columns=columns):
            batch.validate(full=True)
            yield from batch.to_pylist()


class _Strict(BadLines):
    """Raises at the first malformed line: histories have no option to skip lines."""

    def report(self, line: int, reason: str, unit: str = "line") -> None:
        raise DataError(f"{self.path}, {unit} {line}: {reason}", hint=f"Correct the {unit}.")


def _interaction_chunks(path: Path, format_name: str, columns: Columns, way: str) -> Iterator[RawHistories]:
    """The histories in a table with one interaction per row; users by first appearance, rows by time."""
    raw = read_interactions(find_reader(format_name), columns, (), [_Strict(path)])
    check_comparable(raw.way, way)
    rows = rows_of_users(raw.users, raw.timestamps)
    for start in range(0, len(rows), _CHUNK):
        chunk = rows[start : start + _CHUNK]
        yield RawHistories(
            users=raw.user_names[start : start + len(chunk)].tolist(),
            items=[raw.item_names[raw.items[each]].tolist() for each in chunk],
            timestamps=None if raw.timestamps is None else [raw.timestamps[each] for each in chunk],
        )


def _existing(path: Path) -> Path:
    if not path.is_file():
        raise DataError(f"no file {path}")
    return path


@contextmanager
def _on_disk(path: Path) -> Iterator[Path]:
    """The file, or standard input saved as a file: readers of tables read some parts twice."""
    if path != STDIN:
        yield _existing(path)
        return
    with tempfile.TemporaryDirectory() as folder:
        spooled = Path(folder) / "stdin"
        with spooled.open("wb") as file:
            shutil.copyfileobj(sys.stdin.buffer, file)
        try:
            yield spooled
        except DataError as error:
            raise DataError(error.message.replace(str(spooled), "standard input"), error.hint) from None
