"""Sorts, counts and looks up many rows. Codes stay 32 bits wide, and helper arrays are a block long at most."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

Codes = NDArray[np.signedinteger[Any]]
"""Indices in a list of names."""
_BLOCK = 1 << 18
"""Number of rows that are worked on at once; they stay in the cache of a core."""
_COUNTED = 1 << 22
"""Number of rows that are counted at once; each time takes as long as the list of counts."""

_THREADS = 2

T = TypeVar("T", bound=np.generic)


def blocks(n_rows: int, size: int = _BLOCK) -> Iterator[slice]:
    """Consecutive rows, a block at a time."""
    for start in range(0, n_rows, size):
        yield slice(start, min(start + size, n_rows))


def gather(values: NDArray[T], rows: NDArray[Any]) -> NDArray[T]:
    """The same as `values[rows]` for indices of any width."""
    found = np.empty(len(rows), dtype=values.dtype)
    for block in blocks(len(rows)):
        found[block] = values[rows[block]]
    return found


def counts_of(codes: Codes, n_codes: int) -> NDArray[np.int64]:
    """(n_codes,) how often each code is there."""
    counts = np.zeros(n_codes, dtype=np.int64)
    for block in blocks(len(codes), _COUNTED):
        found = np.bincount(codes[block])
        counts[: len(found)] += found
    return counts


def first_rows(codes: Codes, n_codes: int) -> NDArray[np.int64]:
    """(n_codes,) the first row of each code; the number of rows for a code that is not there."""
    first = np.full(n_codes, len(codes), dtype=np.int64)
    for block in reversed(list(blocks(len(codes)))):
        backwards = codes[block][::-1]  # of equal indices the last stays: the first row
        first[backwards] = np.arange(block.stop - 1, block.start - 1, -1)
    return first


def grouped(codes: Codes, n_codes: int) -> Codes:
    """Row indices in order of codes, equal codes in order of rows: a stable counting sort."""
    n_rows = len(codes)
    wide = np.int32 if n_rows < np.iinfo(np.int32).max else np.int64
    ones = np.ones(n_rows, dtype=np.bool_)
    ends: Any = np.arange(n_rows + 1, dtype=wide)
    columns: Any = codes.astype(wide, copy=False)
    order: Codes = sparse.csr_array((ones, columns, ends), shape=(n_rows, n_codes)).tocsc().indices
    return order


def blocks_of_users(counts: NDArray[np.int64]) -> Iterator[tuple[slice, slice]]:
    """Consecutive users, and the slice of their rows in the order of users, about a block at a time.

    Args:
        counts: (users,) number of rows of each user.
    """
    ends = np.cumsum(counts)
    user = row = 0
    while user < len(counts):
        following = max(user + 1, int(np.searchsorted(ends, row + _BLOCK, side="right")))
        yield slice(user, following), slice(row, int(ends[following - 1]))
        user, row = following, int(ends[following - 1])


def chronological(
    users: Codes, n_users: int, timestamps: NDArray[np.float64] | None, parts: NDArray[np.uint8] | None = None
) -> Codes:
    """Row indices in order of user, then of part, then of time; other rows keep their order."""
    order = grouped(users, n_users)
    keys = [values for values in (timestamps, parts) if values is not None]
    if not keys:
        return order
    counts = counts_of(users, n_users)

    def sort(some: slice, block: slice) -> None:
        rows, n_some = order[block], some.stop - some.start
        of_user = np.repeat(np.arange(n_some, dtype=np.min_scalar_type(n_some)), counts[some])  # 16 bits sort fast
        order[block] = rows[np.lexsort([*(values[rows] for values in keys), of_user])]

    with ThreadPoolExecutor(_THREADS) as pool:
        for each in [pool.submit(sort, *of_users) for of_users in blocks_of_users(counts)]:
            each.result()
    return order
