"""Reads RecBole's atomic files: with a header of `column:type` pairs, usually tab-separated, without quoting."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

from actsr_cli.data.readers.clean import read_clean
from actsr_cli.data.readers.columns import Columns
from actsr_cli.data.readers.delimited import (
    Dialect,
    check_names,
    delimited_chunks,
    dialect_of,
    read_delimited,
    read_header,
)
from actsr_cli.data.readers.expansion import find_layout, read_layout, with_words
from actsr_cli.data.readers.headers import check_separator, explaining
from actsr_cli.data.readers.interactions import BadLines, Interactions
from actsr_cli.errors import DataError


def read_atomic(path: Path, columns: Columns, wanted: Collection[str], bad_lines: BadLines) -> Interactions:
    """Read a RecBole `.inter` file: with a header of `column:type` pairs, without quoting."""
    dialect = dialect_of(columns, "\t", quotes=False)
    kinds = read_header_types(path, dialect)
    names = list(kinds)
    lists = [name for name, kind in kinds.items() if kind.endswith("_seq")]
    with explaining(path, dialect, names):
        layout = find_layout(names, lists, columns, wanted, path)
    if layout.lists is None:
        raw = read_clean(delimited_chunks(path, dialect, names, layout.used), layout.roles)
        if raw is not None:
            return raw
    table = read_delimited(path, dialect, names, layout.used)
    return read_layout(with_words(table, layout), layout, path, bad_lines)


def read_header_types(path: Path, dialect: Dialect) -> dict[str, str]:
    """The type of each column of an atomic file, by column name.

    Raises:
        DataError: the header does not consist of `column:type` pairs, or names a column twice.
    """
    header = read_header(path, dialect)
    check_names(header, path)
    if not all(":" in name for name in header):
        check_separator(path, dialect, header)
        raise DataError(
            f"{path} is not an atomic file: its header must name column:type pairs, not {header[0]!r}",
            hint="A file with plain names of columns: --format csv, and its --separator.",
        )
    check_names([name.rpartition(":")[0] for name in header], path)
    return {name: kind for name, _, kind in (field.rpartition(":") for field in header)}
