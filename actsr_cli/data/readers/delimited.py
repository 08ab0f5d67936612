"""Reads delimited text into a table of text columns, with the line number of each row."""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.csv as arrow_csv
from numpy.typing import NDArray

from actsr_cli.data.readers.text import read_lines
from actsr_cli.errors import DataError

_FIRST_ROW = 2
"""Arrow counts the skipped header as row 1."""


@dataclass(frozen=True)
class Table:
    """Columns of a file, with the positions of its rows.

    Attributes:
        frame: the columns, as text or as numbers.
        places: returns the line (or row) number of each row of `frame`.
        unit: unit of `places`: `line` or `row`.
        malformed: numbers of lines that cannot be parsed as rows, with the reason.
    """

    frame: pd.DataFrame
    places: Callable[[], NDArray[np.int64]]
    unit: str
    malformed: list[tuple[int, str]]


def read_header(path: Path, separator: str, *, quoted: bool) -> list[str]:
    """Names of the columns in the header.

    Raises:
        DataError: there is no header, or it names a column twice.
    """
    first = next(read_lines(path), "")
    if not first.strip():
        raise DataError(f"{path} is empty: its first line must name the columns")
    try:
        fields = next(csv.reader([first], delimiter=separator)) if quoted else first.split(separator)
    except csv.Error as error:
        raise DataError(f"{path}, line 1: not a header of column names ({error})") from error
    names = [name.strip() for name in fields]
    check_names(names, path)
    return names


def check_names(names: Sequence[str], path: Path) -> None:
    """Raise DataError if a column name occurs twice."""
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise DataError(f"{path} has the column '{twice[0]}' twice")


def read_delimited(path: Path, separator: str, names: list[str], used: list[str], *, quoted: bool) -> Table:
    """The `used` columns of a delimited file whose header is `names`, as text.

    Raises:
        DataError: the file is not UTF-8, or cannot be parsed into rows.
    """
    broken: list[tuple[int, str]] = []

    def keep_broken(row: arrow_csv.InvalidRow) -> str:
        lines = (row.text or "").count("\n") + 1
        over = f", in quotes over {lines} lines" if lines > 1 else ""
        fields = f"{row.expected_columns} fields expected, {row.actual_columns} found{over}"
        broken.append((row.number - _FIRST_ROW, fields))
        return "skip"

    if not any(islice(read_lines(path), 1, None)):
        return Table(pd.DataFrame({name: [] for name in used}, dtype="str"), lambda: np.empty(0, int), "line", [])
    try:
        table = arrow_csv.read_csv(
            path,
            read_options=arrow_csv.ReadOptions(use_threads=False, column_names=names, skip_rows=1),
            parse_options=arrow_csv.ParseOptions(
                delimiter=separator,
                quote_char='"' if quoted else False,
                newlines_in_values=quoted,
                invalid_row_handler=keep_broken,
            ),
            convert_options=arrow_csv.ConvertOptions(
                column_types=dict.fromkeys(names, pa.string()), include_columns=used
            ),
        )
    except pa.ArrowInvalid as error:
        for _ in read_lines(path):  # raises with the number of a line that is not UTF-8
            pass
        raise DataError(f"{path} cannot be read: {error}") from error

    def lines() -> NDArray[np.int64]:
        found = _quoted_row_lines(path, separator) if quoted else _row_lines(path)
        return np.fromiter(found, dtype=np.int64)

    broken_rows = [row for row, _ in broken]
    places = lines() if broken else np.empty(0, dtype=np.int64)
    return Table(
        table.to_pandas(),
        places=lambda: np.delete(lines(), broken_rows),
        unit="line",
        malformed=[(int(places[row]), reason) for row, reason in broken],
    )


def _row_lines(path: Path) -> Iterator[int]:
    """The line of each row below the header; empty lines are not rows."""
    return (number for number, line in enumerate(read_lines(path), 1) if line and number > 1)


def _quoted_row_lines(path: Path, separator: str) -> Iterator[int]:
    """The first line of each row below the header; quoted fields may span several lines."""
    reader = csv.reader((f"{line}\n" for line in islice(read_lines(path), 1, None)), delimiter=separator)
    begin = 2
    try:
        for row in reader:
            if row:
                yield begin
            begin = reader.line_num + 2
    except csv.Error as error:
        raise DataError(f"{path}, line {begin}: {error}") from error
