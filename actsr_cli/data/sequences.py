"""Prepared data: each user's items in time order, in flat arrays that can be memory-mapped."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import Self

import numpy as np
from numpy.typing import NDArray

from actsr_cli.config import LastSplit, SplitConfig
from actsr_cli.data.histories import Histories
from actsr_cli.data.splits import Bounds, SplitName, Targets, bounds_of, check_split, targets_of

_LAST = LastSplit()


@dataclass(frozen=True)
class SequenceData:
    """Interactions of a data set, grouped by user and ordered by time (ties in file order).

    Attributes:
        name: the data set's name.
        fingerprint: hexadecimal digest of the input and settings of these arrays.
        items: (interactions,) int32 item ids from 1 to `n_items`; users one after another.
        offsets: (users + 1,) int64; user u has items[offsets[u]:offsets[u + 1]].
        timestamps: (interactions,) float64 seconds, or None if the input has none.
        user_names: the raw id of each user.
        item_names: the raw id of each item; index 0 is padding and has the empty string.
        titles: the title of each item id (empty if unknown), or None without an item file.
        categories: the categories of each item id (empty if unknown), or None without an item file that has them.
        parts: (interactions,) uint8, 0 for training, 1 for validation, 2 for test, if the data are split into files;
            each user's items are then in the order of the parts. None for other data.
        split: which items are for training and which are held out.
        times: how the times were written in the input, see `readers.times`; empty without times.
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
    split: SplitConfig = _LAST
    times: str = ""

    @property
    def n_users(self) -> int:
        return len(self.offsets) - 1

    @property
    def n_items(self) -> int:
        """Number of items in the catalogue, without padding."""
        return len(self.item_names) - 1

    @property
    def n_interactions(self) -> int:
        return len(self.items)

    def display_name(self, item: int) -> str:
        """The title of an item, or its raw id if it has no title."""
        title = "" if self.titles is None else self.titles[item]
        return title or self.item_names[item]

    @cached_property
    def lengths(self) -> NDArray[np.int64]:
        """(users,) number of interactions of each user."""
        return np.diff(self.offsets)

    def split_by(self, split: SplitConfig) -> Self:
        """The same data with another split.

        Raises:
            DataError: the data cannot be split this way.
        """
        check_split(split, self.name, self.timestamps, self.parts)
        data = replace(self, split=split)
        _ = data.bounds  # raises now if the two points of a split by time are invalid
        return data

    @cached_property
    def bounds(self) -> Bounds:
        """Where each user's validation and test parts begin."""
        return bounds_of(self.split, self.offsets, self.timestamps, self.parts, self.times)

    def targets(self, name: SplitName) -> Targets:
        """The targets of a split."""
        return targets_of(self.split, self.bounds, self.offsets, name)

    def held_out(self, name: SplitName) -> Histories:
        """The targets of a split, each with its user's whole history up to it."""
        found = self.targets(name)
        return Histories(
            items=self.items,
            starts=self.offsets[found.users],
            ends=found.places,
            users=found.users,
            targets=self.items[found.places].astype(np.int64),
            timestamps=self.timestamps,
        )

    def training_spans(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """(users,) start and end of each user's training part in `items`."""
        return self.offsets[:-1], self.bounds.valid

    @cached_property
    def item_counts(self) -> NDArray[np.int64]:
        """(n_items + 1,) number of training interactions of each item."""
        items, _ = self.training_part()
        return np.bincount(items, minlength=self.n_items + 1)

    @cached_property
    def target_counts(self) -> NDArray[np.int64]:
        """(n_items + 1,) how often each item follows others in training: all of a user's items but the first."""
        items, offsets = self.training_part()
        first = items[offsets[:-1][np.diff(offsets) > 0]]
        return self.item_counts - np.bincount(first, minlength=self.n_items + 1)

    def training_part(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Items and offsets of the training part, without held-out items, in the form of these attributes."""
        starts, ends = self.training_spans()
        offsets = np.concatenate([[0], np.cumsum(ends - starts)])
        place = np.arange(offsets[-1]) + np.repeat(starts - offsets[:-1], ends - starts)
        return self.items[place].astype(np.int64), offsets
