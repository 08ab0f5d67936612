"""Tables whose rows hold lists of items: session files, JSON lists and Parquet lists."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from reading import read, triples, write

from actsr_cli.config import DataConfig
from actsr_cli.data.prepare import prepare
from actsr_cli.data.readers import Columns
from actsr_cli.data.sources import find_source, source_from_file
from actsr_cli.errors import DataError

HEADER = "session_id:token\titem_id_list:token_seq\titem_id:token\n"
SESSIONS = HEADER + "s1\ta b\tc\ns2\tb\ta\ns3\td  e a\tb\n"
EXPANDED = [("s1", "a"), ("s1", "b"), ("s1", "c"), ("s2", "b"), ("s2", "a")]
EXPANDED += [("s3", "d"), ("s3", "e"), ("s3", "a"), ("s3", "b")]


def pairs(path: Path, format_name: str, **columns: str) -> list[tuple[str, str]]:
    raw, _ = read(path, format_name, wanted=(), policy="error", **columns)
    assert raw.timestamps is None and raw.from_lists
    return [(user, item) for user, item, _ in triples(raw)]


def test_a_session_file_is_expanded(tmp_path: Path) -> None:
    path = write(tmp_path / "s.inter", SESSIONS)
    assert pairs(path, "atomic") == EXPANDED
    assert pairs(path, "atomic", user="session_id", timestamp="none") == EXPANDED
    data = prepare(source_from_file(tmp_path / "data", "s", path, None, Columns()), DataConfig()).data
    assert data.n_users == 3 and data.n_items == 5 and data.n_interactions == 9


def test_lists_alone_and_under_other_names(tmp_path: Path) -> None:
    path = write(tmp_path / "s.inter", "who:token\tclicks:token_seq\tx:float\ns1\ta b\t1\ns2\tb\t2\n")
    assert pairs(path, "atomic", user="who", item="clicks") == [("s1", "a"), ("s1", "b"), ("s2", "b")]
    path = write(tmp_path / "t.inter", "user_id:token\titem_id_list:token_seq\ns1\ta b\ns2\tb\n")
    assert pairs(path, "atomic") == [("s1", "a"), ("s1", "b"), ("s2", "b")]


def test_items_and_lists_of_items_beside_each_other_are_ambiguous(tmp_path: Path) -> None:
    header = "user_id:token\titem_seq:token_seq\titem_id:token\ttags:token_seq\ttimestamp:float\n"
    path = write(tmp_path / "s.inter", header + "u\ta b\tc\tx y\t1\nv\ta\tb\tx\t2\n")
    with pytest.raises(DataError, match="items in the column 'item_id' and lists in the column 'item_seq'") as caught:
        read(path, "atomic")
    assert "--item-column item_id, or --item-column item_seq" in str(caught.value.hint)
    assert triples(read(path, "atomic", item="item_id")[0]) == [("u", "c", 1.0), ("v", "b", 2.0)]
    assert triples(read(path, "atomic", item="item_seq")[0]) == [("u", "a", 1.0), ("u", "b", 1.0), ("v", "a", 2.0)]


def test_what_a_row_says_holds_for_all_its_items(tmp_path: Path) -> None:
    text = HEADER.replace("\n", "\ttimestamp:float\trating:float\n") + "s1\ta b\tc\t7\t2\ns2\tb\ta\t5\t3\n"
    raw, _ = read(write(tmp_path / "s.inter", text), "atomic", wanted=("rating",))
    assert triples(raw) == [("s1", "a", 7.0), ("s1", "b", 7.0), ("s1", "c", 7.0), ("s2", "b", 5.0), ("s2", "a", 5.0)]
    assert raw.column("rating").tolist() == [2, 2, 2, 3, 3]


def test_times_of_each_item(tmp_path: Path) -> None:
    header = "user_id:token\titem_id_list:token_seq\ttimestamp_list:float_seq\n"
    path = write(tmp_path / "s.inter", header + "u\ta b\t3 4\nv\tb c\t3\nw\tc\tx\nx\tc\t9\n")
    with pytest.raises(DataError, match="line 3: 2 items, but 1 time"):
        read(path, "atomic")
    raw, bad_lines = read(path, "atomic", policy="skip")
    assert triples(raw) == [("u", "a", 3.0), ("u", "b", 4.0), ("x", "c", 9.0)]
    assert bad_lines.count == 2 and "line 4: timestamp_list 'x'" in bad_lines.examples[1]
    assert triples(read(path, "atomic", timestamp="none")[0])[0] == ("u", "a", None)


@pytest.mark.parametrize("row", ["s9\t\t\n", "s9\ta b\t\n", "\ta b\tc\n"])
def test_a_row_without_user_or_item_is_malformed(tmp_path: Path, row: str) -> None:
    path = write(tmp_path / "s.inter", SESSIONS.replace("s2", row + "s2"))
    with pytest.raises(DataError, match=r"line 3: no (user|item)"):
        read(path, "atomic")
    raw, bad_lines = read(path, "atomic", policy="skip")
    assert [(user, item) for user, item, _ in triples(raw)] == EXPANDED and bad_lines.count >= 1


def test_a_first_item_has_no_list_before_it(tmp_path: Path) -> None:
    assert pairs(write(tmp_path / "s.inter", HEADER + "s1\t\ta\ns2\tb c\td\n"), "atomic")[0] == ("s1", "a")


def test_a_session_with_several_rows_is_refused(tmp_path: Path) -> None:
    path = write(tmp_path / "s.inter", HEADER + "s1\ta b\tc\ns2\tb\tx\ns1\ta\tb\n")
    with pytest.raises(DataError, match=r"s\.inter, line 4: 's1' has another row of items before") as caught:
        read(path, "atomic", policy="skip")
    assert "keep the longest" in str(caught.value.hint)


@pytest.mark.parametrize("falling", [True, False])
def test_a_row_for_each_beginning_is_refused(tmp_path: Path, falling: bool) -> None:
    rows = []
    for session in ("abcde", "bcadf", "cfeab"):
        beginnings = [session[: end + 1] for end in range(1, len(session))]
        rows += beginnings[::-1] if falling else beginnings
    text = "".join(f"{number}\t{' '.join(row[:-1])}\t{row[-1]}\n" for number, row in enumerate(rows))
    with pytest.raises(DataError, match="has a row for each beginning of a session"):
        read(write(tmp_path / "s.inter", HEADER + text), "atomic")
    longest = [row for row in rows if len(row) == 5]
    text = "".join(f"{number}\t{' '.join(row[:-1])}\t{row[-1]}\n" for number, row in enumerate(longest))
    assert len(pairs(write(tmp_path / "s.inter", HEADER + text), "atomic")) == 15


def test_a_split_of_lists_is_refused(tmp_path: Path) -> None:
    (tmp_path / "s").mkdir()
    for part in ("train", "valid", "test"):
        write(tmp_path / "s" / f"s.{part}.inter", SESSIONS)
    with pytest.raises(DataError, match=r"s\.train\.inter is one of three files of a split, .* lists") as caught:
        prepare(find_source(tmp_path, "s"), DataConfig())
    assert "s.inter" in str(caught.value.hint)


def write_json(path: Path, rows: dict[str, list[Any]]) -> None:
    path.write_text("".join(json.dumps(row) + "\n" for row in pd.DataFrame(rows).to_dict("records")))


def write_parquet(path: Path, rows: dict[str, list[Any]]) -> None:
    pd.DataFrame(rows).to_parquet(path)


@pytest.mark.parametrize(("name", "write_rows"), [("json", write_json), ("parquet", write_parquet)])
def test_lists_of_json_and_parquet(tmp_path: Path, name: str, write_rows: Callable[..., None]) -> None:
    path = tmp_path / f"x.{name}"
    write_rows(path, {"user": ["u", "v"], "items": [[1, 2], [3]], "timestamps": [[7, 8.5], [9]]})
    assert triples(read(path, name)[0]) == [("u", "1", 7.0), ("u", "2", 8.5), ("v", "3", 9.0)]
    write_rows(path, {"session_id": ["u", "v"], "item_id_list": [["a"], ["b", "c"]], "item_id": ["d", "e"]})
    assert pairs(path, name) == [("u", "a"), ("u", "d"), ("v", "b"), ("v", "c"), ("v", "e")]
    write_rows(path, {"user": ["u", "v"], "item": ["a", "b"], "time": [1, 2], "rating": [[1], [2]], "more": [[1], [2]]})
    with pytest.raises(DataError, match="the column 'rating' holds lists") as caught:
        read(path, name)
    assert "--rating-column" in str(caught.value.hint)
    write_rows(path, {"user": [["u"], ["v"]], "item": ["a", "b"], "time": [1, 2]})
    with pytest.raises(DataError, match="the column 'user' holds lists"):
        read(path, name)
    write_rows(path, {"user": ["u", "v"], "item": ["a", "b"], "time": [[1], [2]]})
    with pytest.raises(DataError, match="the column 'time' holds lists"):
        read(path, name)


def test_parquet_lists_of_dates(tmp_path: Path) -> None:
    path = tmp_path / "x.parquet"
    dates = [[pd.Timestamp("1970-01-02"), pd.Timestamp("1970-01-01")], [pd.Timestamp("1970-01-03")]]
    write_parquet(path, {"user": ["u", "v"], "items": [["a", "b"], ["c"]], "date": dates})
    assert triples(read(path, "parquet")[0]) == [("u", "a", 86400.0), ("u", "b", 0.0), ("v", "c", 172800.0)]


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ('{"user": "v", "items": "a"}', "items 'a' is not a list"),
        ('{"user": "v"}', "no list of items"),
        ('{"user": "v", "items": []}', "no item"),
        ('{"user": "v", "items": ["a", 1.5]}', r"items 1\.5 is neither a text nor a whole number"),
        ('{"user": "v", "items": ["a", ["b"]]}', r"items \['b'\] is neither"),
    ],
)
def test_malformed_lists_of_json(tmp_path: Path, line: str, reason: str) -> None:
    path = write(tmp_path / "x.jsonl", f'{{"user": "u", "items": ["a", "b"]}}\n{line}\n')
    with pytest.raises(DataError, match=f"line 2: {reason}"):
        read(path, "json")
    assert len(read(path, "json", policy="skip")[0]) == 2
