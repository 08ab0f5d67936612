"""Folders of files that hold one table in parts, as Spark, pandas and Dask write Parquet."""

from __future__ import annotations

import os
import re
from pathlib import Path
from urllib.parse import unquote

from actsr_cli.errors import DataError

_IGNORED = ("_", ".")
"""First characters of names that hold no rows: _SUCCESS, _metadata, .part-0.crc."""
_MISSING = "__HIVE_DEFAULT_PARTITION__"


def part_files(path: Path, suffix: str = ".parquet") -> list[Path]:
    """The files that hold the rows: `path` itself, or the parts in the folder `path` in the order of their names.

    Numbers in names count as numbers: part.2 comes before part.10.

    Raises:
        DataError: the folder holds no parts, or anything else.
    """
    if not path.is_dir():
        return [path]
    parts: list[Path] = []
    for folder, folders, names in os.walk(path):
        folders[:] = sorted(name for name in folders if not name.startswith(_IGNORED))
        if odd := next((name for name in folders if "=" not in name[1:]), None):
            raise DataError(
                f"{path} holds the folder '{(Path(folder) / odd).relative_to(path)}', which is no part of a table",
                hint="The folders inside are called COLUMN=VALUE. Give one table.",
            )
        parts += [Path(folder) / name for name in names if not name.startswith(_IGNORED)]
    if other := min((part for part in parts if part.suffix != suffix), default=None):
        raise DataError(
            f"{path} holds {other.relative_to(path)}, which is no {suffix} file",
            hint=f"A folder is read if all files in it are {suffix} files of one table.",
        )
    if not parts:
        raise DataError(f"the folder {path} holds no {suffix} files")
    return sorted(parts, key=lambda part: _natural(part.relative_to(path)))


def partition_values(folder: Path, part: Path) -> dict[str, str | None]:
    """The columns that the folders above a part give to all its rows: `date=2014-01-01/part-0.parquet`.

    Raises:
        DataError: two of these folders name the same column.
    """
    if part == folder:
        return {}
    values: dict[str, str | None] = {}
    for name in part.relative_to(folder).parts[:-1]:
        column, _, value = (unquote(text) for text in name.partition("="))
        if column in values:
            raise DataError(f"{part} lies in two folders of the column '{column}'")
        values[column] = None if value == _MISSING else value
    return values


def _natural(path: Path) -> list[tuple[list[str | int], str]]:
    """A key by which numbers in names are ordered as numbers."""
    return [
        ([int(word) if word.isdecimal() else word for word in re.split(r"([0-9]+)", name)], name) for name in path.parts
    ]
