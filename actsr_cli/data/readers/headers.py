"""Finds the columns of a delimited file by its first row, and says what is wrong with that row."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from actsr_cli.data.readers.columns import FILE_ORDER, ROLES, Columns
from actsr_cli.data.readers.delimited import WHITESPACE, Dialect, check_names, first_fields
from actsr_cli.data.readers.tables import USUAL_NAMES
from actsr_cli.errors import DataError

_SEPARATORS = {",": "commas", ";": "semicolons", "\t": "tabs", "|": "bars", "::": "'::'", WHITESPACE: "blanks"}
"""Separators that are recognised; blanks only if no other is there."""
_NUMBER = re.compile(r"[-+]?\d[-+\d.:TZeE/ ]*")
_TYPED = re.compile(".+:(token|float|token_seq|float_seq)")
_NO_HEADER = "Give --no-header, and columns by number: --user-column 1 --item-column 2 and so on."


def columns_to_find(path: Path, dialect: Dialect, names: list[str], columns: Columns) -> Columns:
    """The columns, checked against the first row. A file of two columns without header holds users and items.

    Raises:
        DataError: the first row holds data in place of names, or names in place of data.
    """
    if dialect.header:
        _check_names(path, names, columns)
        return columns
    _check_data(path, dialect)
    if len(names) == 2:
        return replace(columns, user=columns.user or "1", item=columns.item or "2")
    return columns


@contextmanager
def explaining(path: Path, dialect: Dialect, names: Sequence[str]) -> Iterator[None]:
    """Adds what the first row says about the reason to an error about a column that does not exist.

    Raises:
        DataError: the separator seems wrong, or the first row seems to hold data.
    """
    try:
        yield
    except DataError as error:
        check_separator(path, dialect, names)
        raise _explained(error, path, dialect, names) from error


def check_separator(path: Path, dialect: Dialect, names: Sequence[str], hint: str | None = None) -> None:
    """Check that no other separator finds more fields in the first row.

    Args:
        path: the file.
        dialect: how it is read.
        names: the fields that its separator finds.
        hint: what to do. Default: give the separator.

    Raises:
        DataError: another separator does.
    """
    counts = {each: n_fields(path, replace(dialect, separator=each)) for each in _SEPARATORS}
    best = max(list(_SEPARATORS)[:-1], key=lambda each: counts[each])
    if counts[best] < 2:
        best = WHITESPACE
    if counts[best] <= len(names) or best == dialect.separator:
        return
    shown = best if best == WHITESPACE else f"'{best}'".replace("\t", "\\t")
    given = _SEPARATORS.get(dialect.separator, repr(dialect.separator))
    raise DataError(
        f"{path} has {_SEPARATORS[best]} between its fields, not {given}", hint=hint or f"Give --separator {shown}"
    )


def check_values(path: Path, values: Mapping[str, NDArray[np.object_]] | pd.DataFrame, columns: Columns) -> None:
    """Check that a given name of a column is none of its values, as it is where the first row holds data.

    Args:
        path: the file, for errors.
        values: of each column, at least once each.
        columns: as the user gave them.

    Raises:
        DataError: it is.
    """
    for name in (columns.user, columns.item):
        if name is not None and (values[name] == name).any():
            raise DataError(
                f"{path}: its first row looks like data: '{name}' is also in a row below",
                hint=f"{_NO_HEADER} Rename the column if it is a name.",
            )


def _check_names(path: Path, names: Sequence[str], columns: Columns) -> None:
    """Raise DataError if a given name of a column, or one that is there twice, is a number: then it is one of data."""
    given = (name for role in ROLES if (name := getattr(columns, role)) not in (None, FILE_ORDER))
    twice = (name for name in names if names.count(name) > 1)
    for name in (*given, *twice):
        if _NUMBER.fullmatch(name):
            raise DataError(
                f"{path}: '{name}' is no name of a column but a value: its first row looks like data",
                hint=f"{_NO_HEADER} Rename the column if it is a name.",
            )
    check_names(names, path)


def _check_data(path: Path, dialect: Dialect) -> None:
    """Raise DataError if the first row of a file without header has usual names of columns."""
    first = [" ".join(name.split()) for name in first_fields(path, dialect)]
    plain = [name.rpartition(":")[0] if _TYPED.fullmatch(name) else name for name in first]
    if sum(name in usual for usual in USUAL_NAMES.values() for name in plain) > 1:
        raise DataError(f"{path} has a header: {', '.join(first)}", hint="Leave --no-header out.")


def _explained(error: DataError, path: Path, dialect: Dialect, names: Sequence[str]) -> DataError:
    """The error about a missing column, with what the first row says about the reason."""
    if not dialect.quotes:  # an atomic file always has a header
        return error
    first = first_fields(path, dialect)
    if not dialect.header:
        shown = ", ".join(f"{number} is {_short(value)}" for number, value in enumerate(first, start=1))
        return DataError(
            error.message,
            hint=f"Give --user-column, --item-column and --timestamp-column by number. In the first row {shown}.\n"
            f"If rows are in order of time: --timestamp-column {FILE_ORDER}.",
        )
    if all(_TYPED.fullmatch(name) for name in names):
        separator = "" if dialect.separator == "\t" else f" --separator '{dialect.separator}'"
        return DataError(
            f"{error.message}; these are columns with their types, as in an atomic file",
            hint=f"Give --format atomic{separator}.",
        )
    if any(_NUMBER.fullmatch(name) for name in names):
        return DataError(f"{path}: its first row looks like data: {', '.join(map(_short, first))}", hint=_NO_HEADER)
    hint = error.hint or ""
    return DataError(error.message, hint=f"{hint}\nIf the first row holds data: --no-header.".lstrip())


def _short(value: str) -> str:
    """A value as it is shown in messages."""
    return repr(value if len(value) <= 30 else f"{value[:30]}…")


def n_fields(path: Path, dialect: Dialect) -> int:
    """The number of fields in the first row; 0 if it cannot be read."""
    try:
        return len(first_fields(path, dialect))
    except DataError:
        return 0
