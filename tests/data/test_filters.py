"""Filters are compared with slow, simple implementations."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from actsr_cli.data.filters import equal_rows, in_interval, k_core, latest, user_order, without_duplicates
from actsr_cli.data.readers.interactions import Interactions

Row = tuple[int, int, float]
rows_strategy = st.lists(st.tuples(st.integers(0, 5), st.integers(0, 6), st.sampled_from([1.0, 2.0, 3.0])), max_size=60)


def interactions(rows: list[Row]) -> Interactions:
    users, items, times = (np.array([row[column] for row in rows]) for column in range(3))
    return Interactions(
        users.astype(np.int64),
        items.astype(np.int64),
        np.array([f"u{index}" for index in range(6)], dtype=object),
        np.array([f"i{index}" for index in range(7)], dtype=object),
        times.astype(np.float64),
        {"rating": times.astype(np.float64)},
    )


def rows_of(raw: Interactions) -> list[Row]:
    assert raw.timestamps is not None
    return list(zip(raw.users.tolist(), raw.items.tolist(), raw.timestamps.tolist(), strict=True))


@given(rows=rows_strategy, user_core=st.integers(0, 4), item_core=st.integers(0, 4))
def test_k_core_is_the_fixed_point_of_dropping(rows: list[Row], user_core: int, item_core: int) -> None:
    expected = rows
    while True:
        users, items = Counter(row[0] for row in expected), Counter(row[1] for row in expected)
        kept = [row for row in expected if users[row[0]] >= user_core and items[row[1]] >= item_core]
        if kept == expected:
            break
        expected = kept
    assert rows_of(k_core(interactions(rows), user_core, item_core)) == expected


@given(rows=rows_strategy)
def test_duplicates(rows: list[Row]) -> None:
    in_time = sorted(range(len(rows)), key=lambda index: rows[index][2])
    first: dict[tuple[int, int], int] = {}
    last: dict[tuple[int, int], int] = {}
    for index in in_time:
        first.setdefault(rows[index][:2], index)
        last[rows[index][:2]] = index
    raw = interactions(rows)
    assert rows_of(without_duplicates(raw, "first")) == [rows[index] for index in sorted(first.values())]
    assert rows_of(without_duplicates(raw, "last")) == [rows[index] for index in sorted(last.values())]


@given(rows=rows_strategy, max_length=st.integers(1, 4))
def test_latest(rows: list[Row], max_length: int) -> None:
    kept = []
    for user in range(6):
        in_time = sorted((i for i in range(len(rows)) if rows[i][0] == user), key=lambda i: rows[i][2])
        kept += in_time[-max_length:]
    assert rows_of(latest(interactions(rows), max_length)) == [rows[index] for index in sorted(kept)]


def test_intervals_are_closed_and_may_be_open_ended() -> None:
    raw = interactions([(0, 0, 1.0), (0, 1, 2.0), (0, 2, 3.0), (0, 3, float("nan"))])
    assert [row[2] for row in rows_of(in_interval(raw, "rating", 2, 3))] == [2.0, 3.0]
    assert [row[2] for row in rows_of(in_interval(raw, "timestamp", None, 2))] == [1.0, 2.0]
    assert [row[2] for row in rows_of(in_interval(raw, "timestamp", 2, None))] == [2.0, 3.0]


def test_equal_times_keep_file_order() -> None:
    assert user_order(interactions([(0, 0, 2.0), (0, 1, 1.0), (0, 2, 2.0), (0, 3, 1.0)])).tolist() == [1, 3, 0, 2]


@given(rows=rows_strategy)
def test_equal_rows_are_those_that_were_there_before(rows: list[Row]) -> None:
    raw = interactions(rows)
    assert equal_rows(raw).tolist() == [row in rows[:place] for place, row in enumerate(rows)]
    assert not equal_rows(replace(raw, timestamps=None)).any()
