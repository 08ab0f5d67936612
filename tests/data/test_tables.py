"""Tables in common variants, and messages about tables that cannot be read."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as parquet
import pytest
from reading import HEADER, read, triples, write

from actsr_cli.errors import DataError

ROWS = [("u 1", 'it"em', 20.0), ("ü2", "b", 10.0), ("u 1", "b", 5.5)]
BODY = 'u 1\tit"em\t5\t20\nü2\tb\t4\t10\nu 1\tb\t3\t5.5\n'


@pytest.mark.parametrize(
    "content",
    [
        HEADER + BODY,
        (HEADER + BODY).replace("\n", "\r\n"),
        "\ufeff" + HEADER + BODY,
        (HEADER + BODY).rstrip("\n"),
        HEADER + "\n" + BODY.replace("\nü2", "\n\nü2"),
        (HEADER + BODY).replace("\n", "\r"),
    ],
    ids=["plain", "crlf", "bom", "no final newline", "empty lines", "cr"],
)
def test_atomic_files_in_every_dress(tmp_path: Path, content: str) -> None:
    raw, _ = read(write(tmp_path / "x.inter", content), "atomic")
    assert triples(raw) == ROWS


@pytest.mark.parametrize(
    "header", ["user_id:token\tbusiness_id:token\tstars:float\tdate:float\n", HEADER], ids=["old", "new"]
)
def test_old_and_new_yelp_names(tmp_path: Path, header: str) -> None:
    path = write(tmp_path / "yelp.inter", header + BODY)
    for wanted in ("date", "timestamp"):
        raw, _ = read(path, "atomic", wanted=(wanted,))
        assert triples(raw) == ROWS
        assert raw.column(wanted).tolist() == [20.0, 10.0, 5.5]


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("u3\tc\t3\n", "4 fields expected, 3 found"),
        ("u3\tc\t3\tsoon\n", "timestamp 'soon' is not a number"),
        ("u3\tc\tgood\t7\n", "rating 'good' is not a number"),
        ("\tc\t3\t7\n", "no user"),
        ("u3\t\t3\t7\n", "no item"),
        ("u3\tc\t3\t\n", "timestamp '' is not a number"),
    ],
)
def test_a_malformed_line_is_named_and_can_be_skipped(tmp_path: Path, line: str, reason: str) -> None:
    first, rest = BODY.split("\n", 1)
    path = write(tmp_path / "x.inter", f"{HEADER}\n{first}\n{line}{rest}")
    with pytest.raises(DataError) as caught:
        read(path, "atomic")
    assert caught.value.message == f"{path}, line 4: {reason}"
    assert "--on-bad-line skip" in str(caught.value.hint)
    raw, bad_lines = read(path, "atomic", policy="skip")
    assert triples(raw) == ROWS
    assert bad_lines.count == 1 and bad_lines.examples == [f"{path}, line 4: {reason}"]


def test_malformed_lines_of_both_kinds_are_told_in_order(tmp_path: Path) -> None:
    path = write(tmp_path / "x.inter", HEADER + "a\tb\t1\tx\na\tb\na\tb\t1\t2\n\na\tb\t1\ty\n")
    _, bad_lines = read(path, "atomic", policy="skip")
    assert [text.partition(", ")[2] for text in bad_lines.examples] == [
        "line 2: timestamp 'x' is not a number",
        "line 3: 4 fields expected, 2 found",
        "line 6: timestamp 'y' is not a number",
    ]


@pytest.mark.parametrize(
    ("header", "message"),
    [
        ("user_id\titem_id\ttimestamp\n", "not an atomic file"),
        ("user_id:token\tuser_id:token\titem_id:token\ttimestamp:float\n", "'user_id:token' twice"),
        ("user_id:token\titem_id:token\n", "no column of timestamps"),
        ("item_id:token\ttimestamp:float\n", "no column for the user"),
        ("", "is empty"),
        ("\n" + HEADER, "begins with an empty line"),
        (HEADER, "holds no interactions"),
        (HEADER.rstrip("\n"), "holds no interactions"),
    ],
)
def test_headers_that_will_not_do(tmp_path: Path, header: str, message: str) -> None:
    with pytest.raises(DataError, match=message):
        read(write(tmp_path / "x.inter", header), "atomic")


def test_text_that_is_not_utf8_is_named_by_line(tmp_path: Path) -> None:
    path = write(tmp_path / "x.inter", HEADER.encode() + b"a\tb\t1\t2\na\t\xff\t1\t2\n")
    with pytest.raises(DataError, match="line 3: not UTF-8"):
        read(path, "atomic")


def test_csv_with_columns_of_its_own(tmp_path: Path) -> None:
    path = write(tmp_path / "x.csv", 'when;who;what\n2020-01-01;"u;1";a\n1970-01-01T00:01:00Z;u2;b\n1970-01;u2;a\n')
    raw, _ = read(path, "csv", separator=";", user="who", item="what", timestamp="when")
    assert triples(raw) == [("u;1", "a", 1577836800.0), ("u2", "b", 60.0), ("u2", "a", 0.0)]


def test_csv_fields_may_go_on_over_lines_and_each_row_knows_where_it_begins(tmp_path: Path) -> None:
    rows = 'a,b,1,"one\n\ntwo"\n\nshort,row\na,c,soon,"x ""y"""\na,d,4,5" pipe\n'
    path = write(tmp_path / "x.csv", "user,item,time,text\n" + rows)
    raw, bad_lines = read(path, "csv", policy="skip")
    assert triples(raw) == [("a", "b", 1.0), ("a", "d", 4.0)]
    assert [text.partition(", ")[2] for text in bad_lines.examples] == [
        "line 6: 4 fields expected, 2 found",
        "line 7: time 'soon' is not a number",
    ]


