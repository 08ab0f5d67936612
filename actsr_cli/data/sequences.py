"""Prepared data: every user's items in time order, as flat arrays that can be mapped from disk."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import numpy as np
from numpy.typing import NDArray

Split = Literal["valid", "test"]
_HELD_OUT = {"valid": 2, "test": 1}
MIN_SPLIT_LENGTH = 3
"""Shorter users have nothing left to train on once two items are held out; they only train."""


@dataclass(frozen=True)
class SequenceData:
    """Interactions of a data set, grouped by user and ordered by time (ties in file order).

    Attributes:
        name: the data set's name.
        fingerprint: hexadecimal digest of the input and the settings behind these arrays.
        items: (interactions,) int32 item ids from 1 to `n_items`; users one after another.
        offsets: (users + 1,) int64; user u owns items[offsets[u]:offsets[u + 1]].
        timestamps: (interactions,) float64 seconds, or None where the input has none.
        user_names: the raw id of each user.
        item_names: the raw id of each item; index 0 is padding and the empty string.
        titles: a title for each item id (empty where unknown), or None without an item file.
        categories: the categories of each item id (none where unknown), or None without an item file that has them.
        parts: (interactions,) uint8, 0 for training, 1 for validation, 2 for test, of data that came split in files;
            each user's items stand in the order of the parts. None of all other data.
    """

    name: str
    fingerprint: str
    items: NDArray[np.int32]
    offsets: NDArray[np.int64]
    timestamps: NDArray[np.float64] | None
    user_names: tuple[str, ...]
    item_names: tuple[str, ...]
    titles: tuple[str, ...] | None = None
    categories: tuple[tuple[str, ...], ...] | None = None
    parts: NDArray[np.uint8] | None = None

    @property
    def n_users(self) -> int:
        return len(self.offsets) - 1

    @property
    def n_items(self) -> int:
        """Items of the catalogue, padding not counted."""
        return len(self.item_names) - 1

    @property
    def n_interactions(self) -> int:
        return len(self.items)

    def display_name(self, item: int) -> str:
        """The title of an item, or its raw id where it has none."""
        title = "" if self.titles is None else self.titles[item]
        return title or self.item_names[item]

    @cached_property
    def lengths(self) -> NDArray[np.int64]:
        """(users,) interactions of each user."""
        return np.diff(self.offsets)

    def held_out(self, split: Split) -> HeldOut:
        """The users of `split` with the item to predict: the last one (test) or the one before it (valid)."""
        users = np.flatnonzero(self.lengths >= MIN_SPLIT_LENGTH)
        ends = self.offsets[users + 1] - _HELD_OUT[split]
        return HeldOut(users=users, starts=self.offsets[users], ends=ends, targets=self.items[ends].astype(np.int64))

    def training_spans(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """(users,) start and end in `items` of what each user may be trained on."""
        held = np.where(self.lengths >= MIN_SPLIT_LENGTH, _HELD_OUT["valid"], 0)
        return self.offsets[:-1], self.offsets[1:] - held

    def training_part(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """What may be trained on, held-out items left out: items and offsets in the form of these attributes."""
        starts, ends = self.training_spans()
        offsets = np.concatenate([[0], np.cumsum(ends - starts)])
        place = np.arange(offsets[-1]) + np.repeat(starts - offsets[:-1], ends - starts)
        return self.items[place].astype(np.int64), offsets


@dataclass(frozen=True)
class HeldOut:
    """Users of a split: the history of users[i] is items[starts[i]:ends[i]] and its next item is targets[i]."""

    users: NDArray[np.int64]
    starts: NDArray[np.int64]
    ends: NDArray[np.int64]
    targets: NDArray[np.int64]
