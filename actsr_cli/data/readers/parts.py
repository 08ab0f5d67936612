"""Reads the files of a data set: one file, or the three parts of a split."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from actsr_cli.data.orders import Codes, gather
from actsr_cli.data.readers.columns import Columns
from actsr_cli.data.readers.interactions import BadLines, Interactions
from actsr_cli.data.readers.registry import Reader
from actsr_cli.data.readers.times import HINT
from actsr_cli.errors import DataError


def read_interactions(
    reader: Reader, columns: Columns, wanted: Collection[str], bad_lines: Sequence[BadLines]
) -> Interactions:
    """Read one file, or the training, validation and test files of data that are split into files.

    Args:
        reader: the format.
        columns: names of the columns, the same in each file.
        wanted: further numeric columns that filters use.
        bad_lines: one for each file, in the order of `registry.PARTS`; every malformed line is reported to it.

    Returns:
        The interactions of all files, one file after another. With several files, each row has its part.

    Raises:
        DataError: a file cannot be read, lacks a column or holds nothing, the files have different columns or ways to
            write times, or a split has rows that hold lists of items.
    """
    read = reader.load()
    tables = [read(bad.path, columns, wanted, bad) for bad in bad_lines]
    for table, bad in zip(tables, bad_lines, strict=True):
        if table.from_lists and len(tables) > 1:  # each row is a history with its target: it has no part of its own
            raise DataError(
                f"{bad.path.name} is one of three files of a split, and its rows hold lists of items",
                hint=f"Prepare one file alone, with whole sessions, under a name such as {Path(bad.path.stem).stem}"
                f"{bad.path.suffix}; actsr splits it.",
            )
        if table.columns != tables[0].columns:
            raise DataError(
                f"{bad.path.name} has other columns than {bad_lines[0].path.name}: "
                f"{_listed(table)} instead of {_listed(tables[0])}"
            )
        if (table.way, table.ways) != (tables[0].way, tables[0].ways):
            ways = (", ".join([each.way, *each.ways.values()]) for each in (table, tables[0]))
            raise DataError(
                f"{bad.path.name} has times in another way than {bad_lines[0].path.name}: {' instead of '.join(ways)}",
                hint=HINT,
            )
    return tables[0] if len(tables) == 1 else _joined(tables)


def _listed(table: Interactions) -> str:
    return ", ".join(column for column in table.columns if column is not None)


def _joined(tables: Sequence[Interactions]) -> Interactions:
    """Concatenate tables; the part of a row is the index of its table. Ids are in order of first appearance."""
    users, user_names = _numbered_anew([(table.users, table.user_names) for table in tables])
    items, item_names = _numbered_anew([(table.items, table.item_names) for table in tables])
    times = [table.timestamps for table in tables if table.timestamps is not None]
    return replace(
        tables[0],
        users=users,
        items=items,
        user_names=user_names,
        item_names=item_names,
        timestamps=np.concatenate(times) if times else None,
        numbers={name: np.concatenate([table.numbers[name] for table in tables]) for name in tables[0].numbers},
        parts=np.repeat(np.arange(len(tables), dtype=np.uint8), [len(table) for table in tables]),
    )


def _numbered_anew(
    tables: Sequence[tuple[Codes, NDArray[np.object_]]],
) -> tuple[NDArray[np.int32], NDArray[np.object_]]:
    """Convert the codes of several tables with separate names to codes with common names."""
    numbers, names = pd.factorize(np.concatenate([names for _, names in tables]))
    ends = np.cumsum([len(names) for _, names in tables])
    codes = [
        gather(own.astype(np.int32), codes)
        for (codes, _), own in zip(tables, np.split(numbers, ends[:-1]), strict=True)
    ]
    return np.concatenate(codes), names
