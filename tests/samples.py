"""Small data sets that several tests build upon."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from actsr_cli.data.sequences import SequenceData


def sequence_data(
    users: Sequence[Sequence[int]], *, n_items: int | None = None, timestamps: bool = False
) -> SequenceData:
    """Prepared data in memory: one list of item ids per user, times with gaps of all sizes and some ties."""
    items = np.array([item for user in users for item in user], dtype=np.int32)
    catalogue = n_items or int(items.max(initial=0))
    return SequenceData(
        name="sample",
        fingerprint="0" * 16,
        items=items,
        offsets=np.concatenate([[0], np.cumsum([len(user) for user in users])]).astype(np.int64),
        timestamps=1e9 + np.cumsum(np.arange(len(items)) ** 2 % 7, dtype=np.float64) if timestamps else None,
        user_names=tuple(f"u{index}" for index in range(len(users))),
        item_names=("", *(f"i{item}" for item in range(1, catalogue + 1))),
    )
