"""Reads RecBole's atomic files: tab-separated, with a header of `column:type` pairs, without quoting."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

from actsr_cli.data.readers.columns import Columns
from actsr_cli.data.readers.delimited import check_names, read_delimited, read_header
from actsr_cli.data.readers.expansion import find_layout, read_layout, with_words
from actsr_cli.data.readers.interactions import BadLines, Interactions
from actsr_cli.errors import DataError


def read_atomic(path: Path, columns: Columns, wanted: Collection[str], bad_lines: BadLines) -> Interactions:
    """Read a RecBole `.inter` file: tab-separated, with a header of `column:type` pairs, without quoting."""
    kinds = read_header_types(path)
    names = list(kinds)
    layout = find_layout(names, [name for name, kind in kinds.items() if kind.endswith("_seq")], columns, wanted, path)
    table = read_delimited(path, "\t", names, layout.used, quoted=False)
    return read_layout(with_words(table, layout), layout, path, bad_lines)


def read_header_types(path: Path) -> dict[str, str]:
    """The type of each column of an atomic file, by column name.

    Raises:
        DataError: the header does not consist of `column:type` pairs, or names a column twice.
    """
    header = read_header(path, "\t", quoted=False)
    if not all(":" in name for name in header):
        raise DataError(f"{path} is not an atomic file: its header must name column:type pairs, not {header[0]!r}")
    check_names([name.rpartition(":")[0] for name in header], path)
    return {name: kind for name, _, kind in (field.rpartition(":") for field in header)}
