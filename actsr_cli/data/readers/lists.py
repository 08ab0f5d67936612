"""Reads sequences from text: one user per line, `user item item …`, items in time order."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

import numpy as np
import pandas as pd

from actsr_cli.data.readers.columns import Columns
from actsr_cli.data.readers.interactions import BadLines, Interactions
from actsr_cli.data.readers.text import read_lines
from actsr_cli.errors import DataError


def read_sequences(path: Path, _: Columns, wanted: Collection[str], bad_lines: BadLines) -> Interactions:
    """Read a file of sequences, which has neither timestamps nor other columns.

    Raises:
        DataError: a filter needs a column, or the file holds no interactions.
    """
    if wanted:
        raise DataError(f"{path} has no column '{next(iter(wanted))}' to filter by: sequences hold ids only")
    users: list[str] = []
    items: list[str] = []
    lengths: list[int] = []
    seen: set[str] = set()
    for number, line in enumerate(read_lines(path), start=1):
        words = [word for word in line.replace("\t", " ").split(" ") if word]  # other white space may be part of an id
        if not words:
            continue
        if len(words) == 1:
            bad_lines.report(number, f"user '{words[0]}' has no items")
        elif words[0] in seen:
            bad_lines.report(number, f"user '{words[0]}' already has a line")
        else:
            seen.add(words[0])
            users.append(words[0])
            items += words[1:]
            lengths.append(len(words) - 1)
    if not items:
        raise DataError(f"{path} holds no interactions")
    codes, names = pd.factorize(np.array(items, dtype=object))
    return Interactions(
        users=np.repeat(np.arange(len(users)), lengths),
        items=codes.astype(np.int64),
        user_names=np.array(users, dtype=object),
        item_names=names,
        timestamps=None,
        numbers={},
    )
