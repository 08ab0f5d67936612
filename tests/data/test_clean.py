"""The fast path of reading has the result of the careful one, chunk by chunk, and leaves what does not fit to it."""

from __future__ import annotations

import gzip
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as parquet
import pytest
from hypothesis import given
from hypothesis import strategies as st

from actsr_cli.data.readers import Columns, atomic, clean, csv_files, delimited, find_reader, parquet_files
from actsr_cli.data.readers.clean import Ids, read_clean
from actsr_cli.data.readers.delimited import Table
from actsr_cli.data.readers.interactions import BadLines, Interactions, NotCleanError
from actsr_cli.data.readers.tables import find_roles, read_table
from actsr_cli.data.readers.times import numeric_times
from actsr_cli.errors import DataError

NAMES = ["user", "item", "time", "rating"]
IDS = st.sampled_from(["1", "2", "30", "a", "é", "01", "0x1", "-1", "+2", " 3", "70000000", "9" * 30, ""])
TIMES = st.sampled_from(
    [
        *("5", "1000000000", "1500000000000", "2014", "20140201", "1e9", "inf", " 7", "", "x"),
        *("2014-02-01", "2014-02-01T10:00:00+02:00", "2014-02-01T10:00:00", "2014-02-01 10:00"),
    ]
)
RATINGS = st.sampled_from(["1", "4.5", "", "2014-02-01", "bad"])


