"""Splits: computed by hand, and compared with pandas on real data."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Literal

import numpy as np
import pandas as pd
import pytest
from numpy.typing import NDArray
from samples import sequence_data

from actsr_cli.config import DataConfig, FileSplit, LastSplit, NoSplit, SplitConfig, TimeSplit
from actsr_cli.data.prepare import prepare
from actsr_cli.data.readers import Columns
from actsr_cli.data.sequences import SequenceData
from actsr_cli.data.sources import source_from_file
from actsr_cli.data.splits import SplitName, moments
from actsr_cli.errors import DataError
from actsr_cli.evaluation.judging import split_facts

Target = Literal["first", "last", "random", "all"]
USERS = [[1, 2, 3, 4, 5], [1, 2], [3, 1, 2], [6, 7]]
TIMES = [[10, 20, 30, 40, 50], [10, 20], [5, 35, 45], [32, 48]]


def timed() -> SequenceData:
    times = np.array([time for user in TIMES for time in user], dtype=np.float64)
    return replace(sequence_data(USERS, n_items=8), timestamps=times)


def rows(data: SequenceData, split: SplitName) -> list[tuple[int, list[int], int]]:
    """User, history and target of each row."""
    held_out = data.held_out(split)
    return [
        (int(user), data.items[start:end].tolist(), int(target))
        for user, start, end, target in zip(
            held_out.users, held_out.starts, held_out.ends, held_out.targets, strict=True
        )
    ]


def training(data: SequenceData) -> list[list[int]]:
    return [data.items[start:end].tolist() for start, end in zip(*data.training_spans(), strict=True)]


def test_leave_one_out() -> None:
    data = sequence_data(USERS)
    assert training(data) == [[1, 2, 3], [1, 2], [3], [6, 7]]
    assert rows(data, "valid") == [(0, [1, 2, 3], 4), (2, [3], 1)]
    assert rows(data, "test") == [(0, [1, 2, 3, 4], 5), (2, [3, 1], 2)]
    assert data.item_counts.tolist() == [0, 2, 2, 2, 0, 0, 1, 1]
    assert data.target_counts.tolist() == [0, 0, 2, 1, 0, 0, 0, 1]


@pytest.mark.parametrize(
    ("target", "valid", "test"),
    [
        ("all", [(0, [1, 2], 3), (2, [3], 1)], [(0, [1, 2, 3], 4), (0, [1, 2, 3, 4], 5), (2, [3, 1], 2), (3, [6], 7)]),
        ("first", [(0, [1, 2], 3), (2, [3], 1)], [(0, [1, 2, 3], 4), (2, [3, 1], 2), (3, [6], 7)]),
        ("last", [(0, [1, 2], 3), (2, [3], 1)], [(0, [1, 2, 3, 4], 5), (2, [3, 1], 2), (3, [6], 7)]),
    ],
)
def test_two_moments_cut_the_log(
    target: Target, valid: list[tuple[int, list[int], int]], test: list[tuple[int, list[int], int]]
) -> None:
    data = timed().split_by(TimeSplit(valid_from=30, test_from=40, target=target))
    assert training(data) == [[1, 2], [1, 2], [3], []]
    assert rows(data, "valid") == valid
    assert rows(data, "test") == test
    assert split_facts(data, "valid").users_without_history == 1  # user 3 has no items before validation
    assert split_facts(data, "test").users_without_history == 0  # but has items before test
    assert split_facts(data, "test").untrained_targets == (3 if target == "all" else 2)


def test_random_targets_are_drawn_once_and_lie_behind_the_cut() -> None:
    draws = set()
    for seed in range(20):
        data = timed().split_by(TimeSplit(valid_from=30, test_from=40, target="random", seed=seed))
        found = rows(data, "test")
        assert found == rows(data, "test")
        assert [user for user, _, _ in found] == [0, 2, 3]
        draws.add(found[0][2])
    assert draws == {4, 5}


def test_moments_as_shares_dates_and_timestamps() -> None:
    times = np.array([pd.Timestamp(f"2020-01-{day:02}", tz="UTC").timestamp() for day in range(1, 11)])
    by_share = TimeSplit(valid_from=0.6, test_from=0.8)
    by_date = TimeSplit(valid_from="2020-01-07", test_from="2020-01-09T01:00:00+01:00")
    by_second = TimeSplit(valid_from=times[6], test_from=times[8])
    found = [moments(split, times, "seconds since 1970") for split in (by_share, by_date, by_second)]
    assert found == 3 * [(times[6], times[8])]


def test_a_share_is_not_cut_short_by_its_binary_fraction() -> None:
    """0.29 × 100 is 28.999… in floating point."""
    for share in range(1, 99):
        found = moments(TimeSplit(valid_from=share / 100, test_from=0.99), np.arange(100.0), "")
        assert found == (share, 99)


@pytest.mark.parametrize(
    ("way", "valid", "test"),
    [
        ("compact dates YYYYMMDD", 20200107, 20200109),
        ("milliseconds since 1970", 1578355200000, 1578528000000),
        ("", 1578355200, 1578528000),
    ],
)
def test_numbers_have_the_unit_of_the_times(way: str, valid: int, test: int) -> None:
    times = np.array([pd.Timestamp(f"2020-01-{day:02}", tz="UTC").timestamp() for day in range(1, 11)])
    assert moments(TimeSplit(valid_from=valid, test_from=test), times, way) == (times[6], times[8])


def test_numbers_that_do_not_fit_the_times_are_refused() -> None:
    times = np.array([pd.Timestamp(f"{year}-01-01", tz="UTC").timestamp() for year in range(2001, 2011)])
    by_year = TimeSplit(valid_from=2007, test_from=2009)
    assert moments(by_year, times, "years") == (times[6], times[8])
    with pytest.raises(DataError, match=r"split\.valid_from: 2007 looks like a date, and the column holds seconds"):
        moments(by_year, times, "seconds since 1970")
    with pytest.raises(DataError, match=r"split\.valid_from: 1300000000 is no number of milliseconds"):
        moments(TimeSplit(valid_from=1.3e9, test_from=1.4e9), times, "milliseconds since 1970")


@pytest.mark.parametrize(
    ("valid", "test"), [(40, 30), (30, 30), (1, 30), (30, 51), ("2020-01-01", "2021-01-01")], ids=str
)
def test_moments_that_leave_a_part_empty_are_refused(valid: float | str, test: float | str) -> None:
    with pytest.raises(DataError, match="do not cut the log into three parts"):
        timed().split_by(TimeSplit(valid_from=valid, test_from=test))


def test_equal_times_fall_on_the_same_side() -> None:
    data = replace(sequence_data([[1, 2, 3, 4]]), timestamps=np.array([1.0, 5.0, 5.0, 9.0]))
    split = data.split_by(TimeSplit(valid_from=0.5, test_from=0.75))
    assert training(split) == [[1]]
    assert rows(split, "valid") == [(0, [1], 2), (0, [1, 2], 3)]


def in_files() -> SequenceData:
    return replace(sequence_data(USERS), parts=np.array([0, 0, 0, 1, 2, 0, 2, 1, 2, 2, 0, 1], dtype=np.uint8))


def test_files_say_what_is_held_out() -> None:
    data = in_files().split_by(FileSplit())
    assert training(data) == [[1, 2, 3], [1], [], [6]]
    assert rows(data, "valid") == [(0, [1, 2, 3], 4), (3, [6], 7)]
    assert rows(data, "test") == [(0, [1, 2, 3, 4], 5), (1, [1], 2), (2, [3], 1), (2, [3, 1], 2)]
    assert split_facts(data, "valid").users_without_history == 1
    last = in_files().split_by(FileSplit(target="last"))
    assert rows(last, "test") == [(0, [1, 2, 3, 4], 5), (1, [1], 2), (2, [3, 1], 2)]


def test_everything_can_train() -> None:
    data = sequence_data(USERS).split_by(NoSplit())
    assert training(data) == USERS
    assert rows(data, "valid") == rows(data, "test") == []
    assert training(in_files().split_by(NoSplit())) == USERS


@pytest.mark.parametrize(
    ("data", "split", "message"),
    [
        (sequence_data(USERS), FileSplit(), "is not split into files"),
        (sequence_data(USERS), TimeSplit(), "no timestamps"),
        (in_files(), LastSplit(), "is split into files"),
        (in_files(), TimeSplit(), "is split into files"),
    ],
)
def test_what_data_cannot_be_split_by(data: SequenceData, split: SplitConfig, message: str) -> None:
    with pytest.raises(DataError, match=message):
        data.split_by(split)


@pytest.fixture(scope="module")
def movies(real_data: Path, tmp_path_factory: pytest.TempPathFactory) -> SequenceData:
    place = tmp_path_factory.mktemp("movies")
    source = source_from_file(place, "ml", real_data / "ml-100k.inter", "atomic", Columns())
    return prepare(source, DataConfig()).data


@pytest.mark.real_data
@pytest.mark.parametrize("target", ["all", "first", "last"])
def test_ml_100k_by_time_equals_pandas(
    real_data: Path, movies: SequenceData, target: Literal["all", "first", "last"]
) -> None:
    data = movies.split_by(TimeSplit(valid_from=0.8, test_from="1998-03-20", target=target))
    log = pd.read_csv(real_data / "ml-100k.inter", sep="\t", dtype={"user_id:token": str, "item_id:token": str})
    log.columns = pd.Index([name.partition(":")[0] for name in log.columns])
    first = np.sort(log["timestamp"].to_numpy())[int(0.8 * len(log))]
    second = pd.Timestamp("1998-03-20", tz="UTC").timestamp()
    log = log.sort_values("timestamp", kind="stable")
    log["place"] = log.groupby("user_id").cumcount()
    for split, low, high in (("valid", first, second), ("test", second, np.inf)):
        with_history = log["user_id"].isin(log["user_id"][log["timestamp"] < low])
        chosen = log[(log["timestamp"] >= low) & (log["timestamp"] < high) & with_history]
        if target != "all":
            chosen = chosen.drop_duplicates("user_id", keep=target)
        expected = list(zip(chosen["user_id"], chosen["place"], chosen["item_id"], strict=True))
        held_out = data.held_out("valid" if split == "valid" else "test")
        found = list(
            zip(names(data, held_out.users), held_out.lengths, item_names(data, held_out.targets), strict=True)
        )
        assert sorted(found) == sorted(expected)
    counts = log[log["timestamp"] < first]["item_id"].value_counts()
    assert {data.item_names[item]: count for item, count in enumerate(data.item_counts) if count} == counts.to_dict()


def names(data: SequenceData, users: NDArray[np.int64]) -> list[str]:
    return [data.user_names[user] for user in users]


def item_names(data: SequenceData, items: NDArray[np.int64]) -> list[str]:
    return [data.item_names[item] for item in items]
