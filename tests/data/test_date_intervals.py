"""Bounds of intervals: numbers and dates against columns of every kind."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError
from reading import read, write

from actsr_cli.config import DataConfig
from actsr_cli.config.data import Bound
from actsr_cli.config.reading import parse_override
from actsr_cli.data.filters import in_interval
from actsr_cli.data.intervals import numeric_bounds
from actsr_cli.data.readers.interactions import Interactions
from actsr_cli.errors import DataError

JUNE, JULY = 1401580800, 1404172800
"""2014-06-01 and 2014-07-01."""


def log(folder: Path, times: list[str]) -> Interactions:
    rows = "".join(f"u,{time},{time}\n" for time in times)
    return read(write(folder / "log.csv", "user,item,time\n" + rows), "csv", wanted=("time",))[0]


def kept(raw: Interactions, low: Bound | None, high: Bound | None) -> list[str]:
    found = in_interval(raw, "timestamp", low, high)
    assert (in_interval(raw, "time", low, high).items == found.items).all(), "by its own name, too"
    return [str(found.item_names[item]) for item in found.items]


ENDS = ["2014-05-31T23:59:59.9", "2014-06-01", "2014-06-30T23:59:59.999", "2014-07-01"]


@pytest.mark.parametrize(
    ("low", "high"),
    [
        ("2014-06-01", "2014-06-30"),
        ("2014-06", "2014-06"),
        (20140601, 20140630),
        (201406, 201406),
        (JUNE, "2014-06-30"),
        ("2014-06-01T00:00:00Z", "2014-06-30T23:59:59.9999"),
        ("2014-06-01T02:00:00+02:00", JULY - 1e-6),
    ],
)
def test_a_date_includes_its_whole_day_or_month(tmp_path: Path, low: Bound, high: Bound) -> None:
    raw = log(tmp_path, ENDS)
    assert kept(raw, low, high) == ENDS[1:3]
    assert kept(raw, low, None) == ENDS[1:] and kept(raw, None, high) == ENDS[:3]
    assert kept(raw, None, None) == ENDS


@pytest.mark.parametrize(
    ("times", "low", "high"),
    [
        ([JUNE - 1, JUNE, JULY - 1, JULY], JUNE, JULY - 1),
        ([JUNE * 1000 - 1, JUNE * 1000, JULY * 1000 - 1, JULY * 1000], JUNE * 1000, JULY * 1000 - 1),
        ([20140531, 20140601, 20140630, 20140701], 20140601, 20140630),
        ([20140531235959, 20140601000000, 20140630235959, 20140701000000], 20140601, 20140630235959),
    ],
    ids=["seconds", "milliseconds", "compact", "compact times"],
)
def test_numbers_are_in_the_unit_of_the_column(tmp_path: Path, times: list[int], low: int, high: int) -> None:
    raw = log(tmp_path, list(map(str, times)))
    assert kept(raw, low, high) == list(map(str, times[1:3]))
    assert kept(raw, "2014-06-01", "2014-06-30") == list(map(str, times[1:3]))
    assert kept(raw, 0, None) == list(map(str, times))


def test_years(tmp_path: Path) -> None:
    raw = log(tmp_path, ["2013", "2014", "2015"])
    assert kept(raw, 2014, 2014) == kept(raw, "2014-01-01", "2014-12-31") == ["2014"]


@pytest.mark.parametrize(
    ("low", "high", "way", "message"),
    [
        ("2014-06-30", "2014-06-01", "ISO dates, UTC", "interval of 'x' is empty: 2014-06-30 > 2014-06-01"),
        (JULY, "2014-06-01", "ISO dates, UTC", "is empty"),
        ("2014-06-30", None, "", "2014-06-30 is a date, and the column holds numbers"),
        (None, 20140601, "seconds since 1970", "20140601 looks like a date, and the column holds seconds since 1970"),
        (JUNE, None, "milliseconds since 1970", "1401580800 is no number of milliseconds since 1970"),
        (None, "2014-W01-1", "ISO dates, UTC", "there is no date 2014-W01-1"),
    ],
)
def test_bounds_that_do_not_fit(low: Bound | None, high: Bound | None, way: str, message: str) -> None:
    with pytest.raises(DataError, match=message):
        numeric_bounds("x", low, high, way)


def test_numbers_of_a_column_that_holds_no_times_stay_what_they_are() -> None:
    assert numeric_bounds("price", 20140601, None, "") == (20140601, None)
    assert numeric_bounds("time", 2014, 3000, "seconds since 1970") == (2014, 3000)
    for bound in (2014, 201401):
        with pytest.raises(DataError, match="looks like a date"):
            numeric_bounds("time", bound, None, "seconds since 1970", earliest=1.3e9)


@pytest.mark.parametrize(
    ("given", "read_as"),
    [
        ("[2014-01-01, null]", ("2014-01-01", None)),
        ("['2014-01', 2014-06-30T10:00:00]", ("2014-01", "2014-06-30T10:00:00")),
        ("['1.5', 2]", (1.5, 2.0)),
    ],
)
def test_dates_in_yaml(given: str, read_as: Any) -> None:
    values = parse_override(f"data.intervals={{timestamp: {given}}}")["data"]
    config = DataConfig.model_validate(values)
    assert config.intervals["timestamp"] == read_as
    assert DataConfig.model_validate_json(config.model_dump_json()) == config


@pytest.mark.parametrize("bound", ["soon", "01/02/2014", "1_000", "nan", "inf", "0x10", ""])
def test_texts_that_are_neither_numbers_nor_dates(bound: str) -> None:
    with pytest.raises(ValidationError, match="must be a number or an ISO date"):
        DataConfig(intervals={"timestamp": (bound, None)})
