"""Histories from files of every format, and what is refused."""

from __future__ import annotations

import gzip
import io
import json
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as parquet
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from actsr_cli.data.readers import Columns
from actsr_cli.errors import ActsrError, ConfigError, DataError
from actsr_cli.recommending import reading
from actsr_cli.recommending.histories import RawHistories
from actsr_cli.recommending.reading import STDIN, history_formats, read_histories, read_ids

Rows = list[tuple[str, list[str], list[float] | None]]


def rows_of(chunks: list[RawHistories]) -> Rows:
    """User, items and times of each history of some chunks."""
    found: Rows = []
    for chunk in chunks:
        times = [None] * len(chunk) if chunk.timestamps is None else [each.tolist() for each in chunk.timestamps]
        found += list(zip(chunk.users, map(list, chunk.items), times, strict=True))
    return found


def read(path: Path, name: str | None = None, **columns: str) -> Rows:
    return rows_of(list(read_histories(path, name, Columns(**columns))))


@pytest.fixture
def lines(tmp_path: Path) -> Any:
    """Writes a file of JSON lines."""

    def write(text: str | bytes, name: str = "new.jsonl") -> Path:
        (tmp_path / name).write_bytes(text.encode() if isinstance(text, str) else text)
        return tmp_path / name

    return write


def table(path: Path, **columns: Any) -> Path:
    parquet.write_table(pa.table(columns), path)
    return path


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ('["a", "b"]\n[5]\n[]', [("1", ["a", "b"], None), ("2", ["5"], None), ("3", [], None)]),
        ('["a"]\r\n\r\n  \r\n["b"]\r\n', [("1", ["a"], None), ("2", ["b"], None)]),
        ('\ufeff["a"]', [("1", ["a"], None)]),
        ('["\\u00e9 \\ud83d\\ude00", "é"]', [("1", ["é 😀", "é"], None)]),
        ('{"items": ["a"]}', [("1", ["a"], None)]),
        ('{"items": ["a"], "user": null, "timestamps": null}', [("1", ["a"], None)]),
        ('{"user": "x", "items": ["a"]}\n{"items": [], "user": 7}', [("x", ["a"], None), ("7", [], None)]),
        ('{"user": "x", "items": ["a"]}\n{"user": "x", "items": ["b"]}', [("x", ["a"], None), ("x", ["b"], None)]),
        (
            '{"timestamps": [1, 2.5], "items": ["a", "b"]}\n{"items": [], "timestamps": []}',
            [("1", ["a", "b"], [1, 2.5]), ("2", [], [])],
        ),
        ('{"items": ["a", "b"], "timestamps": ["1970-01-02", "1970-01-02"]}', [("1", ["a", "b"], [86_400, 86_400])]),
        ("", []),
        ("\n \n", []),
    ],
)
def test_json_lines(lines: Any, text: str, wanted: Rows) -> None:
    assert read(lines(text)) == wanted
    assert read(lines(gzip.compress(text.encode()), "new.jsonl.gz")) == wanted
    assert read(lines(text, "new.anything"), "jsonl") == wanted


