"""Tables with one interaction per row: RecBole's atomic files, CSV, Parquet."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as parquet
from numpy.typing import NDArray

from actsr_cli.data.readers.delimited import Table, check_names, read_delimited, read_header
from actsr_cli.data.readers.interactions import BadLines, Interactions, find_column
from actsr_cli.data.sources import FILE_ORDER, Columns
from actsr_cli.errors import DataError, nearest

USUAL_NAMES: Mapping[str, Sequence[str]] = {
    "user": ("user_id", "user", "userId", "reviewerID"),
    "item": ("item_id", "item", "itemId", "business_id", "movieId", "asin", "parent_asin"),
    "timestamp": ("timestamp", "time", "date", "unixReviewTime"),
    "rating": ("rating", "stars", "overall"),
}
TITLES = ("title", "movie_title", "item_title", "item_name", "name")


@dataclass(frozen=True)
class _Roles:
    """The columns that hold users, items, times (None: file order) and ratings (None: there are none)."""

    user: str
    item: str
    timestamp: str | None
    rating: str | None
    numbers: dict[str, str]  # a filter's name for a column, and the column


def read_atomic(path: Path, columns: Columns, wanted: Collection[str], bad_lines: BadLines) -> Interactions:
    """Read a RecBole `.inter` file: tab separated, its header naming `column:type` pairs, no quoting."""
    names = _atomic_names(path)
    roles = _find_roles(names, columns, wanted, path)
    return _interactions(read_delimited(path, "\t", names, _used(roles), quoted=False), roles, path, bad_lines)


def read_csv(path: Path, columns: Columns, wanted: Collection[str], bad_lines: BadLines) -> Interactions:
    """Read a CSV file with a header; fields may be quoted."""
    separator = _separator(path, columns.separator)
    names = read_header(path, separator, quoted=True)
    roles = _find_roles(names, columns, wanted, path)
    return _interactions(read_delimited(path, separator, names, _used(roles), quoted=True), roles, path, bad_lines)


def read_parquet(path: Path, columns: Columns, wanted: Collection[str], bad_lines: BadLines) -> Interactions:
    """Read a Parquet file."""
    try:
        file = parquet.ParquetFile(path)
        names = file.schema_arrow.names
        check_names(names, path)
        roles = _find_roles(names, columns, wanted, path)
        table = file.read(columns=_used(roles))
        for column in {roles.user, roles.item}:  # as text, before missing values make integers floats
            table = table.set_column(table.schema.get_field_index(column), column, table[column].cast(pa.string()))
        frame = table.to_pandas()
    except pa.ArrowException as error:
        raise DataError(f"{path} is no readable Parquet file: {error}") from error
    return _interactions(Table(frame, lambda: np.arange(1, len(frame) + 1), "row", []), roles, path, bad_lines)


def read_titles(path: Path, bad_lines: BadLines) -> dict[str, str]:
    """Titles by raw item id from an atomic `.item` file; empty where it has no column of titles.

    Raises:
        DataError: the file has no item ids, or is no atomic file.
    """
    names = _atomic_names(path)
    item = find_column(names, None, USUAL_NAMES["item"], "item", path)
    title = find_column(names, None, TITLES, "title", path)
    if item is None:
        raise DataError(f"{path} has no column of item ids; it has: {', '.join(names)}")
    if title is None:
        return {}
    table = read_delimited(path, "\t", names, [item, title], quoted=False)
    for line, reason in table.malformed:
        bad_lines.report(line, reason)
    return dict(zip(table.frame[item], table.frame[title], strict=True))


def _atomic_names(path: Path) -> list[str]:
    """Names of the columns of an atomic file, without their types."""
    header = read_header(path, "\t", quoted=False)
    if not all(":" in name for name in header):
        raise DataError(f"{path} is no atomic file: its header must name column:type pairs, not {header[0]!r}")
    names = [name.rpartition(":")[0] for name in header]
    check_names(names, path)
    return names


def _separator(path: Path, given: str | None) -> str:
    if given is None:
        return "\t" if path.suffix == ".tsv" else ","
    separator = "\t" if given == "\\t" else given
    if len(separator) != 1 or not separator.isascii() or separator in '"\r\n':
        raise DataError(f"a separator is one ASCII character other than a quote, not {given!r}")
    return separator


def _find_roles(names: Sequence[str], columns: Columns, wanted: Collection[str], path: Path) -> _Roles:
    def find(role: str, given: str | None) -> str | None:
        return find_column(names, given, USUAL_NAMES[role], role, path)

    user, item = find("user", columns.user), find("item", columns.item)
    for role, found in (("user", user), ("item", item)):
        if found is None:
            raise DataError(
                f"{path} has no column for the {role}; it has: {', '.join(names)}",
                hint=f"Name it: --{role}-column NAME",
            )
    timestamp = None if columns.timestamp == FILE_ORDER else find("timestamp", columns.timestamp)
    if timestamp is None and columns.timestamp != FILE_ORDER:
        raise DataError(
            f"{path} has no column of timestamps; it has: {', '.join(names)}",
            hint=f"Name it: --timestamp-column NAME, or --timestamp-column {FILE_ORDER} if rows are in order of time.",
        )
    rating = find("rating", columns.rating)
    known: dict[str, str | None] = {"timestamp": timestamp, "rating": rating, **{name: name for name in names}}
    for role in ("timestamp", "rating"):  # a preset may call a column by another of its usual names
        known = {**dict.fromkeys(USUAL_NAMES[role], known[role]), **known}
    if unknown := [name for name in wanted if known.get(name) is None]:
        raise DataError(f"{path} has no column '{unknown[0]}' to filter by; {nearest(unknown[0], names)}")
    numbers = {name: column for name in wanted if (column := known[name]) is not None}
    return _Roles(str(user), str(item), timestamp, rating, numbers)


def _used(roles: _Roles) -> list[str]:
    named = (roles.user, roles.item, roles.timestamp, roles.rating, *roles.numbers.values())
    return list(dict.fromkeys(name for name in named if name is not None))


def _interactions(table: Table, roles: _Roles, path: Path, bad_lines: BadLines) -> Interactions:
    frame = table.frame
    numbers = {
        column: _numbers(frame[column], dates=column != roles.rating)
        for column in dict.fromkeys(_number_columns(roles))
    }
    problems: list[tuple[NDArray[np.bool_], Callable[[int], str]]] = []
    for role, column in (("user", roles.user), ("item", roles.item)):
        absent = (frame[column].isna() | (frame[column].astype(str) == "")).to_numpy()
        problems.append((absent, lambda _, role=role: f"no {role}"))  # type: ignore[misc]
    for column, values in numbers.items():
        empty = (frame[column].isna() | (frame[column].astype(str) == "")).to_numpy()
        wrong = ~np.isfinite(values) & (np.ones_like(empty) if column == roles.timestamp else ~empty)
        problems.append((wrong, lambda row, column=column: f"{column} {frame[column].iloc[row]!r} is not a number"))  # type: ignore[misc]
    bad = np.logical_or.reduce([mask for mask, _ in problems])
    _report(table, problems, bad, bad_lines)
    if bad.any():
        frame = frame[~bad]
        numbers = {column: values[~bad] for column, values in numbers.items()}
    if frame.empty:
        raise DataError(f"{path} holds no interactions")
    users, user_names = _numbered(frame[roles.user])
    items, item_names = _numbered(frame[roles.item])
    return Interactions(
        users=users,
        items=items,
        user_names=user_names,
        item_names=item_names,
        timestamps=None if roles.timestamp is None else numbers[roles.timestamp],
        numbers={name: numbers[column] for name, column in roles.numbers.items()},
    )


def _numbered(values: pd.Series) -> tuple[NDArray[np.int64], NDArray[np.object_]]:
    """Texts as numbers in order of first appearance, and the text of each number."""
    encoded = _texts(values.astype("str")).dictionary_encode()
    codes = encoded.indices.to_numpy(zero_copy_only=False).astype(np.int64)
    return codes, encoded.dictionary.to_numpy(zero_copy_only=False)


def _number_columns(roles: _Roles) -> list[str]:
    return [name for name in (roles.timestamp, roles.rating, *roles.numbers.values()) if name is not None]


def _numbers(values: pd.Series, *, dates: bool) -> NDArray[np.float64]:
    """Numbers from text, numbers or, if they may be, dates (as seconds since 1970); NaN where there is neither."""
    if pd.api.types.is_datetime64_any_dtype(values):
        return _seconds(pd.to_datetime(values, utc=True))
    if (parsed := _parsed(values)) is not None:
        return parsed
    numbers = pd.to_numeric(values, errors="coerce").to_numpy(dtype=np.float64, na_value=np.nan).copy()
    rest = np.isnan(numbers)
    if dates and rest.any():
        numbers[rest] = _seconds(pd.to_datetime(values[rest], errors="coerce", utc=True, format="ISO8601"))
    return numbers


def _texts(values: pd.Series) -> pa.LargeStringArray:
    """A column of texts as Arrow has it."""
    texts = pa.array(values, type=pa.large_string())
    return texts.combine_chunks() if isinstance(texts, pa.ChunkedArray) else texts


def _parsed(values: pd.Series) -> NDArray[np.float64] | None:
    """Texts that are all plain numbers, in one go; None where one is not."""
    if not pd.api.types.is_string_dtype(values):
        return None
    try:
        return np.asarray(_texts(values).cast(pa.float64()))
    except pa.ArrowException:
        return None


def _seconds(dates: pd.Series) -> NDArray[np.float64]:
    since = dates - pd.Timestamp(0, tz="UTC")
    return np.asarray(since.dt.total_seconds(), dtype=np.float64)


def _report(
    table: Table,
    problems: Sequence[tuple[NDArray[np.bool_], Callable[[int], str]]],
    bad: NDArray[np.bool_],
    bad_lines: BadLines,
) -> None:
    """Tell of every malformed line in the order of the file, each with its first reason."""
    found = list(table.malformed)
    if bad.any():
        places = table.places()
        for row in np.flatnonzero(bad).tolist():
            reason = next(reason(row) for mask, reason in problems if mask[row])
            found.append((int(places[row]), reason))
    for place, reason in sorted(found):
        bad_lines.report(place, reason, table.unit)
