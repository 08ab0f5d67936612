"""What is known of items: titles and categories from an atomic `.item` file, a CSV or a Parquet file."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa

from actsr_cli.data.readers.atomic import read_header_types
from actsr_cli.data.readers.columns import Columns
from actsr_cli.data.readers.csv_files import usual_separator
from actsr_cli.data.readers.delimited import Dialect, Table, check_names, dialect_of, read_delimited, read_header
from actsr_cli.data.readers.headers import check_separator, n_fields
from actsr_cli.data.readers.interactions import BadLines, find_column
from actsr_cli.data.readers.parquet_files import id_texts, is_list, is_text, parquet_columns, parquet_schema, readable
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


def check_item_file(path: Path, encoding: str | None = None, separator: str | None = None) -> None:
    """Raise where an item file says nothing of items; the arguments are those of `read_item_file`.

    Raises:
        DataError: there is no such file, it has no item ids, or neither titles nor categories, or these cannot be read.
    """
    if not path.is_file():
        raise DataError(f"no file {path}")
    names, columns, _ = _opened(path, encoding, separator)
    if not columns.details:
        raise DataError(
            f"{path} has no column of titles or categories; it has: {', '.join(names)}",
            hint=f"Name the column of titles {TITLES[0]}, or the column of categories {CATEGORIES[0]}.",
        )


def read_item_file(
    path: Path, bad_lines: BadLines, encoding: str | None = None, separator: str | None = None
) -> ItemDetails:
    """Titles and categories by raw item id; columns are found by their usual names.

    In an atomic file a column of categories is of type `token`, one category per item, or `token_seq`, several
    separated by blanks. In CSV and Parquet a text holds one category, or several separated by `|`; Parquet may also
    have lists. An item that comes again with other details is reported, and its first row counts.

    Args:
        path: the file.
        bad_lines: gets the malformed lines.
        encoding: of the text. Default: UTF-8.
        separator: of the interactions; a text may have it in place of the separator that its suffix stands for.

    Raises:
        DataError: the file has no item ids, or cannot be read.
    """
    _, columns, read = _opened(path, encoding, separator)
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


def _opened(
    path: Path, encoding: str | None, separator: str | None
) -> tuple[list[str], _Columns, Callable[[list[str]], Table]]:
    """The names of an item file's columns, those that are read, and what reads some of them."""
    suffix = uncompressed(path).suffix.lower()
    if suffix in (".item", ".csv", ".tsv"):
        dialect = _dialect(path, suffix == ".item", encoding, separator)
        kinds = _header(path, dialect)
        names = list(kinds)
        if find_column(names, None, IDS, "item", path) is None:
            check_separator(path, dialect, names, _SEPARATE)
        columns = _columns(path, names, {name: kind for name, kind in kinds.items() if kind in (_ONE, _BLANKS, _BARS)})
        return names, columns, lambda used: read_delimited(path, dialect, names, used)
    if suffix == ".parquet":
        schema = parquet_schema(path)
        check_names(schema.names, path)
        columns = _columns(path, schema.names, {each.name: kind for each in schema if (kind := _kind(each.type))})
        _check_types(path, schema, columns)
        return schema.names, columns, lambda used: _parquet_table(path, used)
    raise DataError(f"{path} is not a file of items", hint="Items are read from .item, .csv, .tsv and .parquet files.")


_SEPARATE = "Save it with commas (.tsv and .item: tabs), or give --separator if the interactions have the same."


def _dialect(path: Path, atomic: bool, encoding: str | None, separator: str | None) -> Dialect:
    """How an item file in text is written: of its usual separator and the given one, that which finds item ids.

    Raises:
        DataError: both find item ids.
    """
    usual = "\t" if atomic else usual_separator(path)
    options = (Columns(encoding=encoding), Columns(separator=separator, encoding=encoding))
    dialects = list(dict.fromkeys(dialect_of(each, usual, quotes=not atomic) for each in options))
    finding = [each for each in dialects if _finds_items(path, each)]
    if len(finding) > 1:
        raise DataError(
            f"{path} can be read with the separator {finding[0].separator!r} and with {finding[1].separator!r}",
            hint="Rename its columns so that only one of the two finds item ids.",
        )
    return finding[0] if finding else max(dialects, key=lambda each: n_fields(path, each))


def _finds_items(path: Path, dialect: Dialect) -> bool:
    """Whether the header has a column of item ids if it is read in this way."""
    try:
        return find_column(list(_header(path, dialect)), None, IDS, "item", path) is not None
    except DataError:
        return False


def _header(path: Path, dialect: Dialect) -> dict[str, str]:
    """The columns of an item file in text by name: the type in an atomic file, `_BARS` in all others."""
    if not dialect.quotes:
        return read_header_types(path, dialect)
    names = read_header(path, dialect)
    check_names(names, path)
    return dict.fromkeys(names, _BARS)


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
        return _LIST if is_text(column.value_type) else None
    return _BARS if is_text(column) else None


def _check_types(path: Path, schema: pa.Schema, columns: _Columns) -> None:
    """Raise DataError if titles or categories in a Parquet file are of a type that cannot be read."""
    category = columns.category or find_column(schema.names, None, CATEGORIES, "category", path)
    for name, what, kinds in ((columns.title, "titles", (_BARS,)), (category, "categories", (_BARS, _LIST))):
        if name is not None and _kind(schema.field(name).type) not in kinds:
            raise DataError(
                f"{path}: the column '{name}' holds {schema.field(name).type}, which are no {what}",
                hint="Give texts or whole numbers, or rename the column.",
            )


def _parquet_table(path: Path, used: list[str]) -> Table:
    table = parquet_columns(path, used)
    text, (item, *details) = pa.string(), used
    with readable(path):
        columns = {item: id_texts(item, table[item], path)}  # without the metadata, maybe damaged, too
        columns |= {name: table[name].cast(pa.list_(text) if is_list(table[name].type) else text) for name in details}
        frame = pa.table(columns).to_pandas()
    return Table(frame, lambda: np.arange(1, len(frame) + 1), "row", [])


def _categories(value: object, kind: str) -> tuple[str, ...]:
    """The categories in a field, each once, in their order."""
    if kind == _LIST:
        found = [] if value is None else [each for each in np.asarray(value) if each is not None]
    else:
        text = "" if pd.isna(value) else str(value)  # type: ignore[call-overload]
        found = {_ONE: [text], _BLANKS: text.split(" "), _BARS: text.split("|")}[kind]
    return tuple(dict.fromkeys(each.strip() for each in found if each.strip()))
