"""Sorting and counting in blocks, and whole preparations, are compared with slow, simple implementations."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Literal

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from actsr_cli.config import DataConfig
from actsr_cli.data import orders
from actsr_cli.data.assemble import assemble
from actsr_cli.data.orders import chronological, counts_of, first_rows, gather, grouped
from actsr_cli.data.readers import clean
from actsr_cli.data.sources import Source

Row = tuple[str, str, int]
CODES = st.lists(st.integers(0, 5), max_size=30)


@pytest.fixture(autouse=True)
def _small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(orders, "_BLOCK", 4)
    monkeypatch.setattr(orders, "_COUNTED", 3)
    monkeypatch.setattr(clean, "_ROWS", 5)


@given(codes=CODES)
@pytest.mark.parametrize("kind", [np.int32, np.int64])
def test_codes_are_counted_and_grouped(kind: type[np.signedinteger], codes: list[int]) -> None:
    array = np.array(codes, dtype=kind)
    places = {code: [row for row, other in enumerate(codes) if other == code] for code in range(7)}
    assert counts_of(array, 7).tolist() == [len(places[code]) for code in range(7)]
    assert first_rows(array, 7).tolist() == [min(places[code], default=len(codes)) for code in range(7)]
    assert grouped(array, 7).tolist() == [row for code in range(7) for row in places[code]]
    assert gather(np.arange(7) * 10, array).tolist() == [code * 10 for code in codes]


@given(rows=st.lists(st.tuples(st.integers(0, 3), st.sampled_from([2.5, -0.0, 0.0, 7.0]), st.integers(0, 2))))
def test_rows_are_in_order_of_user_part_and_time(rows: list[tuple[int, float, int]]) -> None:
    users = np.array([user for user, _, _ in rows], dtype=np.int32)
    times = np.array([time for _, time, _ in rows], dtype=np.float64)
    parts = np.array([part for _, _, part in rows], dtype=np.uint8)
    in_file = range(len(rows))
    assert chronological(users, 4, None).tolist() == sorted(in_file, key=lambda row: rows[row][0])
    assert chronological(users, 4, times).tolist() == sorted(in_file, key=lambda row: rows[row][:2])
    by_part = sorted(in_file, key=lambda row: (rows[row][0], rows[row][2], rows[row][1]))
    assert chronological(users, 4, times, parts).tolist() == by_part


def test_a_preparation_by_hand(tmp_path: Path) -> None:
    rows = [("v", "x", 9), ("u", "y", 5), ("w", "z", 1), ("v", "y", 2), ("u", "x", 5), ("v", "x", 9), ("u", "y", 5)]
    data, report = assemble(source(tmp_path, rows), DataConfig(user_core=2), "0" * 16, "error", lambda _: None)
    assert (data.user_names, data.item_names) == (("v", "u"), ("", "x", "y"))  # w has too few, and z only w
    assert data.offsets.tolist() == [0, 3, 6]
    assert data.items.tolist() == [2, 1, 1, 2, 1, 2]  # equal times stay in the order of the file
    assert data.timestamps is not None
    assert data.timestamps.tolist() == [2, 9, 9, 5, 5, 5]
    assert data.items.dtype == np.int32
    assert data.offsets.dtype == np.int64
    assert [(step.users, step.items, step.interactions) for step in report.steps] == [(3, 3, 7), (2, 2, 6)]
    assert report.equal_rows == 2
    assert report.period == ("1970-01-01T00:00:01", "1970-01-01T00:00:09")


@settings(max_examples=60)
@given(
    rows=st.lists(
        st.tuples(st.sampled_from("abcd"), st.sampled_from(["1", "2", "x", "02", "5"]), st.integers(1, 4)), min_size=1
    ),
    duplicates=st.sampled_from(["keep", "first", "last", "equal"]),
    cores=st.tuples(st.integers(0, 3), st.integers(0, 3)),
    longest=st.sampled_from([None, 3]),
)
def test_a_preparation_is_that_of_plain_python(
    rows: list[Row],
    duplicates: Literal["keep", "first", "last", "equal"],
    cores: tuple[int, int],
    longest: int | None,
) -> None:
    expected = prepared(rows, duplicates, cores, longest)
    settings = DataConfig(duplicates=duplicates, user_core=cores[0], item_core=cores[1], max_length=longest)
    with TemporaryDirectory() as folder:
        where = source(Path(folder), rows)
        if not expected:
            with pytest.raises(Exception, match="nothing is left"):
                assemble(where, settings, "0" * 16, "error", lambda _: None)
            return
        data, report = assemble(where, settings, "0" * 16, "error", lambda _: None)
    assert data.user_names == tuple(dict.fromkeys(user for user, _, _ in expected))
    assert data.item_names == ("", *dict.fromkeys(item for _, item, _ in expected))
    assert report.equal_rows == (len(rows) - len(set(rows)) if duplicates == "keep" else 0)
    for user, name in enumerate(data.user_names):
        of_user = sorted((row for row in expected if row[0] == name), key=lambda row: row[2])
        its = slice(data.offsets[user], data.offsets[user + 1])
        assert [data.item_names[item] for item in data.items[its]] == [item for _, item, _ in of_user]
        assert data.timestamps is not None
        assert data.timestamps[its].tolist() == [time for _, _, time in of_user]


def source(folder: Path, rows: Sequence[Row]) -> Source:
    path = folder / "f.csv"
    path.write_text("user,item,time\n" + "".join(f"{user},{item},{time}\n" for user, item, time in rows))
    return Source(name="f", folder=folder, file=path, format="csv")


def prepared(rows: list[Row], duplicates: str, cores: tuple[int, int], longest: int | None) -> list[Row]:
    """The rows that are left, in the order of the file."""
    places = list(range(len(rows)))
    in_time = sorted(places, key=lambda place: rows[place][2])
    if duplicates == "equal":
        places = [place for place in places if rows[place] not in rows[:place]]
    elif duplicates != "keep":
        ordered = in_time if duplicates == "last" else in_time[::-1]
        places = sorted({rows[place][:2]: place for place in ordered}.values())  # the last one counts
    while True:
        users, items = (Counter(rows[place][column] for place in places) for column in (0, 1))
        left = [place for place in places if users[rows[place][0]] >= cores[0] and items[rows[place][1]] >= cores[1]]
        if left == places:
            break
        places = left
    if longest is not None:
        by_user = {
            rows[place][0]: [other for other in in_time if other in places and rows[other][0] == rows[place][0]]
            for place in places
        }
        places = sorted(place for of_user in by_user.values() for place in of_user[-longest:])
    return [rows[place] for place in places]