@pytest.fixture(autouse=True)
def _small_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a chunk have a few rows, and a block a line or two."""
    monkeypatch.setattr(clean, "_ROWS", 3)
    monkeypatch.setattr(clean, "_LARGEST", 1000)
    monkeypatch.setattr(parquet_files, "_ROWS", 2)
    monkeypatch.setattr(delimited, "_SIZE", 20)


def described(raw: Interactions | None) -> object:
    """Everything that a table says, in plain values; names in the order of their numbers."""
    if raw is None:
        return None
    numbers = {name: values.tolist() for name, values in raw.numbers.items()}
    times = None if raw.timestamps is None else raw.timestamps.tolist()
    ids = [[names[code] for code in codes] for codes, names in of_ids(raw)]
    return ids, [list(names) for _, names in of_ids(raw)], times, numbers, raw.way, raw.ways, raw.columns


def of_ids(raw: Interactions) -> list[tuple[list[int], list[str]]]:
    return [(raw.users.tolist(), raw.user_names.tolist()), (raw.items.tolist(), raw.item_names.tolist())]


def chunks(rows: Sequence[Sequence[str]], size: int) -> Iterator[pa.Table]:
    for start in range(0, len(rows), size):
        columns = zip(*rows[start : start + size], strict=True)
        yield pa.table({name: pa.array(column, pa.string()) for name, column in zip(NAMES, columns, strict=True)})


@given(
    data=st.data(),
    n_rows=st.integers(1, 12),
    size=st.integers(1, 4),
    time=st.sampled_from([None, "none"]),
    wanted=st.sampled_from([[], ["rating"], ["time"], ["rating", "time"]]),
)
def test_the_fast_path_says_what_the_careful_one_says(
    data: st.DataObject, n_rows: int, size: int, time: str | None, wanted: list[str]
) -> None:
    few = [data.draw(st.lists(values, min_size=1, max_size=2)) for values in (IDS, IDS, TIMES, RATINGS)]
    rows = data.draw(st.lists(st.tuples(*map(st.sampled_from, few)), min_size=n_rows, max_size=n_rows))
    roles = find_roles(NAMES, Columns(timestamp=time), wanted, Path("f"))
    fast = described(read_clean(chunks(rows, size), roles))
    table = Table(pd.DataFrame(rows, columns=NAMES, dtype="str"), lambda: np.arange(1, n_rows + 1), "line", [])
    bad_lines = BadLines(Path("f"), "skip")
    try:
        careful = described(read_table(table, roles, Path("f"), bad_lines))
    except DataError:
        assert fast is None
        return
    if bad_lines.count:
        assert fast is None
    elif fast is not None:
        assert fast == careful
    else:  # left to the careful path without need, but only for these reasons
        values = {value for row in rows for value in row}
        assert values & {"", " 7", "inf"} or any(row[2].count("-") for row in rows)


def numbered(*ids: Sequence[str]) -> tuple[list[int], list[str]]:
    found = Ids()
    for chunk in ids:
        found.add(pa.array(chunk, pa.string()))
    codes, names = found.numbered()
    assert codes.dtype == np.int32
    return codes.tolist(), names.tolist()


def test_ids_are_numbered_by_first_appearance_over_all_chunks() -> None:
    assert numbered(["7", "3", "7"], ["5", "3"], ["7", "0"]) == ([0, 1, 0, 2, 1, 0, 3], ["7", "3", "5", "0"])


def test_texts_after_whole_numbers_go_on_with_their_numbers() -> None:
    assert numbered(["7", "3"], ["b", "7"], ["3", "a"], ["c", "b"], ["9"]) == (
        [0, 1, 2, 0, 1, 3, 4, 2, 5],
        ["7", "3", "b", "a", "c", "9"],
    )


@pytest.mark.parametrize("other", ["07", "+7", "0x7", "7.0", " 7", "-7", "7000", "\u0667"])
def test_a_number_in_another_writing_is_another_id(other: str) -> None:
    assert numbered(["7", other], [other, "7"]) == ([0, 1, 1, 0], ["7", other])
    assert numbered(["7"], [other], ["7"]) == ([0, 1, 0], ["7", other])


@given(ids=st.lists(st.one_of(st.integers(0, 5000).map(str), IDS.filter(bool)), max_size=40), size=st.integers(1, 9))
def test_ids_are_those_of_the_careful_path(ids: list[str], size: int) -> None:
    expected = list(dict.fromkeys(ids))
    found = numbered(*(ids[start : start + size] for start in range(0, len(ids), size)))
    assert found == ([expected.index(each) for each in ids], expected)


@pytest.mark.parametrize("ids", [["a", ""], ["a", None]])
def test_an_id_that_is_missing_is_not_clean(ids: list[str | None]) -> None:
    with pytest.raises(NotCleanError):
        Ids().add(pa.array(ids, pa.string()))


@given(
    numbers=st.lists(
        st.one_of(*(st.integers(10**power, 10 ** (power + 1)) for power in range(9, 19))), min_size=1, max_size=3
    )
)
def test_counts_since_1970_are_known_without_a_look_at_each_number(numbers: list[int]) -> None:
    values = np.array(numbers, dtype=np.float64)
    slow = numeric_times(np.append(values, np.nan))  # a missing one makes it look at each number
    fast = numeric_times(values)
    assert fast.way == slow.way
    assert (fast.clash is None) == (slow.clash is None)
    np.testing.assert_array_equal(fast.values, slow.values[:-1])


ROWS = [("b", "10", "1000000003"), ("a", "9", "1000000001"), ("b", "9", "1000000002"), ("c", "10", "1000000001")] * 3
Write = Callable[[Path], tuple[Path, Columns]]


def write_atomic(folder: Path) -> tuple[Path, Columns]:
    return written(folder / "f.inter", "user_id:token\titem_id:token\ttimestamp:float", "\t"), Columns()


def write_csv(folder: Path) -> tuple[Path, Columns]:
    return written(folder / "f.csv", "user,item,time", ","), Columns()


def write_quoted(folder: Path) -> tuple[Path, Columns]:
    return written(folder / "f.csv", '"user","item","time"', ",", '"'), Columns()


def write_separated(folder: Path) -> tuple[Path, Columns]:
    return written(folder / "f.csv", "user::item::time", "::"), Columns(separator="::")


def write_blanks(folder: Path) -> tuple[Path, Columns]:
    return written(folder / "f.csv", "user item time", "  "), Columns(separator="whitespace")


def write_headless(folder: Path) -> tuple[Path, Columns]:
    return written(folder / "f.csv", None, ","), Columns(user="1", item="2", timestamp="3", header="none")


def write_utf_16(folder: Path) -> tuple[Path, Columns]:
    path, _ = write_csv(folder)
    path.write_bytes(path.read_text().encode("utf-16"))
    return path, Columns(encoding="utf-16")


def write_compressed(folder: Path) -> tuple[Path, Columns]:
    path, columns = write_csv(folder)
    path.write_bytes(gzip.compress(path.read_bytes()))
    return path, columns


def write_parquet(folder: Path) -> tuple[Path, Columns]:
    parquet.write_table(as_table(ROWS), folder / "f.parquet", row_group_size=5)
    return folder / "f.parquet", Columns()


def write_parts(folder: Path) -> tuple[Path, Columns]:
    (folder / "f").mkdir()
    for part, start in enumerate(range(0, len(ROWS), 5)):
        parquet.write_table(as_table(ROWS[start : start + 5], typed=part % 2 > 0), folder / "f" / f"{part}.parquet")
    return folder / "f", Columns()


def written(path: Path, header: str | None, separator: str, quote: str = "") -> Path:
    lines = [separator.join(f"{quote}{each}{quote}" for each in row) for row in ROWS]
    path.write_text("".join(f"{line}\n" for line in ([header] if header else []) + lines))
    return path


def as_table(rows: Sequence[tuple[str, str, str]], *, typed: bool = True) -> pa.Table:
    users, items, times = zip(*rows, strict=True)
    of_items = pa.array(list(map(int, items)), pa.int32() if typed else pa.int64())
    of_users = pa.array(users).dictionary_encode()
    return pa.table({"user": of_users, "item": of_items, "time": pa.array(list(map(int, times)), pa.int64())})


FORMATS: dict[str, list[Write]] = {
    "atomic": [write_atomic],
    "csv": [
        *(write_csv, write_quoted, write_separated, write_blanks, write_headless, write_utf_16, write_compressed),
    ],
    "parquet": [write_parquet, write_parts],
}
CASES = [pytest.param(form, write, id=write.__name__) for form, writes in FORMATS.items() for write in writes]


@pytest.mark.parametrize(("form", "write"), CASES)
def test_a_clean_file_is_read_on_the_fast_path(
    form: str, write: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, columns = write(tmp_path)

    def read() -> Interactions:
        return find_reader(form).load()(path, columns, ["timestamp"], BadLines(path))

    for module in (atomic, csv_files, parquet_files):
        monkeypatch.setattr(module, "read_clean", lambda *_: None)
    careful = described(read())
    for module in (atomic, csv_files, parquet_files):
        monkeypatch.setattr(module, "read_clean", read_clean)
        for slow in ("read_delimited", "read_layout"):
            monkeypatch.delattr(module, slow, raising=False)
    fast = read()
    assert described(fast) == careful
    users, items = (names for _, names in of_ids(fast))
    assert (users, items) == (["b", "a", "c"], ["10", "9"])
    assert fast.timestamps is not None
    assert fast.timestamps.tolist() == [float(time) for _, _, time in ROWS]


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("a,9", "3 fields expected, 2 found"),
        (",9,5", "no user"),
        ("a,,5", "no item"),
        ("a,9,soon", "time 'soon' is not a number"),
        ("a,9,", "time '' is not a number"),
        ('"a,9,5', "the quote opened here is not closed"),
    ],
)
def test_what_does_not_fit_is_reported_with_its_line(line: str, reason: str, tmp_path: Path) -> None:
    path, columns = write_csv(tmp_path)
    path.write_text(f"{path.read_text()}{line}\n")
    read = find_reader("csv").load()
    with pytest.raises(DataError) as caught:
        read(path, columns, [], BadLines(path))
    assert caught.value.message == f"{path}, line {len(ROWS) + 2}: {reason}"
    bad_lines = BadLines(path, "skip")
    assert len(read(path, columns, [], bad_lines)) == len(ROWS)
    assert bad_lines.count == 1


def test_a_given_name_that_is_also_a_value_is_refused(tmp_path: Path) -> None:
    path = written(tmp_path / "f.csv", "c,item,time", ",")
    with pytest.raises(DataError, match="'c' is also in a row below"):
        find_reader("csv").load()(path, Columns(user="c"), [], BadLines(path))


def test_memory_does_not_depend_on_the_text(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(delimited, "_SIZE", 1 << 16)
    path = tmp_path / "f.csv"
    long = "x" * 2000
    path.write_text("user,item,time\n" + "".join(f"{long}{row % 7},{row % 5},{row}\n" for row in range(20_000)))
    most, before = 0, pa.total_allocated_bytes()

    def watched() -> Iterator[pa.Table]:
        nonlocal most
        for chunk in delimited.delimited_chunks(path, delimited.Dialect(",", quotes=True), NAMES[:3], NAMES[:3]):
            yield chunk
            most = max(most, pa.total_allocated_bytes() - before)

    raw = read_clean(watched(), find_roles(NAMES[:3], Columns(), [], path))
    assert raw is not None
    assert len(raw) == 20_000
    assert most < path.stat().st_size / 20
