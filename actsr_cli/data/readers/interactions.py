"""The table that every reader returns, and the handling of malformed lines."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from actsr_cli.data.orders import Codes, gather
from actsr_cli.errors import DataError, nearest

OnBadLine = Literal["error", "skip"]
_EXAMPLES = 3


class NotCleanError(Exception):
    """A table does not fit the fast path of `clean`; it is read again with care."""


@dataclass(frozen=True)
class Interactions:
    """Raw interactions in file order.

    Attributes:
        users: (rows,) index of each row's user in `user_names`.
        items: (rows,) index of each row's item in `item_names`.
        user_names: raw ids in order of first appearance.
        item_names: raw ids in order of first appearance.
        timestamps: (rows,) seconds since 1970, or None if the order of rows is the order in time.
        numbers: further numeric columns that filters use, by name.
        way: how the times were written, see `times`; empty without times.
        ways: likewise for each column of `numbers` that holds times.
        columns: names of the columns of users, items and times; empty if the format has no columns.
        parts: (rows,) uint8 index in `registry.PARTS` if the data are split into files, else None.
        from_lists: whether the rows of the file held a list of items each.
        order: (rows,) row indices in order of user, part and time, see `orders.chronological`; None: not sorted yet.
    """

    users: Codes
    items: Codes
    user_names: NDArray[np.object_]
    item_names: NDArray[np.object_]
    timestamps: NDArray[np.float64] | None
    numbers: dict[str, NDArray[np.float64]]
    way: str = ""
    ways: dict[str, str] = field(default_factory=dict)
    columns: tuple[str | None, ...] = ()
    parts: NDArray[np.uint8] | None = None
    from_lists: bool = False
    order: Codes | None = None

    def __len__(self) -> int:
        return len(self.users)

    def select(self, keep: NDArray[np.bool_]) -> Interactions:
        """The rows that are marked; `user_names` and `item_names` stay the same."""
        order = self.order
        if order is not None:
            number: Codes = np.cumsum(keep, dtype=order.dtype)
            number -= 1
            order = gather(number, order[gather(keep, order)])
        return replace(
            self,
            users=self.users[keep],
            items=self.items[keep],
            timestamps=None if self.timestamps is None else self.timestamps[keep],
            numbers={name: values[keep] for name, values in self.numbers.items()},
            parts=None if self.parts is None else self.parts[keep],
            order=order,
        )

    def column(self, name: str) -> NDArray[np.float64]:
        """A numeric column by name; `timestamp` exists if there are times.

        Raises:
            DataError: there is no such column.
        """
        columns = dict(self.numbers)
        if self.timestamps is not None:
            columns.setdefault("timestamp", self.timestamps)
        if name not in columns:
            known = nearest(name, columns) if columns else "the input has no numeric columns"
            raise DataError(f"no numeric column '{name}' to filter by; {known}")
        return columns[name]

    def way_of(self, name: str) -> str:
        """How the times of a column were written, by the name in `column`; empty if it holds no times."""
        return self.ways.get(name, "") if name in self.numbers else self.way


@dataclass
class BadLines:
    """Raises at the first malformed line, or counts malformed lines.

    Attributes:
        path: the file that is read.
        policy: `error` or `skip`.
        count: number of malformed lines so far.
        examples: messages about the first few of them.
    """

    path: Path
    policy: OnBadLine = "error"
    count: int = 0
    examples: list[str] = field(default_factory=list)

    def report(self, line: int, reason: str, unit: str = "line") -> None:
        """Report that line (or row) `line`, counted from 1, is malformed because of `reason`."""
        text = f"{self.path}, {unit} {line}: {reason}"
        if self.policy == "error":
            raise DataError(text, hint="Correct the line, or skip malformed lines: --on-bad-line skip")
        self.count += 1
        if len(self.examples) < _EXAMPLES:
            self.examples.append(text)


def find_column(columns: Sequence[str], wanted: str | None, usual: Sequence[str], role: str, path: Path) -> str | None:
    """The column called `wanted` or, if that is None, the first of the `usual` names that exists.

    Raises:
        DataError: there is no column `wanted`.
    """
    if wanted is not None:
        if wanted not in columns:
            raise DataError(f"{path} has no column '{wanted}' for the {role}; it has: {', '.join(columns)}")
        return wanted
    return next((name for name in usual if name in columns), None)
