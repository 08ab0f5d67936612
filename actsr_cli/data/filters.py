"""Filters of raw interactions. Each returns a subset of the rows in the same order."""

from __future__ import annotations

from typing import Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from actsr_cli.config.data import Bound
from actsr_cli.data.intervals import numeric_bounds
from actsr_cli.data.readers.interactions import Interactions


def in_interval(raw: Interactions, column: str, low: Bound | None, high: Bound | None) -> Interactions:
    """Rows whose `column` lies in the closed interval [low, high], see `numeric_bounds`. Missing values are dropped.

    Raises:
        DataError: there is no such column, or a bound does not fit it.
    """
    values = raw.column(column)
    keep = ~np.isnan(values)
    low, high = numeric_bounds(column, low, high, raw.way_of(column), values[keep].min(initial=np.inf))
    if low is not None:
        keep &= values >= low
    if high is not None:
        keep &= values <= high
    return raw.select(keep)


def without_duplicates(raw: Interactions, keep: Literal["first", "last"]) -> Interactions:
    """Keep only the first or last interaction in time of each user with each item (ties by file order)."""
    order = time_order(raw)
    pairs = raw.users[order] * np.int64(len(raw.item_names)) + raw.items[order]
    if keep == "last":
        pairs, order = pairs[::-1], order[::-1]
    _, firsts = np.unique(pairs, return_index=True)
    return raw.select(np.sort(order[firsts]))


def equal_rows(raw: Interactions) -> NDArray[np.bool_]:
    """(rows,) whether a row is equal to an earlier one in user, item and time; none is if there are no times."""
    if raw.timestamps is None:
        return np.zeros(len(raw), dtype=np.bool_)
    rows = pd.DataFrame({"user": raw.users, "item": raw.items, "time": raw.timestamps}, copy=False)
    return np.asarray(rows.duplicated())


def k_core(raw: Interactions, user_core: int, item_core: int) -> Interactions:
    """Drop users and items with fewer interactions than their core, repeated until all have enough."""
    users, items = raw.users, raw.items
    rows = np.arange(len(raw))
    while True:
        enough = np.bincount(users[rows], minlength=len(raw.user_names))[users[rows]] >= user_core
        enough &= np.bincount(items[rows], minlength=len(raw.item_names))[items[rows]] >= item_core
        if enough.all():
            return raw.select(rows)
        rows = rows[enough]


def latest(raw: Interactions, max_length: int) -> Interactions:
    """Each user's latest `max_length` interactions."""
    order = time_order(raw)
    by_user = order[np.argsort(raw.users[order], kind="stable")]
    counts = np.bincount(raw.users, minlength=len(raw.user_names))
    ends = np.cumsum(counts)[raw.users[by_user]]
    from_end = ends - np.arange(len(raw))  # 1 for a user's latest
    return raw.select(np.sort(by_user[from_end <= max_length]))


def time_order(raw: Interactions) -> NDArray[np.int64]:
    """Row indices in order of time; equal times, and inputs without times, keep the order of the file.

    If the data are split into files, rows are ordered by part first, then by time.
    """
    order = np.arange(len(raw)) if raw.timestamps is None else np.argsort(raw.timestamps, kind="stable")
    return order if raw.parts is None else order[np.argsort(raw.parts[order], kind="stable")]
