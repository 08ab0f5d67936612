"""Data of the benchmarks: Amazon Beauty if available, else generated data of the same size."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from actsr_cli.data.sequences import SequenceData

USERS, ITEMS = 22_363, 12_101
_MEAN_LENGTH = 8.88
_ITEMS_AT_LEAST = 100


def beauty(users: int | None = None) -> SequenceData:
    """Amazon Beauty, 5-core, from the folder in ACTSR_REAL_DATA; without it, generated data of the same size.

    Args:
        users: generate data with this many users instead.
    """
    folder = _folder(users)
    if folder is None:
        return generated(users or USERS, items_for(users or USERS))
    lines = (Path(folder) / "Beauty.txt").read_text(encoding="utf-8").splitlines()
    return _sequences("Beauty", [np.array(line.split()[1:], dtype=np.int64) for line in lines])


def data_name(users: int | None = None) -> str:
    """The name of the data that `beauty` returns."""
    return "generated" if _folder(users) is None else "Beauty"


def items_for(users: int) -> int:
    """The number of items for this number of users, in the same ratio as Beauty."""
    return max(_ITEMS_AT_LEAST, round(users * ITEMS / USERS))


def generated(users: int, items: int, seed: int = 0) -> SequenceData:
    """Generated data: at least five interactions per user, geometric lengths, and power-law item popularity."""
    random = np.random.default_rng(seed)
    lengths = 5 + random.geometric(1 / (_MEAN_LENGTH - 4), users) - 1
    popularity = 1 / np.arange(1, items + 1) ** 0.8
    drawn = random.choice(items, lengths.sum(), p=popularity / popularity.sum()) + 1
    if len(drawn) >= items:
        drawn[:items] = np.arange(1, items + 1)
    return _sequences("generated", np.split(drawn, np.cumsum(lengths)[:-1]))


def _folder(users: int | None) -> str | None:
    return None if users else os.environ.get("ACTSR_REAL_DATA")


def _sequences(name: str, users: Sequence[NDArray[np.int64]]) -> SequenceData:
    rows = np.concatenate(users)
    return SequenceData(
        name=name,
        fingerprint="0" * 16,
        items=rows.astype(np.int32),
        offsets=np.concatenate([[0], np.cumsum([len(user) for user in users])]).astype(np.int64),
        timestamps=np.arange(len(rows), dtype=np.float64) * 3600,
        user_names=tuple(map(str, range(len(users)))),
        item_names=("", *map(str, range(1, int(rows.max()) + 1))),
    )
