"""Reads CSV files with a header; fields may be quoted."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

from actsr_cli.data.readers.columns import Columns
from actsr_cli.data.readers.delimited import read_delimited, read_header
from actsr_cli.data.readers.interactions import BadLines, Interactions
from actsr_cli.data.readers.tables import find_roles, read_table
from actsr_cli.errors import DataError


def read_csv(path: Path, columns: Columns, wanted: Collection[str], bad_lines: BadLines) -> Interactions:
    """Read a CSV file with a header; fields may be quoted."""
    separator = _separator(path, columns.separator)
    names = read_header(path, separator, quoted=True)
    roles = find_roles(names, columns, wanted, path)
    return read_table(read_delimited(path, separator, names, roles.used, quoted=True), roles, path, bad_lines)


def _separator(path: Path, given: str | None) -> str:
    if given is None:
        return "\t" if path.suffix == ".tsv" else ","
    separator = "\t" if given == "\\t" else given
    if len(separator) != 1 or not separator.isascii() or separator in '"\r\n':
        raise DataError(f"a separator is one ASCII character other than a quote, not {given!r}")
    return separator
