"""Reads sequences from text: one user per line, `user item item …`, items in time order."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from actsr_cli.data.readers.columns import Columns
from actsr_cli.data.readers.delimited import check_not_json
from actsr_cli.data.readers.interactions import BadLines, Interactions
from actsr_cli.data.readers.text import read_lines
from actsr_cli.errors import DataError


def read_sequences(path: Path, columns: Columns, wanted: Collection[str], bad_lines: BadLines) -> Interactions:
    """Read a file of sequences, which has neither timestamps nor other columns.

    Raises:
        DataError: a filter needs a column, the file holds no interactions, or it is a table with a user in many rows.
    """
    if wanted:
        raise DataError(
            f"{path} has no column '{next(iter(wanted))}' to filter by: sequences hold ids only",
            hint="If a preset asks for this filter, prepare without its filters: --preset none",
        )
    users: list[str] = []
    items: list[str] = []
    lengths: list[int] = []
    seen: set[str] = set()
    shape = _Shape(path)
    for number, line in enumerate(read_lines(path, columns.encoding), start=1):
        words = [word for word in line.replace("\t", " ").split(" ") if word]  # other white space may be part of an id
        if not words:
            continue
        shape.add(line, words, again=words[0] in seen)
        if len(words) == 1:
            bad_lines.report(number, f"user '{words[0]}' has no items")
        elif words[0] in seen:
            bad_lines.report(number, f"user '{words[0]}' already has a line")
        else:
            seen.add(words[0])
            users.append(words[0])
            items += words[1:]
            lengths.append(len(words) - 1)
    shape.check()
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


@dataclass
class _Shape:
    """Tells a table from sequences: in a table, users come again, and rows have the same number of words.

    Attributes:
        path: the file.
        lines: number of lines so far that are not empty.
        repeats: number of lines so far whose user has a line above.
        width: number of words of all lines so far; 0 if they differ.
    """

    path: Path
    lines: int = 0
    repeats: int = 0
    width: int = 0

    def add(self, line: str, words: list[str], *, again: bool) -> None:
        """Look at a line.

        Raises:
            DataError: the file is a table.
        """
        if self.lines == 0:
            check_not_json(line, self.path)
            self.width = len(words)
        self.lines += 1
        self.repeats += again
        if self.width != len(words):
            self.width = 0
        if self.width == 1 and (separator := next((each for each in ("::", ",", ";", "|") if each in line), None)):
            raise DataError(
                f"{self.path} is no file of sequences: its first line is {line.strip()!r}",
                hint=f"A table with '{separator}' between its fields: --format csv --separator '{separator}'",
            )
        if again and self.width > 1:
            self._raise()

    def check(self) -> None:
        """Raise DataError if most users have several lines."""
        if 2 * self.repeats > self.lines:
            self._raise()

    def _raise(self) -> None:
        options = "--format csv --separator whitespace --no-header"
        options += " --timestamp-column none" if self.width == 2 else " --user-column 1 --item-column 2 and so on"
        rows = "'user item'" if self.width == 2 else "a table" if not self.width else f"{self.width} fields"
        raise DataError(
            f"{self.path} has several lines of a user: it is no file of sequences, but has an interaction per line "
            f"({rows})",
            hint=f"Read it with {options}.\nIf its first line names the columns, leave --no-header out.",
        )