def test_strangers_and_users(lines: Any) -> None:
    (numbered,) = read_histories(lines('["a"]'))
    (named,) = read_histories(lines('{"user": "1", "items": ["a"]}'))
    assert numbered.strangers and not named.strangers and list(numbered.users) == list(named.users) == ["1"]


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ('["a"', "not JSON (Expecting ',' delimiter"),
        ("a b c", "not JSON ("),
        ("[" * 100_000, "not JSON ("),
        ("[1" + "0" * 5000 + "]", "not JSON ("),
        ("5", "no list of items"),
        ("null", "no list of items"),
        ('"a"', "no list of items"),
        ('{"user": "x"}', "no list of items"),
        ('{"items": "a"}', "no list of items"),
        ('{"items": {"a": 1}}', "no list of items"),
        ('{"items": ["a"], "usr": 1}', "unknown key 'usr'; did you mean 'user'?"),
        ('{"items": ["a"], "Items": 1}', "unknown key 'Items'"),
        ('["a", 1.5]', "item ids are texts or whole numbers, not 1.5"),
        ('["a", null]', "item ids are texts or whole numbers, not None"),
        ("[true]", "item ids are texts or whole numbers, not True"),
        ("[NaN]", "item ids are texts or whole numbers, not nan"),
        ('[["a"]]', "item ids are texts or whole numbers, not ['a']"),
        ('["\\ud800"]', "a text holds half of a character"),
        ('{"items": [], "user": "\\uDFFF"}', "a text holds half of a character"),
        ('{"items": ["a"], "user": 1.5}', "user ids are texts or whole numbers, not 1.5"),
        ('{"items": ["a"], "user": ["x"]}', "user ids are texts or whole numbers, not ['x']"),
        ('{"items": ["a"], "timestamps": "5"}', "timestamps are not a list"),
        ('{"items": ["a"], "timestamps": []}', "the history has 0 timestamps for 1 items"),
        ('{"items": ["a"], "timestamps": [1, 2]}', "the history has 2 timestamps for 1 items"),
        ('{"items": ["a", "b"], "timestamps": [2, 1]}', "the timestamp of item 2 is before that of item 1"),
        ('{"items": ["a"], "timestamps": [true]}', "True is not a timestamp"),
        ('{"items": ["a"], "timestamps": [null]}', "None is not a timestamp"),
        ('{"items": ["a"], "timestamps": [[1]]}', "[1] is not a timestamp"),
        ('{"items": ["a"], "timestamps": [{}]}', "{} is not a timestamp"),
        ('{"items": ["a"], "timestamps": [1e400]}', "inf is not a timestamp"),
        ('{"items": ["a"], "timestamps": [NaN]}', "nan is not a timestamp"),
        ('{"items": ["a"], "timestamps": ["soon"]}', "'soon' is not a timestamp"),
    ],
)
def test_json_lines_refused(lines: Any, line: str, message: str) -> None:
    path = lines(f'["a"]\n\n{line}\n["b"]')
    with pytest.raises(DataError) as caught:
        read(path)
    assert str(caught.value).startswith(f"{path}, line 3: ") and message in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "second",
    ['{"items": ["a"]}', '["a"]', '{"items": [], "user": "x", "timestamps": []}', '{"items": [], "user": null}'],
)
@pytest.mark.parametrize("chunk", [1, 4096])
def test_mixed_keys(lines: Any, monkeypatch: pytest.MonkeyPatch, second: str, chunk: int) -> None:
    monkeypatch.setattr(reading, "_CHUNK", chunk)
    path = lines('{"items": ["a"], "user": "x"}\n' + second)
    with pytest.raises(DataError, match="history 2 has other keys than the histories before it") as caught:
        read(path)
    assert str(path) in str(caught.value)


def test_text_that_is_no_utf8(lines: Any) -> None:
    with pytest.raises(DataError, match="line 2: not UTF-8"):
        read(lines(b'["a"]\n["\xff"]'))
    broken = gzip.compress(('["abc"]\n' * 5000).encode())[:-9]
    with pytest.raises(DataError, match="broken gzip"):
        read(lines(broken, "new.jsonl.gz"))


