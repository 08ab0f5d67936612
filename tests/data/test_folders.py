"""Folders of Parquet parts, as Spark, pandas and Dask write one table."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as parquet
import pytest
from reading import read, triples, write

from actsr_cli.config import DataConfig
from actsr_cli.data.prepare import prepare
from actsr_cli.data.readers import Columns
from actsr_cli.data.readers.folders import part_files
from actsr_cli.data.sources import Source, find_source, source_from_file
from actsr_cli.errors import DataError

ROWS = [("u1", "a", 1), ("u2", "b", 2), ("u1", "c", 3), ("u3", "a", 4)]


def write_rows(path: Path, rows: list[tuple[Any, ...]], names: tuple[str, ...] = ("user", "item", "time")) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    parquet.write_table(pa.table(dict(zip(names, map(list, zip(*rows, strict=True)), strict=True))), path)
    return path


@pytest.fixture
def spark(tmp_path: Path) -> Path:
    """A folder as Spark writes it: two parts, marks of success, and checksums."""
    folder = tmp_path / "log.parquet"
    write_rows(folder / "part-00000-9f.snappy.parquet", ROWS[:2])
    write_rows(folder / "part-00001-9f.snappy.parquet", ROWS[2:])
    for name in ("_SUCCESS", "._SUCCESS.crc", ".part-00000-9f.snappy.parquet.crc", "_metadata", "_common_metadata"):
        (folder / name).write_bytes(b"x")
    return folder


def registered(tmp_path: Path, folder: Path, columns: Columns | None = None) -> Source:
    return source_from_file(tmp_path / "data", "shop", folder, None, columns or Columns()).register()


def test_the_parts_of_a_folder_are_one_table(tmp_path: Path, spark: Path) -> None:
    assert triples(read(spark, "parquet")[0]) == ROWS
    whole = write_rows(tmp_path / "whole.parquet", ROWS)
    assert triples(read(whole, "parquet")[0]) == ROWS
    data = prepare(registered(tmp_path, spark), DataConfig()).data
    assert data.user_names == ("u1", "u2", "u3") and data.n_interactions == 4
    assert find_source(tmp_path / "data", "shop").file == spark


def test_a_folder_needs_no_suffix(tmp_path: Path, spark: Path) -> None:
    assert registered(tmp_path, spark.rename(tmp_path / "log")).format == "parquet"


def test_numbers_in_names_are_in_order(tmp_path: Path) -> None:
    folder = tmp_path / "log"
    for number in (10, 9, 0):
        write_rows(folder / f"part.{number}.parquet", [("u", f"i{number}")], ("user", "item"))
    assert [path.name for path in part_files(folder)] == ["part.0.parquet", "part.9.parquet", "part.10.parquet"]
    raw, _ = read(folder, "parquet", timestamp="none")
    assert [item for _, item, _ in triples(raw)] == ["i0", "i9", "i10"]
    with pytest.raises(DataError, match="no column of timestamps") as caught:
        read(folder, "parquet")
    assert "--timestamp-column none if rows are in order of time" in str(caught.value.hint)


def test_folders_name_columns(tmp_path: Path) -> None:
    frame = pd.DataFrame(
        [("007", "a b/c", "1970-01-03"), ("7", "x", "1970-01-02"), ("7", "y", "1970-01-03")],
        columns=["user", "item", "date"],
    )
    frame.to_parquet(tmp_path / "log", partition_cols=["date", "user"])
    raw, _ = read(tmp_path / "log", "parquet")
    assert triples(raw) == [("7", "x", 86400.0), ("007", "a b/c", 2 * 86400.0), ("7", "y", 2 * 86400.0)]
    by_item, _ = read(tmp_path / "log", "parquet", user="date", item="user", timestamp="none")
    assert triples(by_item)[0] == ("1970-01-02", "7", None)


def test_a_value_that_a_folder_does_not_have(tmp_path: Path) -> None:
    write_rows(tmp_path / "log" / "user=a%20b" / "x.parquet", [("i", 1)], ("item", "time"))
    write_rows(tmp_path / "log" / "user=__HIVE_DEFAULT_PARTITION__" / "x.parquet", [("i", 1)], ("item", "time"))
    raw, bad_lines = read(tmp_path / "log", "parquet", policy="skip")
    assert triples(raw) == [("a b", "i", 1.0)]
    assert bad_lines.examples == [f"{tmp_path / 'log'}, user=__HIVE_DEFAULT_PARTITION__/x.parquet, row 1: no user"]


def test_a_malformed_row_is_named_by_its_part(spark: Path) -> None:
    write_rows(spark / "part-00002.parquet", [("u", "a", 1), ("u", None, 1)])
    with pytest.raises(DataError, match=r"log\.parquet, part-00002\.parquet, row 2: no item"):
        read(spark, "parquet")
    raw, bad_lines = read(spark, "parquet", policy="skip")
    assert len(raw) == 5 and bad_lines.count == 1


@pytest.mark.parametrize(
    ("table", "message"),
    [
        (
            {"user": ["u"], "item": ["a"], "date": [1]},
            "has other columns than .*: user, item, date instead",
        ),
        ({"user": ["u"], "item": ["a"], "time": [1], "more": [1]}, "has other columns"),
        ({"user": ["u"], "item": ["a"], "time": ["1"]}, "has other types of columns than the parts before it"),
        ({"user": [1], "item": ["a"], "time": [1]}, "has other types of columns than the parts before it"),
    ],
)
def test_parts_that_do_not_fit_are_named(spark: Path, table: dict[str, list[Any]], message: str) -> None:
    parquet.write_table(pa.table(table), spark / "part-00002.parquet")
    with pytest.raises(DataError, match=rf"part-00002\.parquet {message}"):
        read(spark, "parquet")


def test_parts_may_differ_in_order_of_columns_and_in_width_of_numbers(spark: Path) -> None:
    table = {"time": pa.array([5], pa.int32()), "item": pa.array([None], pa.null()), "user": ["u4"]}
    parquet.write_table(pa.table(table), spark / "part-00002.parquet")
    parquet.write_table(
        pa.table({"user": ["u4"], "item": ["b"], "time": pa.array([5.5])}), spark / "part-00003.parquet"
    )
    raw, bad_lines = read(spark, "parquet", policy="skip")
    assert triples(raw) == [*ROWS, ("u4", "b", 5.5)] and bad_lines.count == 1


def test_folders_that_are_no_table(tmp_path: Path, spark: Path) -> None:
    with pytest.raises(DataError, match="the format csv reads files"):
        source_from_file(tmp_path, "x", spark, "csv", Columns())
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match=r"the folder .*empty holds no \.parquet files"):
        registered(tmp_path, tmp_path / "empty")
    (spark / "notes.txt").write_text("x")
    with pytest.raises(DataError, match=r"holds notes\.txt, which is no \.parquet file"):
        registered(tmp_path, spark)
    (spark / "notes.txt").unlink()
    write_rows(spark / "old" / "part.parquet", ROWS)
    with pytest.raises(DataError, match="holds the folder 'old', which is no part of a table") as caught:
        registered(tmp_path, spark)
    assert "COLUMN=VALUE" in str(caught.value.hint)
    shutil.rmtree(spark / "old")
    write_rows(spark / "user=x" / "part.parquet", ROWS)
    with pytest.raises(DataError, match="the column 'user' twice"):
        read(spark, "parquet")
    write_rows(tmp_path / "b" / "item=x" / "item=y" / "part.parquet", ROWS)
    with pytest.raises(DataError, match="lies in two folders of the column 'item'"):
        read(tmp_path / "b", "parquet")


def changed(part: Path) -> None:
    write_rows(part, [("u9", "z", 9), ("u9", "z", 9)])


def added(part: Path) -> None:
    write_rows(part.with_name("part-00002.parquet"), [("u9", "z", 9)])


def renamed(part: Path) -> None:
    part.rename(part.with_name("a.parquet"))


@pytest.mark.parametrize("change", [changed, added, renamed, Path.unlink])
def test_what_changes_in_a_folder_is_noticed(tmp_path: Path, spark: Path, change: Any) -> None:
    source = registered(tmp_path, spark)
    first = prepare(source, DataConfig())
    assert prepare(source, DataConfig()).report.cached
    change(spark / "part-00001-9f.snappy.parquet")
    again = prepare(find_source(tmp_path / "data", "shop"), DataConfig())
    assert again.data.fingerprint != first.data.fingerprint and not again.report.cached
    assert again.report.note == "log.parquet has changed since it was last prepared"


def test_marks_and_checksums_are_no_content(tmp_path: Path, spark: Path) -> None:
    first = prepare(registered(tmp_path, spark), DataConfig())
    (spark / "_SUCCESS").unlink()
    assert prepare(find_source(tmp_path / "data", "shop"), DataConfig()).folder == first.folder


def test_what_was_prepared_outlives_its_folder(tmp_path: Path, spark: Path) -> None:
    source = registered(tmp_path, spark)
    first = prepare(source, DataConfig())
    shutil.rmtree(spark)
    kept = prepare(source, DataConfig())
    assert kept.folder == first.folder and "is missing" in kept.report.note


@pytest.mark.parametrize(
    ("values", "words"),
    [
        (pa.array([1.0, 2.5]), "holds 2.5, which is no id"),
        (pa.array([1.0, 2.0**53 + 2]), "which is no id: it is no exact whole number"),
        (pa.array([True, False]), "holds bool, which are no ids"),
        (pa.array([1, 2], pa.timestamp("s")), "which are no ids"),
        (pa.array([{"a": 1}, {"a": 2}]), "which are no ids"),
    ],
)
def test_ids_are_texts_or_whole_numbers(tmp_path: Path, values: pa.Array, words: str) -> None:
    path = tmp_path / "x.parquet"
    parquet.write_table(pa.table({"user": values, "item": ["a", "b"], "time": [1, 2]}), path)
    with pytest.raises(DataError, match=f"the column 'user' holds|{words}") as caught:
        read(path, "parquet")
    assert words in caught.value.message


@pytest.mark.parametrize(
    ("values", "names"),
    [
        (pa.array([1.0, None, 3.0]), ["1", "3"]),
        (pa.array(["x", None, "y"]).dictionary_encode(), ["x", "y"]),
        (pa.array([1, None, 2**63], pa.uint64()), ["1", "9223372036854775808"]),
    ],
)
def test_ids_of_other_types_stay_what_they_are(tmp_path: Path, values: pa.Array, names: list[str]) -> None:
    path = tmp_path / "x.parquet"
    parquet.write_table(pa.table({"user": values, "item": ["a", "b", "c"], "time": [1, 2, 3]}), path)
    raw, bad_lines = read(path, "parquet", policy="skip")
    assert [user for user, _, _ in triples(raw)] == names and bad_lines.count == 1


@pytest.mark.parametrize(
    "values",
    [
        pa.array([86400, 0]),
        pa.array([86400.0, 0.0]),
        pa.array(["1970-01-02", "1970-01-01"]),
        pa.array([1, 0], pa.int32()).cast(pa.date32()),
        pa.array([86_400_000, 0], pa.int64()).cast(pa.date64()),
        pa.array([86_400, 0], pa.timestamp("s")),
        pa.array([86_400_000_000, 0], pa.timestamp("us", tz="Asia/Tokyo")),
        pa.array(["1970-01-02", "1970-01-01"]).dictionary_encode(),
        pa.array([86400, 0]).cast(pa.decimal128(20)),
    ],
    ids=lambda values: str(values.type),
)
def test_times_of_every_type(tmp_path: Path, values: pa.Array) -> None:
    path = tmp_path / "x.parquet"
    parquet.write_table(pa.table({"user": [1, 2], "item": ["a", "b"], "time": values}), path)
    assert triples(read(path, "parquet")[0]) == [("1", "a", 86400.0), ("2", "b", 0.0)]


def test_times_that_are_none(tmp_path: Path) -> None:
    path = tmp_path / "x.parquet"
    parquet.write_table(pa.table({"user": [1], "item": ["a"], "time": pa.array([1], pa.duration("s"))}), path)
    with pytest.raises(DataError, match=r"'time' holds duration.*neither numbers nor times"):
        read(path, "parquet")


def test_a_damaged_part_is_named(spark: Path) -> None:
    part = spark / "part-00001-9f.snappy.parquet"
    write(part, part.read_bytes()[:-20])
    with pytest.raises(DataError, match=r"part-00001-9f\.snappy\.parquet is not a readable Parquet file"):
        read(spark, "parquet")


def test_whole_numbers_that_pandas_wrote_as_floats_are_ids(tmp_path: Path) -> None:
    path = tmp_path / "x.parquet"
    users = pa.array([12345678901.0, 1e15])
    parquet.write_table(pa.table({"user": users, "item": ["a", "b"], "time": [1, 2]}), path)
    assert [user for user, _, _ in triples(read(path, "parquet")[0])] == ["12345678901", "1000000000000000"]
