"""The data that trainings are measured on: Amazon Beauty where it is, or data of its shape."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np

from actsr_cli.data.sequences import SequenceData


def beauty() -> SequenceData:
    """Amazon Beauty, 5-core, from ACTSR_REAL_DATA; without it, generated data with as many users, items and rows."""
    folder = os.environ.get("ACTSR_REAL_DATA")
    if folder is None:
        return generated(users=22_363, items=12_101, mean_length=8.88)
    lines = (Path(folder) / "Beauty.txt").read_text(encoding="utf-8").splitlines()
    return _sequences("Beauty", [np.array(line.split()[1:], dtype=np.int64) for line in lines])


def generated(users: int, items: int, mean_length: float, seed: int = 0) -> SequenceData:
    """At least five interactions of each user, few with many, with items as unevenly popular as items are."""
    random = np.random.default_rng(seed)
    lengths = 5 + random.geometric(1 / (mean_length - 4), users) - 1
    popularity = 1 / np.arange(1, items + 1) ** 0.8
    drawn = random.choice(items, lengths.sum(), p=popularity / popularity.sum()) + 1
    drawn[:items] = np.arange(1, items + 1) if len(drawn) >= items else drawn[:items]
    return _sequences("generated", np.split(drawn, np.cumsum(lengths)[:-1]))


def _sequences(name: str, users: list[np.ndarray]) -> SequenceData:
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
