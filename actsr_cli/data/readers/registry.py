"""The formats by name. The code of a reader is imported when a file is read, so that listing the formats is fast.

A new format needs a function that reads it, and an entry here or a call of `register`.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, cast

from actsr_cli.data.readers.columns import COLUMN_OPTIONS, ROLES, Columns
from actsr_cli.errors import DataError, nearest

if TYPE_CHECKING:
    from actsr_cli.data.readers.interactions import BadLines, Interactions

    Read = Callable[[Path, Columns, Collection[str], BadLines], Interactions]

PARTS = ("train", "valid", "test")
"""The parts of data that are split into files, in the order of the numbers in `Interactions.parts`."""
COMPRESSED = (".gz", ".bz2", ".xz", ".zst")
"""Suffixes of compressed files; they are known by their first bytes, whatever their name."""


@dataclass(frozen=True)
class Reader:
    """A format of raw interactions.

    Attributes:
        name: its name for `--format`.
        suffixes: endings of file names by which it is recognised, in lower case, without that of a compressed file.
        read: the function that reads a file, or its location as `module:function`. It takes the path, the columns, the
            names of further numeric columns that filters use, and the `BadLines` to which it reports every malformed
            line. It raises DataError if the file cannot be read, lacks a column, or holds nothing.
        options: the fields of `Columns` that it accepts; others are refused.
        timestamps: whether it can have timestamps.
        item_suffix: suffix of the file with titles and categories of items beside the interactions, or None if the
            format has no such file.
        in_parts: whether NAME.train, NAME.valid and NAME.test with its suffix are one data set split into files.
        folders: whether a folder of such files is one table.
    """

    name: str
    suffixes: tuple[str, ...]
    read: Read | str
    options: tuple[str, ...] = ()
    timestamps: bool = True
    item_suffix: str | None = None
    in_parts: bool = False
    folders: bool = False

    def load(self) -> Read:
        """The function that reads a file; imported on first use."""
        if not isinstance(self.read, str):
            return self.read
        module, _, function = self.read.partition(":")
        return cast("Read", getattr(import_module(module), function))


_HERE = "actsr_cli.data.readers"
_READERS: dict[str, Reader] = {}


def register(reader: Reader) -> Reader:
    """Register a format under its name and suffixes, and return it.

    Raises:
        DataError: its name or a suffix is taken, or it declares an option that `Columns` does not have.
    """
    if reader.name in _READERS:
        raise DataError(f"there is already a format '{reader.name}'")
    for other in readers():
        if taken := sorted(set(reader.suffixes) & set(other.suffixes)):
            raise DataError(f"the suffix {taken[0]} already belongs to the format {other.name}")
    if unknown := sorted(set(reader.options) - set(COLUMN_OPTIONS)):
        raise DataError(f"no option '{unknown[0]}' for the format {reader.name}; {nearest(unknown[0], COLUMN_OPTIONS)}")
    _READERS[reader.name] = reader
    return reader


def readers() -> tuple[Reader, ...]:
    """All formats, in the order of registration."""
    return tuple(_READERS.values())


def format_names() -> tuple[str, ...]:
    """The names of all formats."""
    return tuple(_READERS)


def find_reader(name: str) -> Reader:
    """The format with this name.

    Raises:
        DataError: there is no such format.
    """
    if name not in _READERS:
        raise DataError(f"unknown format '{name}'; {nearest(name, _READERS)}")
    return _READERS[name]


def uncompressed(file: Path) -> Path:
    """The path of a file without the suffix of a compressed file."""
    return file.with_suffix("") if file.suffix.lower() in COMPRESSED else file


def guess_reader(file: Path) -> Reader:
    """The format whose suffix a file's name has, before the suffix of a compressed file; the longest suffix wins.

    Raises:
        DataError: no format has the file's suffix.
    """
    names = tuple(path.name.lower() for path in (uncompressed(file), file))
    fitting = [
        (len(end), each.name) for each in readers() for end in each.suffixes for name in names if name.endswith(end)
    ]
    if not fitting:
        raise DataError(
            f"cannot recognise the format of {file.name} by its name", hint=f"Give --format {'|'.join(_READERS)}."
        )
    return _READERS[max(fitting)[1]]


register(
    Reader(
        name="atomic",
        suffixes=(".inter",),
        read=f"{_HERE}.atomic:read_atomic",
        options=(*ROLES, "separator", "encoding"),
        item_suffix=".item",
        in_parts=True,
    )
)
register(
    Reader(
        name="sequences",
        suffixes=(".txt",),
        read=f"{_HERE}.lists:read_sequences",
        options=("encoding",),
        timestamps=False,
    )
)
register(
    Reader(
        name="csv",
        suffixes=(".csv", ".tsv"),
        read=f"{_HERE}.csv_files:read_csv",
        options=(*ROLES, "separator", "header", "encoding"),
    )
)
register(
    Reader(
        name="parquet",
        suffixes=(".parquet",),
        read=f"{_HERE}.parquet_files:read_parquet",
        options=ROLES,
        folders=True,
    )
)
register(
    Reader(
        name="json",
        suffixes=(".json", ".jsonl", ".ndjson"),
        read=f"{_HERE}.json_lines:read_json",
        options=(*ROLES, "encoding"),
    )
)
