"""Histories of users, and the item that follows each."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Self

import numpy as np
from numpy.typing import NDArray

Items = NDArray[np.int32] | NDArray[np.int64]


@dataclass(frozen=True)
class Histories:
    """Histories as ranges of a flat array of items, one per row. A user may have several rows.

    Attributes:
        items: (interactions,) item ids, from 1.
        starts: (rows,) int64, where each history begins in `items`.
        ends: (rows,) int64, the index after its last item.
        users: (rows,) int64 user ids of the data set; -1 is an unknown user.
        targets: (rows,) int64, the next item; 0 if unknown.
        timestamps: (interactions,) float64 seconds, or None.
    """

    items: Items
    starts: NDArray[np.int64]
    ends: NDArray[np.int64]
    users: NDArray[np.int64]
    targets: NDArray[np.int64]
    timestamps: NDArray[np.float64] | None = None

    @classmethod
    def of(
        cls,
        histories: Sequence[NDArray[np.int64]],
        targets: Sequence[int] | None = None,
        users: Sequence[int] | None = None,
        timestamps: Sequence[NDArray[np.float64]] | None = None,
    ) -> Self:
        """Histories from one list of items each.

        Args:
            histories: item ids of each, in time order.
            targets: the next item of each; None if unknown.
            users: the user of each; None for unknown users.
            timestamps: seconds of each item of each, or None.
        """
        ends = np.cumsum([len(history) for history in histories], dtype=np.int64)
        n_rows = len(histories)
        return cls(
            items=np.concatenate(histories).astype(np.int64) if n_rows else np.zeros(0, dtype=np.int64),
            starts=np.concatenate([np.zeros(min(1, n_rows), dtype=np.int64), ends[:-1]]),
            ends=ends,
            users=np.full(n_rows, -1, dtype=np.int64) if users is None else np.array(users, dtype=np.int64),
            targets=np.zeros(n_rows, dtype=np.int64) if targets is None else np.array(targets, dtype=np.int64),
            timestamps=None if timestamps is None or not n_rows else np.concatenate(timestamps),
        )

    def __len__(self) -> int:
        return len(self.starts)

    @property
    def lengths(self) -> NDArray[np.int64]:
        """(rows,) items of each history."""
        return self.ends - self.starts

    def take(self, rows: NDArray[np.int64]) -> Self:
        """The selected rows, in the given order."""
        return replace(
            self, starts=self.starts[rows], ends=self.ends[rows], users=self.users[rows], targets=self.targets[rows]
        )

    def padded(self, rows: NDArray[np.int64]) -> NDArray[np.int64]:
        """(rows, longest) the whole histories of some rows, padded with 0."""
        lengths = self.lengths[rows]
        columns = np.arange(lengths.max(initial=0))
        places = np.minimum(self.starts[rows][:, None] + columns, len(self.items) - 1)
        return np.where(columns < lengths[:, None], self.items[places], 0).astype(np.int64)
