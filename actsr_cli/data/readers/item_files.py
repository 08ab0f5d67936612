"""What is known of items: titles and categories from an atomic `.item` file, a CSV or a Parquet file."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa

from actsr_cli.data.readers.atomic import read_header_types
from actsr_cli.data.readers.csv_files import usual_separator
from actsr_cli.data.readers.delimited import Dialect, Table, check_names, read_delimited, read_header
from actsr_cli.data.readers.interactions import BadLines, find_column
from actsr_cli.data.readers.parquet_files import is_list, parquet_columns, parquet_schema, readable
from actsr_cli.data.readers.registry import uncompressed
from actsr_cli.data.readers.tables import USUAL_NAMES
from actsr_cli.errors import DataError

IDS = (*USUAL_NAMES["item"], "id")
TITLES = ("title", "movie_title", "item_title", "item_name", "name")
CATEGORIES = ("categories", "category", "genre", "genres", "class")
_ONE, _BLANKS, _BARS, _LIST = "token", "token_seq", "|", "list"
"""How the categories of a field are written: one; several between blanks (atomic files); between | (CSV, Parquet)."""


@dataclass(frozen=True)
class ItemDetails:
    """What an item file says of items, by raw id.

    Attributes:
        titles: a title; empty where the file has no column of titles.
        categories: the categories of an item, each once; empty where the file has no column of categories.
    """

    titles: dict[str, str] = field(default_factory=dict)
    categories: dict[str, tuple[str, ...]] = field(default_factory=dict)


@dataclass(frozen=True)
class _Columns:
    """The columns of an item file: of ids, titles and categories, and how its categories are written."""

    item: str
    title: str | None
    category: str | None
    kind: str

    @property
    def details(self) -> list[str]:
        return [name for name in (self.title, self.category) if name is not None]


def check_item_file(path: Path, encoding: str | None = None) -> None:
    """Raise where an item file says nothing of items.

    Raises:
        DataError: there is no such file, it has no item ids, or neither titles nor categories.
    """
    if not path.is_file():
        raise DataError(f"no file {path}")
    names, columns, _ = _opened(path, encoding)
    if not columns.details:
        raise DataError(
            f"{path} has no column of titles or categories; it has: {', '.join(names)}",
            hint=f"Name the column of titles {TITLES[0]}, or the column of categories {CATEGORIES[0]}.",
        )


def read_item_file(path: Path, bad_lines: BadLines, encoding: str | None = None) -> ItemDetails:
    """Titles and categories by raw item id; columns are found by their usual names.

    In an atomic file a column of categories is of type `token`, one category per item, or `token_seq`, several
    separated by blanks. In CSV and Parquet a text holds one category, or several separated by `|`; Parquet may also
    have lists. An item that comes again with other details is reported, and its first row counts.

    Raises:
        DataError: the file has no item ids, or cannot be read.
    """
    _, columns, read = _opened(path, encoding)
    if not columns.details:
        return ItemDetails()
    table = read([columns.item, *columns.details])
    for line, reason in table.malformed:
        bad_lines.report(line, reason, table.unit)
    frame = table.frame
    again = frame[columns.item].duplicated() & ~frame.astype(str).duplicated()
    if again.any():
        places = table.places()
        for row in np.flatnonzero(again).tolist():
            bad_lines.report(
                int(places[row]),
                f"item {frame[columns.item].iloc[row]} again, with other details: its first row counts",
                table.unit,
            )
    frame = frame.drop_duplicates(columns.item)
    ids = frame[columns.item]
    titles = {} if columns.title is None else dict(zip(ids, frame[columns.title].fillna(""), strict=True))
    if columns.category is None:
        return ItemDetails(titles)
    values = zip(ids, frame[columns.category], strict=True)
    return ItemDetails(titles, {key: _categories(value, columns.kind) for key, value in values})


def _opened(path: Path, encoding: str | None) -> tuple[list[str], _Columns, Callable[[list[str]], Table]]:
    """The names of an item file's columns, those that are read, and what reads some of them."""
    suffix = uncompressed(path).suffix.lower()
    if suffix == ".item":
        dialect = Dialect("\t", encoding=encoding)
        types = read_header_types(path, dialect)
        classed = {name: kind for name, kind in types.items() if kind in (_ONE, _BLANKS)}
        columns = _columns(path, list(types), classed)
        return list(types), columns, lambda used: read_delimited(path, dialect, list(types), used)
    if suffix in (".csv", ".tsv"):
        dialect = Dialect(usual_separator(path), quotes=True, encoding=encoding)
        names = read_header(path, dialect)
        check_names(names, path)
        columns = _columns(path, names, dict.fromkeys(names, _BARS))
        return names, columns, lambda used: read_delimited(path, dialect, names, used)
    if suffix == ".parquet":
        schema = parquet_schema(path)
        check_names(schema.names, path)
        kinds = {column.name: _kind(column.type) for column in schema}
        columns = _columns(path, schema.names, {name: kind for name, kind in kinds.items() if kind})
        return schema.names, columns, lambda used: _parquet_table(path, used)
    raise DataError(f"{path} is not a file of items", hint="Items are read from .item, .csv, .tsv and .parquet files.")


def _columns(path: Path, names: list[str], classed: dict[str, str]) -> _Columns:
    """The columns to read. `classed` has those that may hold categories, and how they are written."""
    item = find_column(names, None, IDS, "item", path)
    if item is None:
        raise DataError(f"{path} has no column of item ids; it has: {', '.join(names)}", hint=f"Name it {IDS[0]}.")
    title = find_column(names, None, TITLES, "title", path)
    category = find_column(list(classed), None, CATEGORIES, "category", path)
    return _Columns(item, title, category, classed.get(category or "", _ONE))


def _kind(column: pa.DataType) -> str | None:
    """How categories are written in a Parquet column; None where it can hold none."""
    if is_list(column):
        return _LIST
    texts = pa.types.is_string(column) or pa.types.is_large_string(column) or pa.types.is_dictionary(column)
    return _BARS if texts else None


def _parquet_table(path: Path, used: list[str]) -> Table:
    table = parquet_columns(path, used)
    with readable(path):
        columns = {name: table[name] for name in used}  # without the metadata, which may be damaged, too
        frame = pa.table(columns | {used[0]: table[used[0]].cast(pa.string())}).to_pandas()
    return Table(frame, lambda: np.arange(1, len(frame) + 1), "row", [])


def _categories(value: object, kind: str) -> tuple[str, ...]:
    """The categories in a field, each once, in their order."""
    if kind == _LIST:
        found = [] if value is None else [str(each) for each in np.asarray(value, dtype=object)]
    else:
        text = "" if pd.isna(value) else str(value)  # type: ignore[call-overload]
        found = {_ONE: [text], _BLANKS: text.split(" "), _BARS: text.split("|")}[kind]
    return tuple(dict.fromkeys(each.strip() for each in found if each.strip()))
