"""Filters of raw interactions. Each returns a subset of the rows in the same order."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from actsr_cli.config.data import Bound
from actsr_cli.data.intervals import numeric_bounds
from actsr_cli.data.orders import Codes, blocks, blocks_of_users, chronological, counts_of
from actsr_cli.data.readers.interactions import Interactions


def in_interval(raw: Interactions, column: str, low: Bound | None, high: Bound | None) -> Interactions:
    """Rows whose `column` lies in the closed interval [low, high], see `numeric_bounds`. Missing values are dropped.

    Raises:
        DataError: there is no such column, or a bound does not fit it.
    """
    values = raw.column(column)
    keep = ~np.isnan(values)
    smallest = values.min(where=keep, initial=np.inf)
    low, high = numeric_bounds(column, low, high, raw.way_of(column), smallest)
    if low is not None:
        keep &= values >= low
    if high is not None:
        keep &= values <= high
    return raw.select(keep)


def without_duplicates(raw: Interactions, keep: Literal["first", "last"]) -> Interactions:
    """Keep only the first or last interaction in time of each user with each item (ties by file order)."""
    kept = np.zeros(len(raw), dtype=np.bool_)
    for rows, of_user in _by_users(raw, user_order(raw)):
        pairs = pd.DataFrame({"user": of_user, "item": raw.items[rows]}, copy=False)
        kept[rows[~np.asarray(pairs.duplicated(keep=keep))]] = True
    return raw.select(kept)


def equal_rows(raw: Interactions) -> NDArray[np.bool_]:
    """(rows,) whether a row is equal to an earlier one in user, item and time; none is if there are no times."""
    equal = np.zeros(len(raw), dtype=np.bool_)
    if raw.timestamps is None:
        return equal
    parted = raw.parts is not None  # then equal times of a user may be in several parts
    order = chronological(raw.users, len(raw.user_names), raw.timestamps) if parted else user_order(raw)
    for rows, of_user in _by_users(raw, order):
        times = raw.timestamps[rows]
        alike = np.zeros(len(rows) + 1, dtype=np.bool_)  # a row in user and time to the one before
        alike[1:-1] = (times[1:] == times[:-1]) & (of_user[1:] == of_user[:-1])
        moment = np.cumsum(~alike[:-1])
        unsure = alike[:-1] | alike[1:]
        pairs = pd.DataFrame({"moment": moment[unsure], "item": raw.items[rows[unsure]]}, copy=False)
        equal[rows[unsure][np.asarray(pairs.duplicated())]] = True
    return equal


def k_core(raw: Interactions, user_core: int, item_core: int) -> Interactions:
    """Drop users and items with fewer interactions than their core, repeated until all have enough."""
    of_user = counts_of(raw.users, len(raw.user_names))
    of_item = counts_of(raw.items, len(raw.item_names))
    kept = np.ones(len(raw), dtype=np.bool_)
    drop = np.empty_like(kept)
    while True:
        few_users, few_items = of_user < user_core, of_item < item_core
        for block in blocks(len(raw)):
            drop[block] = kept[block] & (few_users[raw.users[block]] | few_items[raw.items[block]])
        if not drop.any():
            return raw if kept.all() else raw.select(kept)
        kept &= ~drop
        of_user -= counts_of(raw.users[drop], len(of_user))
        of_item -= counts_of(raw.items[drop], len(of_item))


def latest(raw: Interactions, max_length: int) -> Interactions:
    """Each user's latest `max_length` interactions."""
    kept = np.zeros(len(raw), dtype=np.bool_)
    counts = counts_of(raw.users, len(raw.user_names))
    order = user_order(raw)
    for some, block in blocks_of_users(counts):
        ends = np.cumsum(counts[some])
        from_end = np.repeat(ends, counts[some]) - np.arange(block.stop - block.start)  # 1 for a user's latest
        kept[order[block][from_end <= max_length]] = True
    return raw.select(kept)


def user_order(raw: Interactions) -> Codes:
    """Row indices in order of users; each user's in order of time, equal times and inputs without times as in the file.

    If the data are split into files, a user's rows are ordered by part first, then by time.
    """
    if raw.order is not None:
        return raw.order
    return chronological(raw.users, len(raw.user_names), raw.timestamps, raw.parts)


def _by_users(raw: Interactions, order: Codes) -> Iterator[tuple[Codes, NDArray[np.int64]]]:
    """The rows of some users after another in an order of users, with a number for the user of each row."""
    counts = counts_of(raw.users, len(raw.user_names))
    for some, block in blocks_of_users(counts):
        yield order[block], np.repeat(np.arange(some.stop - some.start), counts[some])
