"""The formats by name. A reader's code is imported when a file is read, so that listing the formats costs nothing.

A new format is one entry here, or one call of `register`, and the function that reads it.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, cast

from actsr_cli.data.readers.columns import COLUMN_OPTIONS, Columns
from actsr_cli.errors import DataError, nearest

if TYPE_CHECKING:
    from actsr_cli.data.readers.interactions import BadLines, Interactions

    Read = Callable[[Path, Columns, Collection[str], BadLines], Interactions]

PARTS = ("train", "valid", "test")
"""The parts of data that come split in files, in the order in which `Interactions.parts` numbers them."""
_COLUMNS = ("user", "item", "timestamp", "rating")


@dataclass(frozen=True)
class Reader:
    """A format of raw interactions.

    Attributes:
        name: its name for `--format`.
        suffixes: ends of file names by which it is recognised.
        read: the function that reads a file, or where it is as `module:function`. It takes the path, the columns, the
            names of further numeric columns that filters will look at, and the `BadLines` that hear of every
            malformed line; it raises DataError where the file cannot be read, lacks a column, or holds nothing.
        options: the fields of `Columns` that it takes; any other is refused.
        timestamps: whether it may bring timestamps.
        item_suffix: suffix of the file beside the interactions with titles and categories of items, None where there
            is no such thing.
        in_parts: whether NAME.train, NAME.valid and NAME.test with its suffix are one data set that came split.
    """

    name: str
    suffixes: tuple[str, ...]
    read: Read | str
    options: tuple[str, ...] = ()
    timestamps: bool = True
    item_suffix: str | None = None
    in_parts: bool = False

    def load(self) -> Read:
        """The function that reads a file, imported if it is not yet."""
        if not isinstance(self.read, str):
            return self.read
        module, _, function = self.read.partition(":")
        return cast("Read", getattr(import_module(module), function))


_HERE = "actsr_cli.data.readers"
_READERS: dict[str, Reader] = {}


def register(reader: Reader) -> Reader:
    """Make a format known under its name and suffixes; returns it.

    Raises:
        DataError: its name or a suffix is taken, or it wants an option that `Columns` does not have.
    """
    if reader.name in _READERS:
        raise DataError(f"there is a format '{reader.name}' already")
    for other in readers():
        if taken := sorted(set(reader.suffixes) & set(other.suffixes)):
            raise DataError(f"the suffix {taken[0]} is that of the format {other.name} already")
    if unknown := sorted(set(reader.options) - set(COLUMN_OPTIONS)):
        raise DataError(f"no option '{unknown[0]}' for the format {reader.name}; {nearest(unknown[0], COLUMN_OPTIONS)}")
    _READERS[reader.name] = reader
    return reader


def readers() -> tuple[Reader, ...]:
    """Every format, in the order in which they are listed."""
    return tuple(_READERS.values())


def format_names() -> tuple[str, ...]:
    """Their names."""
    return tuple(_READERS)


def find_reader(name: str) -> Reader:
    """The format of this name.

    Raises:
        DataError: there is none.
    """
    if name not in _READERS:
        raise DataError(f"unknown format '{name}'; {nearest(name, _READERS)}")
    return _READERS[name]


def guess_reader(file: Path) -> Reader:
    """The format that a file's name ends like; of several suffixes the longest counts.

    Raises:
        DataError: none does.
    """
    fitting = [(len(end), each.name) for each in readers() for end in each.suffixes if file.name.endswith(end)]
    if not fitting:
        raise DataError(
            f"the format of {file.name} cannot be told from its name", hint=f"Give --format {'|'.join(_READERS)}."
        )
    return _READERS[max(fitting)[1]]


register(
    Reader(
        name="atomic",
        suffixes=(".inter",),
        read=f"{_HERE}.atomic:read_atomic",
        options=_COLUMNS,
        item_suffix=".item",
        in_parts=True,
    )
)
register(Reader(name="sequences", suffixes=(".txt",), read=f"{_HERE}.lists:read_sequences", timestamps=False))
register(
    Reader(
        name="csv",
        suffixes=(".csv", ".tsv"),
        read=f"{_HERE}.csv_files:read_csv",
        options=(*_COLUMNS, "separator"),
    )
)
register(Reader(name="parquet", suffixes=(".parquet",), read=f"{_HERE}.parquet_files:read_parquet", options=_COLUMNS))
register(
    Reader(
        name="amazon-reviews",
        suffixes=(".json", ".jsonl", ".json.gz", ".jsonl.gz"),
        read=f"{_HERE}.json_lines:read_amazon_reviews",
    )
)