def test_csv_fields_over_lines_in_a_file_of_several_blocks(tmp_path: Path) -> None:
    filling = "x" * 60
    rows = "".join(f'u{row % 7},i{row % 11},{row},"{filling}\n{filling}"\n' for row in range(20_000))
    path = write(tmp_path / "x.csv", "user,item,time,text\n" + rows + "u1,i1,soon,\n")
    raw, bad_lines = read(path, "csv", policy="skip")
    assert len(raw) == 20_000
    assert bad_lines.examples == [f"{path}, line 40002: time 'soon' is not a number"]


def test_csv_headers_may_be_quoted(tmp_path: Path) -> None:
    path = write(tmp_path / "x.csv", '\ufeff"user","item","time","what, else"\na,b,1,z\n')
    assert triples(read(path, "csv")[0]) == [("a", "b", 1.0)]
    twice = write(tmp_path / "y.csv", '"user",item,time,user\na,b,1,z\n')
    with pytest.raises(DataError, match="the column 'user' twice"):
        read(twice, "csv")
    endless = write(tmp_path / "z.csv", '"' + "x" * 200_000)
    with pytest.raises(DataError, match="line 1: the quote opened here is not closed"):
        read(endless, "csv")


def test_separators(tmp_path: Path) -> None:
    path = write(tmp_path / "x.csv", "user\titem\ttime\na\tb\t1\n")
    for separator in ("\t", "\\t"):  # a tab, and a tab as typed in a shell
        assert triples(read(path, "csv", separator=separator)[0]) == [("a", "b", 1.0)]


def test_dates_are_times_but_no_ratings(tmp_path: Path) -> None:
    path = write(tmp_path / "x.csv", "user,item,time,rating\na,b,1970-01-02,1970-01-02\n")
    with pytest.raises(DataError, match="line 2: rating '1970-01-02' is not a number"):
        read(path, "csv")


def test_csv_in_file_order(tmp_path: Path) -> None:
    path = write(tmp_path / "x.csv", "user,item\n1,2\n1,3\n")
    with pytest.raises(DataError, match="no column of timestamps") as caught:
        read(path, "csv")
    assert "--timestamp-column none" in str(caught.value.hint)
    raw, _ = read(path, "csv", timestamp="none")
    assert triples(raw) == [("1", "2", None), ("1", "3", None)]


def test_a_column_that_is_not_there(tmp_path: Path) -> None:
    path = write(tmp_path / "x.csv", "user,item,time\n1,2,3\n")
    with pytest.raises(DataError, match="no column 'who' for the user; it has: user, item, time"):
        read(path, "csv", user="who")
    with pytest.raises(DataError, match="no column 'tme' to filter by; did you mean 'time'"):
        read(path, "csv", wanted=("tme",))


def test_parquet_with_dates_and_missing_values(tmp_path: Path) -> None:
    path = tmp_path / "x.parquet"
    frame = pd.DataFrame(
        {
            "user_id": [1, 2, 3],
            "item_id": ["a", None, "c"],
            "timestamp": [pd.Timestamp("1970-01-02"), pd.Timestamp("1970-01-01"), pd.NaT],
        }
    )
    frame.to_parquet(path)
    with pytest.raises(DataError, match="row 2: no item"):
        read(path, "parquet")
    raw, bad_lines = read(path, "parquet", policy="skip")
    assert triples(raw) == [("1", "a", 86400.0)]
    assert bad_lines.count == 2


def test_parquet_ids_stay_what_they_are_beside_missing_ones(tmp_path: Path) -> None:
    path = tmp_path / "x.parquet"
    columns = {"user": pa.array([9007199254740993, None, 2]), "item": [b"x", b"y", b"\xc3\xbc"], "time": [1, 2, 3]}
    parquet.write_table(pa.table(columns), path)
    raw, bad_lines = read(path, "parquet", policy="skip")
    assert triples(raw) == [("9007199254740993", "x", 1.0), ("2", "ü", 3.0)]
    assert bad_lines.examples == [f"{path}, row 2: no user"]


def test_parquet_with_a_column_twice(tmp_path: Path) -> None:
    path = tmp_path / "x.parquet"
    table = pa.Table.from_arrays([pa.array([1])] * 4, names=["user", "item", "item", "time"])
    parquet.write_table(table, path)
    with pytest.raises(DataError, match="the column 'item' twice"):
        read(path, "parquet")


def test_a_broken_parquet_file(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="not a readable Parquet"):
        read(write(tmp_path / "x.parquet", b"PAR1 not really"), "parquet")


@pytest.mark.parametrize("odd", ["5.5e0", " 5.5 "])
def test_one_odd_number_changes_no_other(tmp_path: Path, odd: str) -> None:
    """Columns of plain numbers are parsed in one call, other columns value by value, with equal results."""
    plain = [f"u{row % 3}\ti{row % 5}\t{row * 1.1}" for row in range(50)]
    tables = []
    for name, rows in (("plain", [*plain, "u\ti\t5.5"]), ("odd", [*plain, f"u\ti\t{odd}"])):
        path = tmp_path / f"{name}.inter"
        path.write_text("user_id:token\titem_id:token\ttimestamp:float\n" + "\n".join(rows) + "\n")
        tables.append(read(path, "atomic")[0])
    for one, other in zip(*(vars(table).values() for table in tables), strict=True):
        np.testing.assert_array_equal(one, other)