@given(
    st.lists(
        st.tuples(st.text(max_size=3), st.lists(st.text(max_size=3) | st.integers(), max_size=5)),
        min_size=0,
        max_size=9,
    ),
    st.integers(1, 5),
    st.booleans(),
)
@settings(max_examples=20, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_json_lines(tmp_path: Path, histories: list[tuple[str, list[str | int]]], chunk: int, ascii: bool) -> None:  # noqa: A002
    """Chunks of any size give the same histories, whatever the texts hold."""
    path = tmp_path / "any.jsonl"
    written = [json.dumps({"user": user, "items": items}, ensure_ascii=ascii) for user, items in histories]
    path.write_text("".join(f"{line}\n" for line in written), encoding="utf-8", newline="")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(reading, "_CHUNK", chunk)
        chunks = list(read_histories(path))
    assert rows_of(chunks) == [(user, list(map(str, items)), None) for user, items in histories]
    assert [len(each) for each in chunks[:-1]] == [chunk] * (len(chunks) - 1)


TABLE = {"user_id": ["b", "a", "b", "b"], "item_id": ["x", "y", "z", "w"], "timestamp": [7, 1, 5, 7]}
IN_ORDER: Rows = [("b", ["z", "x", "w"], [5, 7, 7]), ("a", ["y"], [1])]
AS_WRITTEN: Rows = [("b", ["x", "z", "w"], None), ("a", ["y"], None)]


@pytest.mark.parametrize("chunk", [1, 2, 4096])
def test_tables(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, chunk: int) -> None:
    monkeypatch.setattr(reading, "_CHUNK", chunk)
    frame = pd.DataFrame(TABLE)
    frame.to_csv(tmp_path / "t.csv", index=False)
    frame.to_csv(tmp_path / "t.tsv", index=False, sep="\t")
    frame.to_csv(tmp_path / "semicolon.csv", index=False, sep=";")
    frame.to_csv(tmp_path / "t.csv.gz", index=False)
    frame.to_parquet(tmp_path / "t.parquet")
    named = {"user_id": "user_id:token", "item_id": "item_id:token", "timestamp": "timestamp:float"}
    frame.rename(columns=named).to_csv(tmp_path / "t.inter", index=False, sep="\t")
    (tmp_path / "t.txt").write_text("b x z w\na y\n")
    for name in ("t.csv", "t.tsv", "t.parquet", "t.inter"):
        assert read(tmp_path / name) == IN_ORDER
        assert read(tmp_path / name, timestamp="none") == AS_WRITTEN
    assert read(tmp_path / "t.csv.gz", "csv") == IN_ORDER
    assert read(tmp_path / "semicolon.csv", separator=";") == IN_ORDER
    assert read(tmp_path / "t.txt") == AS_WRITTEN
    frame.rename(columns={"user_id": "who", "item_id": "what", "timestamp": "when"}).to_parquet(tmp_path / "o.parquet")
    assert read(tmp_path / "o.parquet", user="who", item="what", timestamp="when") == IN_ORDER
    assert not any(each.strangers for each in read_histories(tmp_path / "t.csv"))


@pytest.mark.parametrize("chunk", [1, 2, 4096])
def test_lists_in_parquet(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, chunk: int) -> None:
    monkeypatch.setattr(reading, "_CHUNK", chunk)
    path, lists = tmp_path / "l.parquet", [["a", "b"], [], None]
    unnamed = [("1", ["a", "b"], None), ("2", [], None), ("3", [], None)]
    assert read(table(path, items=lists)) == unnamed
    assert all(each.strangers for each in read_histories(path))
    assert read(table(path, item_id=lists, extra=[1, 2, 3])) == unnamed
    assert read(table(path, h=lists), item="h") == unnamed
    named = [("x", ["a", "b"], None), ("y", [], None), ("z", [], None)]
    assert read(table(path, items=lists, user=["x", "y", "z"])) == named
    assert not any(each.strangers for each in read_histories(path))
    timed = table(path, item_id=[[1, 2], []], user_id=[4, 5], timestamps=[[1, 2], None])
    assert read(timed) == [("4", ["1", "2"], [1, 2]), ("5", [], [])]
    assert read(timed, timestamp="none") == [("4", ["1", "2"], None), ("5", [], None)]
    kinds = [
        pa.large_list(pa.large_string()),
        pa.list_(pa.string(), 2),
        pa.list_(pa.dictionary(pa.int8(), pa.string())),
    ]
    for kind in kinds[:2]:
        assert read(table(path, items=pa.array([["a", "b"]], kind))) == [("1", ["a", "b"], None)]
    moments = pa.array([[1000]], pa.list_(pa.timestamp("s")))
    assert read(table(path, items=[["a"]], timestamps=moments)) == [("1", ["a"], [1000])]


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"items": [["a"], ["a", None]]}, "row 2: item ids are texts or whole numbers, not None"),
        ({"items": [["a"], ["b"]], "user": ["x", None]}, "row 2: user ids are texts or whole numbers, not None"),
        ({"items": [[1], [2]], "user": [0.5, 1.5]}, "row 1: user ids are texts or whole numbers, not 0.5"),
        ({"items": [[1.5]]}, "row 1: item ids are texts or whole numbers, not 1.5"),
        ({"items": [["a"]], "users": [["b"]]}, "row 1: user ids are texts or whole numbers, not ['b']"),
        ({"items": [["a"], ["b"]], "timestamps": [[1], None]}, "row 2: the history has 0 timestamps for 1 items"),
        ({"items": [["a", "b"]], "timestamps": [[2, 1]]}, "row 1: the history: the timestamp of item 2 is before"),
        ({"items": [["a"]], "timestamp": [1]}, "the column 'items' holds lists, and the column 'timestamp' does not"),
    ],
)
def test_lists_in_parquet_refused(tmp_path: Path, columns: dict[str, Any], message: str) -> None:
    path = table(tmp_path / "l.parquet", **columns)
    with pytest.raises(DataError) as caught:
        read(path)
    assert message in str(caught.value) and str(path) in str(caught.value) and "\n" not in str(caught.value)


def test_damaged_parquet(tmp_path: Path) -> None:
    path = tmp_path / "d.parquet"
    path.write_bytes(b"PAR1 nothing PAR1")
    with pytest.raises(DataError, match="not a readable Parquet file"):
        read(path)
    whole = table(path, items=[[f"item {number}" for number in range(500)]] * 200).read_bytes()
    for start in (4, 200, 1500):
        path.write_bytes(whole[:start] + b"\xff" * 300 + whole[start + 300 :])
        with pytest.raises(DataError) as caught:
            read(path)
        assert "\n" not in str(caught.value) and str(path) in str(caught.value)


def test_tables_refused(lines: Any) -> None:
    with pytest.raises(DataError, match="line 3: no item") as caught:
        read(lines("user_id,item_id,timestamp\nu,b,2\nv,,1\n", "t.csv"))
    assert "--on-bad-line" not in str(caught.value.hint)  # no option of this command
    for text, message in (
        ("a,b\n1,2\n", "no column for the user; it has: a, b"),
        ("user_id,item_id\n1,2\n", "no column of timestamps"),
        ("user_id,item_id,timestamp\n", "holds no interactions"),
        ("user_id,item_id,timestamp\nu,b,soon\n", "line 2: timestamp 'soon' is not a number"),
    ):
        with pytest.raises(DataError, match=message):
            read(lines(text, "t.csv"))
    with pytest.raises(DataError, match="no column 'x' for the item"):
        read(lines("user_id,item_id,timestamp\nu,b,1\n", "t.csv"), item="x")


