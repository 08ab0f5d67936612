"""Columns of times: each is read in one way, which is said, or refused with the line."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as parquet
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from reading import read, write

from actsr_cli.data.readers import Columns, find_reader
from actsr_cli.data.readers.dates import last_moment, read_digits, written
from actsr_cli.data.readers.interactions import BadLines, Interactions
from actsr_cli.data.readers.parts import read_interactions
from actsr_cli.data.readers.times import read_times
from actsr_cli.errors import DataError


def write_atomic(path: Path, values: Sequence[str]) -> None:
    rows = "".join(f"u\ti{row}\t{value}\n" for row, value in enumerate(values))
    write(path, "user_id:token\titem_id:token\ttimestamp:float\n" + rows)


def write_csv(path: Path, values: Sequence[str]) -> None:
    write(path, "user_id,item_id,timestamp\n" + "".join(f'u,i{row},"{value}"\n' for row, value in enumerate(values)))


def write_parquet(path: Path, values: Sequence[str]) -> None:
    items = [f"i{row}" for row in range(len(values))]
    parquet.write_table(pa.table({"user_id": ["u"] * len(values), "item_id": items, "timestamp": list(values)}), path)


def write_json(path: Path, values: Sequence[str]) -> None:
    rows = ({"user_id": "u", "item_id": f"i{row}", "timestamp": value} for row, value in enumerate(values))
    write(path, "".join(json.dumps(row) + "\n" for row in rows))


FORMATS: dict[str, tuple[Callable[[Path, Sequence[str]], None], str, int]] = {
    "atomic": (write_atomic, "line", 2),
    "csv": (write_csv, "line", 2),
    "parquet": (write_parquet, "row", 1),
    "json": (write_json, "line", 1),
}
"""What writes each format; what it calls a row; and the number of the first row."""


def seconds(text: str) -> float:
    """What Python makes of an ISO time."""
    moment = datetime.fromisoformat(text)
    return (moment.replace(tzinfo=moment.tzinfo or UTC) - datetime(1970, 1, 1, tzinfo=UTC)) / timedelta(seconds=1)


WAYS: dict[str, tuple[list[str], list[float]]] = {
    "seconds since 1970": (["1357344000", "1357344000.25", "0", "-5"], [1357344000, 1357344000.25, 0, -5]),
    "milliseconds since 1970": (["1588687728923", "1588687728000", "0"], [1588687728.923, 1588687728, 0]),
    "microseconds since 1970": (["1588687728923001", "-1588687728000000"], [1588687728.923001, -1588687728]),
    "nanoseconds since 1970": (["1588687728923001000", "1588687728000000000"], [1588687728.923001, 1588687728]),
    "years": (["2014", "1999"], [seconds("2014-01-01"), seconds("1999-01-01")]),
    "compact dates YYYYMM": (["201402", "201312"], [seconds("2014-02-01"), seconds("2013-12-01")]),
    "compact dates YYYYMMDD": (["20140101", "20131231.0"], [seconds("2014-01-01"), seconds("2013-12-31")]),
    "compact dates YYYYMMDDHH": (["2014010110", "2014010109"], [seconds("2014-01-01T10"), seconds("2014-01-01T09")]),
    "compact dates YYYYMMDDHHMM": (["201401011030", "201401011029"], [1388572200, 1388572140]),
    "compact dates YYYYMMDDHHMMSS": (["20140101103000", "20140101102959"], [1388572200, 1388572199]),
    "compact dates of different precision": (["2014", "201402", "20140301"], [1388534400, 1391212800, 1393632000]),
    "ISO dates, UTC": (
        [
            *("2014", "2014-02", "20140203", "2014-02-03", "2014/2/3", "2014-02-03T04", "2014-02-03 04:05"),
            *("2014-02-03T04:05:06", "2014-02-03T04:05:06,5", "20140203T040506Z", "2014-02-03T04:05:06.123456 UTC"),
            *("0001-01-01", "1500-02-28", "1677-01-01", "2262-12-31", "9999-12-31T23:59:59"),
        ],
        [
            *map(seconds, ("2014-01-01", "2014-02-01", "2014-02-03", "2014-02-03", "2014-02-03", "2014-02-03T04")),
            *map(seconds, ("2014-02-03T04:05", "2014-02-03T04:05:06", "2014-02-03T04:05:06.5", "2014-02-03T04:05:06")),
            *map(seconds, ("2014-02-03T04:05:06.123456", "0001-01-01", "1500-02-28", "1677-01-01", "2262-12-31")),
            seconds("9999-12-31T23:59:59"),
        ],
    ),
}


@pytest.mark.parametrize("format_name", FORMATS)
@pytest.mark.parametrize("way", WAYS)
def test_a_column_is_read_in_one_way(tmp_path: Path, format_name: str, way: str) -> None:
    values, expected = WAYS[way]
    path = tmp_path / "log"
    FORMATS[format_name][0](path, values)
    raw, _ = read(path, format_name)
    assert raw.way == way and raw.ways == {}
    assert raw.timestamps is not None
    np.testing.assert_allclose(raw.timestamps, expected, rtol=0, atol=1e-6)


def test_offsets_from_utc_count(tmp_path: Path) -> None:
    values = ["2014-01-01T01:00:00+01:00", "2014-01-01", "2013-12-31T19:00:00-0500", "2014-01-01T05:30:00 +05:30"]
    write_atomic(tmp_path / "x.inter", values)
    assert set(read(tmp_path / "x.inter", "atomic")[0].column("timestamp")) == {seconds("2014-01-01")}


MIXED = [
    (["2014-01-05", "1357344000"], "'1357344000' is a number, but '2014-01-05' in {unit} {first} is an ISO date"),
    (["2014", "1357344000"], "'1357344000' is a number since 1970, but '2014' in {unit} {first} is a date in digits"),
    (
        ["1357344000", "20140101"],
        "'20140101' is a date in digits, but '1357344000' in {unit} {first} is a number since",
    ),
    (["1357344000", "1357344000000"], "'1357344000000' is milliseconds since 1970, but '1357344000'"),
    (["2014-01-05", "201401"], "'201401' is a number, but '2014-01-05'"),
    (["2014-01-05T00:00:00+02:00", "2014-01-05T00:00:00"], "is a time without an offset from UTC, but"),
]


@pytest.mark.parametrize("format_name", FORMATS)
@pytest.mark.parametrize(("values", "message"), MIXED)
def test_two_ways_in_a_column_are_refused(tmp_path: Path, format_name: str, values: list[str], message: str) -> None:
    path = tmp_path / "log"
    writes, unit, first = FORMATS[format_name]
    writes(path, values)
    with pytest.raises(DataError) as caught:
        read(path, format_name, policy="skip")
    assert caught.value.message.startswith(f"{path}, {unit} {first + 1}: timestamp ")
    assert message.format(unit=unit, first=first) in caught.value.message
    assert "2014-02-01" in str(caught.value.hint)


NO_NUMBERS = [
    "1_357_344_000",
    "nan",
    "inf",
    "-Infinity",
    "0x10",
    "0x1p3",
    "1,357,344",
    "\uff11\uff13\uff15",
    "9" * 5000,
    "1e400",
    "x",
]
NO_DATES = ["01/02/2014", "2 Jan 2014", "Jan 2 2014", "2014-13-01", "2014-02-30", "31.12.2014", "2014-01-01T25:00:00"]


@pytest.mark.parametrize("format_name", FORMATS)
@pytest.mark.parametrize("value", [*NO_NUMBERS, *NO_DATES])
def test_what_is_no_time_is_refused_with_its_line(tmp_path: Path, format_name: str, value: str) -> None:
    path = tmp_path / "log"
    writes, unit, first = FORMATS[format_name]
    good = "2014-01-05" if value in NO_DATES else "1357344000"
    writes(path, [good, value, good])
    with pytest.raises(DataError, match=rf", {unit} {first + 1}: ") as caught:
        read(path, format_name)
    assert ("year-month-day, such as 2014-02-01" in caught.value.message) == (value in NO_DATES)
    raw, bad_lines = read(path, format_name, policy="skip")
    assert len(raw) == 2 and bad_lines.count == 1


def test_a_typing_error_in_compact_dates_is_a_malformed_line(tmp_path: Path) -> None:
    write_csv(tmp_path / "x.csv", ["20140101", "20140231", "0", "20140102"])
    with pytest.raises(DataError, match="line 3: timestamp '20140231' is not a date, and the column holds compact"):
        read(tmp_path / "x.csv", "csv")


def test_numbers_that_count_from_elsewhere_may_look_like_dates(tmp_path: Path) -> None:
    """The seconds of a year, counted from 0: some of them have the digits of a date."""
    values = list(range(0, 31_000_000, 1_999))
    assert (read_digits(np.array(values, dtype=np.float64))[1] > 0).sum() > 20
    write_csv(tmp_path / "x.csv", list(map(str, values)))
    raw, _ = read(tmp_path / "x.csv", "csv")
    assert raw.way == "seconds since 1970" and raw.column("timestamp").tolist() == values


TYPED: list[tuple[pa.Array, list[float], str]] = [
    (pa.array([1, -1], pa.timestamp("s")), [1, -1], "dates, UTC"),
    (pa.array([1500, -1], pa.timestamp("ms", "Europe/Berlin")), [1.5, -0.001], "dates, UTC"),
    (pa.array([1_500_000_000, 1], pa.timestamp("ns")), [1.5, 1e-9], "dates, UTC"),
    (pa.array([10**11, -(10**11)], pa.timestamp("s")), [1e11, -1e11], "dates, UTC"),
    (pa.array([date(2014, 1, 1), date(1500, 1, 1)], pa.date32()), [1388534400, -14831769600], "dates, UTC"),
    (pa.array([3_000_000, -1], pa.date32()), [3_000_000 * 86_400, -86_400], "dates, UTC"),
    (pa.array(["2014", "2013-01"]).dictionary_encode(), [1388534400, 1356998400], "ISO dates, UTC"),
    (pa.array([Decimal("1.25"), Decimal(-1)]), [1.25, -1], "seconds since 1970"),
    (pa.array([20140101, 20130101], pa.int32()), [1388534400, 1356998400], "compact dates YYYYMMDD"),
    (pa.array([1388534400, 5], pa.uint64()), [1388534400, 5], "seconds since 1970"),
]


@pytest.mark.parametrize(("column", "expected", "way"), TYPED, ids=[str(each[0].type) for each in TYPED])
def test_types_of_parquet(tmp_path: Path, column: pa.Array, expected: list[float], way: str) -> None:
    path = tmp_path / "x.parquet"
    parquet.write_table(pa.table({"user": ["u", "u"], "item": ["a", "b"], "time": column}), path)
    raw, _ = read(path, "parquet")
    assert raw.column("timestamp").tolist() == expected and raw.way == way


@pytest.mark.parametrize(
    "column",
    [pa.array([True, False]), pa.array([1, 2], pa.duration("s")), pa.array([[1], [2]]), pa.array([b"1", b"2"])],
)
def test_types_that_are_no_times(tmp_path: Path, column: pa.Array) -> None:
    path = tmp_path / "x.parquet"
    parquet.write_table(pa.table({"user": ["u", "u"], "item": ["a", "b"], "time": column}), path)
    with pytest.raises(DataError, match="'time'"):
        read(path, "parquet")


def test_the_files_of_a_split_have_their_times_in_one_way(tmp_path: Path) -> None:
    parts = {"train": ["2014", "2013"], "valid": ["2015"], "test": ["2016-01"]}
    for part, values in parts.items():
        write_atomic(tmp_path / f"x.{part}.inter", values)
    bad_lines = [BadLines(tmp_path / f"x.{part}.inter") for part in parts]
    message = r"x\.test\.inter has times in another way than x\.train\.inter: ISO dates, UTC instead of years"
    with pytest.raises(DataError, match=message):
        read_interactions(find_reader("atomic"), Columns(), (), bad_lines)


def test_a_column_called_timestamp_beside_that_of_the_times(tmp_path: Path) -> None:
    path = write(tmp_path / "x.csv", "user,item,when,timestamp\nu,a,2014-01-01,7\nu,b,2014-01-02,8\n")
    raw, _ = read(path, "csv", wanted=("timestamp", "when"), timestamp="when")
    assert raw.column("timestamp").tolist() == [7, 8] and raw.column("when").tolist() == [1388534400, 1388620800]
    assert (raw.way, raw.way_of("timestamp"), raw.way_of("when")) == ("ISO dates, UTC", "", "ISO dates, UTC")


def test_missing_times_are_malformed(tmp_path: Path) -> None:
    path = tmp_path / "x.parquet"
    for kind in (pa.int64(), pa.timestamp("us"), pa.string()):
        columns = {"user": ["u", "u"], "item": ["a", "b"], "time": pa.array([None, None], kind)}
        parquet.write_table(pa.table(columns), path)
        with pytest.raises(DataError, match="row 1: time "):
            read(path, "parquet")


@pytest.mark.parametrize("format_name", FORMATS)
def test_other_columns_are_numbers_or_dates(tmp_path: Path, format_name: str) -> None:
    """Numbers stay as they are, whatever they look like; dates are read like times."""

    def column(name: str, values: list[str]) -> Interactions:
        path = tmp_path / f"{name}.{format_name}"
        rows = [{"user_id": "u", "item_id": "i", "timestamp": "1", "rating": "3", name: value} for value in values]
        table = pd.DataFrame(rows)
        if format_name == "parquet":
            table.to_parquet(path)
        elif format_name == "json":
            table.to_json(path, orient="records", lines=True)
        else:
            separator, kind = ("\t", ":token") if format_name == "atomic" else (",", "")
            table.rename(columns=lambda each: each + kind).to_csv(path, sep=separator, index=False)
        return read(path, format_name, wanted=(name,))[0]

    price = column("price", ["2014", "20140101", "5", "1e12"])
    assert price.column("price").tolist() == [2014, 20140101, 5, 1e12] and "price" not in price.ways
    joined = column("joined", ["2014", "2014-01-01", "2013-12-31T00:00:00Z"])
    assert joined.column("joined").tolist() == [1388534400, 1388534400, 1388448000]
    assert (joined.way, joined.ways) == ("seconds since 1970", {"joined": "ISO dates, UTC"})
    with pytest.raises(DataError, match="joined '5' is a number, but '2014-01-01' in"):
        column("joined", ["2014-01-01", "5"])


def test_moments_by_hand() -> None:
    assert (
        written(seconds("2014-06-30")) == "2014-06-30" and written(seconds("2014-06-30") + 1.5) == "2014-06-30T00:00:01"
    )
    for unit, following in (("D", "2014-07-01"), ("M", "2014-07-01"), ("Y", "2015-01-01")):
        last = last_moment(seconds("2014-06-30"), unit)
        assert seconds(following) - 1e-6 < last < seconds(following)


days = st.dates(date(1900, 1, 1), date(2100, 12, 31))
"""Days that can be written in digits."""
TEXTS: dict[str, st.SearchStrategy[tuple[str, float]]] = {
    "iso": st.dates().map(lambda day: (day.isoformat(), seconds(day.isoformat()))),
    "month": st.dates().map(lambda day: (day.isoformat()[:7], seconds(f"{day.isoformat()[:7]}-01"))),
    "moment": st.datetimes().map(lambda time: (time.isoformat(), seconds(time.isoformat()))),
    "zoned": st.datetimes(datetime(2, 1, 1), datetime(9998, 1, 1)).map(
        lambda time: (f"{time.isoformat()}+02:00", seconds(time.isoformat()) - 7200)
    ),
    "year": days.map(lambda day: (f"{day.year:04}", seconds(f"{day.year:04}-01-01"))),
    "compact": days.map(lambda day: (f"{day:%Y%m%d}", seconds(day.isoformat()))),
    "seconds": st.integers(4 * 10**8, 1_800_000_000).map(lambda number: (str(number), float(number))),
    "milliseconds": st.integers(4 * 10**11, 18 * 10**11).map(lambda number: (str(number), number / 1000)),
    "junk": st.sampled_from([(text, float("nan")) for text in [*NO_NUMBERS, *NO_DATES, ""]]),
}
ONE_WAY = (
    {"iso", "month", "moment", "year", "compact"},
    {"iso", "month", "zoned", "year", "compact"},
    *({name} for name in TEXTS),
)
"""Kinds of texts that fit together; ISO ones need no others beside years and compact dates."""


@settings(max_examples=120)
@given(
    st.lists(st.sampled_from(sorted(TEXTS)).flatmap(lambda kind: TEXTS[kind].map(lambda one: (kind, *one))), max_size=9)
)
def test_any_column_has_one_way_and_the_right_order_or_is_refused(column: list[tuple[str, str, float]]) -> None:
    """Each value is drawn with its kind and its meaning; the meaning comes from Python's own dates."""
    reading = read_times(pd.Series([text for _, text, _ in column], dtype="str"))
    kinds = {kind for kind, *_ in column} - {"junk"}
    if reading.clash is not None:
        assert not any(kinds <= together for together in ONE_WAY)
        rows = reading.clash.rows
        assert rows[0] < rows[1] and "junk" not in {column[row][0] for row in rows}
        return
    assert kinds <= {"year", "compact"} or any(kinds <= together for together in ONE_WAY)
    assert bool(reading.way) or not kinds
    np.testing.assert_allclose(reading.values, [meaning for *_, meaning in column], rtol=0, atol=1e-3)


@settings(max_examples=60)
@given(
    st.lists(
        st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=9), st.dates(), st.decimals())
    )
)
def test_values_of_any_type_are_read_or_refused(values: list[Any]) -> None:
    try:
        reading = read_times(pd.Series(values, dtype=object))
    except DataError:
        return
    assert len(reading.values) == len(values) and not np.isinf(reading.values).any()
