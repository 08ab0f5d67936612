"""Finds the columns of tables with one interaction per row, and converts the rows to interactions."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from actsr_cli.data.readers.columns import FILE_ORDER, Columns
from actsr_cli.data.readers.delimited import Table
from actsr_cli.data.readers.interactions import BadLines, Interactions, find_column
from actsr_cli.data.readers.numbers import number_texts
from actsr_cli.data.readers.times import (
    COMPACT,
    HINT,
    Reading,
    read_numbers_or_dates,
    read_plain_numbers,
    read_times,
    shown,
)
from actsr_cli.errors import DataError, nearest

_OTHER_DATE = r"\d[-/. ]+(\d|[A-Za-z]{3})|[A-Za-z]{3} +\d"
"""Dates of any order: 1/2/2014, 2 Jan 2014, Jan 2 2014."""
USUAL_NAMES: Mapping[str, Sequence[str]] = {
    "user": ("user_id", "user", "userId", "reviewerID"),
    "item": ("item_id", "item", "itemId", "business_id", "movieId", "parent_asin", "asin"),
    "timestamp": ("timestamp", "time", "date", "unixReviewTime"),
    "rating": ("rating", "stars", "overall"),
}


@dataclass(frozen=True)
class Roles:
    """The columns of users, items, times (None: rows are in order of time) and ratings (None: no ratings)."""

    user: str
    item: str
    timestamp: str | None
    rating: str | None
    numbers: dict[str, str]  # columns by the name that a filter uses

    @property
    def used(self) -> list[str]:
        """All columns that are read, without duplicates."""
        return list(dict.fromkeys([self.user, self.item, *self.of_numbers]))

    @property
    def of_numbers(self) -> list[str]:
        """All numeric columns, without duplicates."""
        named = (self.timestamp, self.rating, *self.numbers.values())
        return list(dict.fromkeys(name for name in named if name is not None))


def find_roles(names: Sequence[str], columns: Columns, wanted: Collection[str], path: Path) -> Roles:
    """Find the columns to read among the columns of a table.

    Raises:
        DataError: a column that is given or required does not exist.
    """

    def find(role: str, given: str | None) -> str | None:
        return find_column(names, given, USUAL_NAMES[role], role, path)

    user, item = find("user", columns.user), find("item", columns.item)
    for role, found in (("user", user), ("item", item)):
        if found is None:
            raise DataError(
                f"{path} has no column for the {role}; it has: {', '.join(names)}",
                hint=f"Give its name: --{role}-column NAME",
            )
    timestamp = None if columns.timestamp == FILE_ORDER else find("timestamp", columns.timestamp)
    if timestamp is None and columns.timestamp != FILE_ORDER:
        raise DataError(
            f"{path} has no column of timestamps; it has: {', '.join(names)}",
            hint=f"Give --timestamp-column NAME, or --timestamp-column {FILE_ORDER} if rows are in order of time.",
        )
    rating = find("rating", columns.rating)
    known: dict[str, str | None] = {"timestamp": timestamp, "rating": rating, **{name: name for name in names}}
    for role in ("timestamp", "rating"):  # a preset may use another usual name of a column
        known = {**dict.fromkeys(USUAL_NAMES[role], known[role]), **known}
    if unknown := [name for name in wanted if known.get(name) is None]:
        raise DataError(f"{path} has no column '{unknown[0]}' to filter by; {nearest(unknown[0], names)}")
    numbers = {name: column for name in wanted if (column := known[name]) is not None}
    return Roles(str(user), str(item), timestamp, rating, numbers)


def read_table(table: Table, roles: Roles, path: Path, bad_lines: BadLines) -> Interactions:
    """Convert the rows of a table to interactions.

    Raises:
        DataError: it holds no interactions, or a column of times is not written in one way.
    """
    frame = table.frame
    readings = {column: _read_column(table, column, roles, path) for column in roles.of_numbers}
    numbers = {column: reading.values for column, reading in readings.items()}
    problems: list[tuple[NDArray[np.bool_], Callable[[int], str]]] = []
    for role, column in (("user", roles.user), ("item", roles.item)):
        problems.append((_empty(frame[column]), lambda _, role=role: f"no {role}"))  # type: ignore[misc]
    for column, reading in readings.items():
        wrong = np.isnan(reading.values)
        if column != roles.timestamp:
            wrong &= ~_empty(frame[column])
        problems.append((wrong, lambda row, column=column: _misfit(frame, column, row, readings[column])))  # type: ignore[misc]
    bad = np.logical_or.reduce([mask for mask, _ in problems])
    _report(table, problems, bad, bad_lines)
    if bad.any():
        frame = frame[~bad]
        numbers = {column: values[~bad] for column, values in numbers.items()}
    if frame.empty:
        raise DataError(f"{path} holds no interactions")
    users, user_names = number_texts(frame[roles.user])
    items, item_names = number_texts(frame[roles.item])
    return Interactions(
        users=users,
        items=items,
        user_names=user_names,
        item_names=item_names,
        timestamps=None if roles.timestamp is None else numbers[roles.timestamp],
        numbers={name: numbers[column] for name, column in roles.numbers.items()},
        way="" if roles.timestamp is None else readings[roles.timestamp].way,
        ways={name: way for name, column in roles.numbers.items() if (way := readings[column].way)},
        columns=(roles.user, roles.item, roles.timestamp),
    )


def _read_column(table: Table, column: str, roles: Roles, path: Path) -> Reading:
    """Read a column of times, ratings, or other numbers.

    Raises:
        DataError: it has the wrong type, or is not written in one way.
    """
    reads = {roles.rating: read_plain_numbers, roles.timestamp: read_times}
    try:
        reading = reads.get(column, read_numbers_or_dates)(table.frame[column])
    except DataError as error:
        raise DataError(f"{path}, column '{column}': {error.message}", hint=error.hint) from error
    if reading.clash is not None:
        places = table.places()
        first, second = (
            (int(places[row]), shown(table.frame[column].iloc[row]), way)
            for row, way in zip(reading.clash.rows, reading.clash.ways, strict=True)
        )
        raise DataError(
            f"{path}, {table.unit} {second[0]}: {column} {second[1]} is {second[2]}, "
            f"but {first[1]} in {table.unit} {first[0]} is {first[2]}",
            hint=HINT,
        )
    return reading


def _empty(values: pd.Series) -> NDArray[np.bool_]:
    return np.asarray(values.isna() | (values.astype(str) == ""))


def _misfit(frame: pd.DataFrame, column: str, row: int, reading: Reading) -> str:
    """Why a value is malformed."""
    value = shown(frame[column].iloc[row])
    if reading.way.startswith(COMPACT):
        return f"{column} {value} is not a date, and the column holds {reading.way}"
    advice = ": write dates as year-month-day, such as 2014-02-01" if re.search(_OTHER_DATE, value) else ""
    return f"{column} {value} is not a number{advice}"


def _report(
    table: Table,
    problems: Sequence[tuple[NDArray[np.bool_], Callable[[int], str]]],
    bad: NDArray[np.bool_],
    bad_lines: BadLines,
) -> None:
    """Report every malformed line in file order, with the first reason found."""
    found = list(table.malformed)
    if bad.any():
        places = table.places()
        for row in np.flatnonzero(bad).tolist():
            reason = next(reason(row) for mask, reason in problems if mask[row])
            found.append((int(places[row]), reason))
    for place, reason in sorted(found):
        bad_lines.report(place, reason, table.unit)