def test_formats(lines: Any, tmp_path: Path) -> None:
    assert history_formats()[0] == "jsonl" and {"csv", "parquet", "atomic", "sequences"} <= set(history_formats())
    with pytest.raises(DataError, match=r"cannot recognise the format of new\.foo") as caught:
        read(lines('["a"]', "new.foo"))
    assert "jsonl|" in str(caught.value.hint)
    with pytest.raises(DataError, match="unknown format 'jsnl'; did you mean 'jsonl'"):
        read(lines('["a"]'), "jsnl")
    for path in (tmp_path / "no.jsonl", tmp_path / "no.csv", tmp_path / "no.foo", tmp_path):
        with pytest.raises(DataError, match=f"no file {path}"):
            read(path)


def test_options_that_a_format_does_not_take(lines: Any, tmp_path: Path) -> None:
    lists = table(tmp_path / "l.parquet", items=[["a"]])
    for path, columns, option in (
        (lines('["a"]'), {"user": "x"}, "--user-column"),
        (lines('["a"]'), {"timestamp": "none"}, "--timestamp-column"),
        (lines("u a b\n", "s.txt"), {"item": "x"}, "--item-column"),
        (lists, {"separator": ";"}, "--separator"),
    ):
        with pytest.raises(ConfigError, match=option):
            read(path, **columns)


def test_standard_input(monkeypatch: pytest.MonkeyPatch) -> None:
    def enter(text: bytes) -> None:
        monkeypatch.setattr("sys.stdin", SimpleNamespace(buffer=io.BytesIO(text)))

    enter(b'["a"]\n\n{"items": ["b"]}\n')
    assert read(STDIN) == [("1", ["a"], None), ("2", ["b"], None)]
    for name, text in (("csv", b"user_id,item_id,timestamp\nb,x,2\nb,y,1\n"), ("sequences", b"b y x\n")):
        enter(text)
        assert [(user, items) for user, items, _ in read(STDIN, name)] == [("b", ["y", "x"])]
    buffer = io.BytesIO()
    pd.DataFrame(TABLE).to_parquet(buffer)
    enter(buffer.getvalue())
    assert read(STDIN, "parquet") == IN_ORDER
    for kind, text, message in (
        (None, b'["a"]\n[', "standard input, line 2: not JSON"),
        ("csv", b"user_id,item_id,timestamp\nb,,2\n", "standard input, line 2: no item"),
        ("parquet", b"x", "standard input is not a readable Parquet file"),
    ):
        enter(text)
        with pytest.raises(ActsrError) as caught:
            read(STDIN, kind)
        assert str(caught.value).startswith(message)


def test_json_lines_are_not_read_whole(lines: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """The first histories come before an error further down."""
    monkeypatch.setattr(reading, "_CHUNK", 2)
    chunks = read_histories(lines('["a"]\n["b"]\n["c"]\nnonsense'))
    assert [list(each) for each in next(chunks).items] == [["a"], ["b"]]
    with pytest.raises(DataError, match="line 4"):
        next(chunks)


def test_times_in_json_lines_are_read_fast(lines: Any) -> None:
    line = json.dumps({"items": list(map(str, range(20))), "timestamps": list(range(20))})
    start = time.perf_counter()
    assert len(read(lines(f"{line}\n" * 3000))) == 3000
    assert time.perf_counter() - start < 2


def test_ids(tmp_path: Path) -> None:
    path = tmp_path / "ids.txt"
    path.write_bytes("\ufeffa\r\n\r\n  b c \nd".encode())
    assert read_ids(path) == ["a", "b c", "d"]
    path.write_text(" a\n b \n  c\nd\n")
    assert read_ids(path, [" a", "a", "b", " c"]) == [" a", "b", "c", "d"]
    (tmp_path / "ids.txt.gz").write_bytes(gzip.compress(b"a\n"))
    assert read_ids(tmp_path / "ids.txt.gz") == ["a"]
    path.write_text("\n \n")
    with pytest.raises(DataError, match="holds no ids"):
        read_ids(path)
    for missing in (tmp_path, tmp_path / "none"):
        with pytest.raises(DataError, match="no file"):
            read_ids(missing)


def test_numpy_ids_are_texts(tmp_path: Path) -> None:
    path = table(tmp_path / "l.parquet", items=pa.array([np.array([1, 2], dtype=np.int16)]))
    assert read(path) == [("1", ["1", "2"], None)]
