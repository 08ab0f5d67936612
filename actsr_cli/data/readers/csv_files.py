"""Reads delimited files of all kinds: CSV, TSV and others; fields may be quoted."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

from actsr_cli.data.readers.clean import read_clean
from actsr_cli.data.readers.columns import Columns
from actsr_cli.data.readers.delimited import delimited_chunks, dialect_of, read_delimited, read_header
from actsr_cli.data.readers.headers import check_values, columns_to_find, explaining
from actsr_cli.data.readers.interactions import BadLines, Interactions
from actsr_cli.data.readers.registry import uncompressed
from actsr_cli.data.readers.tables import find_roles, read_table


def read_csv(path: Path, columns: Columns, wanted: Collection[str], bad_lines: BadLines) -> Interactions:
    """Read a delimited file, with a header or without; fields may be quoted."""
    dialect = dialect_of(columns, usual_separator(path), quotes=True)
    names = read_header(path, dialect)
    columns = columns_to_find(path, dialect, names, columns)
    with explaining(path, dialect, names):
        roles = find_roles(names, columns, wanted, path)
    raw = read_clean(delimited_chunks(path, dialect, names, roles.used), roles)
    if raw is not None:
        if dialect.header:
            check_values(path, {roles.user: raw.user_names, roles.item: raw.item_names}, columns)
        return raw
    table = read_delimited(path, dialect, names, roles.used)
    if dialect.header:
        check_values(path, table.frame, columns)
    return read_table(table, roles, path, bad_lines)


def usual_separator(path: Path) -> str:
    """The separator that the name of a file stands for."""
    return "\t" if uncompressed(path).suffix.lower() == ".tsv" else ","
