"""Tables without header, with other separators, and first rows that are not what they are taken for."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from reading import read, triples, write

from actsr_cli import api
from actsr_cli.data.readers import Columns
from actsr_cli.data.sources import source_from_file
from actsr_cli.errors import ActsrError, DataError
from actsr_cli.recommending.reading import read_histories

ROWS = [("u1", "a", 4, 1600000001), ("u1", "b", 5, 1600000002), ("u2", "a", 3, 1600000003)]
FOUND = [(user, item, float(time)) for user, item, _, time in ROWS]
BY_NUMBER: dict[str, Any] = {"header": "none", "user": "1", "item": "2", "timestamp": "4", "rating": "3"}
SEPARATORS = [",", ";", "\t", "|", "::", "||", " ", "§", "\x01"]


def joined(separator: str, *, end: str = "\n") -> str:
    return "".join(separator.join(map(str, row)) + end for row in ROWS)


@pytest.mark.parametrize("separator", SEPARATORS)
@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_separators_of_any_length_with_header_and_without(tmp_path: Path, separator: str, end: str) -> None:
    path = write(tmp_path / "x", joined(separator, end=end))
    assert triples(read(path, "csv", separator=separator, **BY_NUMBER)[0]) == FOUND
    named = write(tmp_path / "y", separator.join(("user", "item", "rating", "time")) + end + joined(separator, end=end))
    raw, _ = read(named, "csv", separator=separator, wanted=("rating",))
    assert triples(raw) == FOUND and raw.column("rating").tolist() == [4, 5, 3]


def test_white_space(tmp_path: Path) -> None:
    path = write(tmp_path / "x", "  u1 a\t 4   1600000001\t\n\n \t\nu1\tb 5 1600000002\nu2 a 3 1600000003")
    assert triples(read(path, "csv", separator="whitespace", **BY_NUMBER)[0]) == FOUND
    path = write(tmp_path / "x", joined(" ") + "u2 b 3\n")
    with pytest.raises(DataError, match="line 4: 4 fields expected, 3 found"):
        read(path, "csv", separator="whitespace", **BY_NUMBER)


def test_long_separators_have_no_quotes_and_take_control_characters(tmp_path: Path) -> None:
    path = write(tmp_path / "x", 'u1::"a" b\x1f::1\n')
    columns: dict[str, Any] = {"separator": "::", "header": "none", "user": "1", "item": "2", "timestamp": "3"}
    assert triples(read(path, "csv", **columns)[0]) == [("u1", '"a" b\x1f', 1.0)]


@pytest.mark.parametrize("separator", ["", '"', "\n", "a\nb"])
def test_what_is_no_separator(tmp_path: Path, separator: str) -> None:
    with pytest.raises(ActsrError, match="a separator is a text without quotes and ends of lines"):
        read(write(tmp_path / "x.csv", "user,item,time\na,b,1\n"), "csv", separator=separator)


def test_two_columns_are_users_and_items_and_the_order_is_said(tmp_path: Path) -> None:
    path = write(tmp_path / "x.txt", "1 7\n1 3\n2 7\n")
    columns: dict[str, Any] = {"separator": "whitespace", "header": "none"}
    with pytest.raises(DataError, match="no column of timestamps; it has: 1, 2") as caught:
        read(path, "csv", **columns)
    assert "If rows are in order of time: --timestamp-column none." in str(caught.value.hint)
    raw, _ = read(path, "csv", timestamp="none", **columns)
    assert triples(raw) == [("1", "7", None), ("1", "3", None), ("2", "7", None)]
    (chunk,) = read_histories(path, "csv", Columns(timestamp="none", **columns))
    assert list(map(list, chunk.items)) == [["7", "3"], ["7"]]
    prepared = api.prepare(
        "pairs", path, format="csv", columns={"timestamp": "none", **columns}, data_dir=tmp_path / "data"
    )
    assert prepared.report.steps[0].name == "read (user 1, item 2, no times)"


def test_more_columns_are_not_guessed(tmp_path: Path) -> None:
    path = write(tmp_path / "x.csv", joined(","))
    with pytest.raises(DataError, match="no column for the user; it has: 1, 2, 3, 4") as caught:
        read(path, "csv", header="none")
    assert "In the first row 1 is 'u1', 2 is 'a', 3 is '4', 4 is '1600000001'." in str(caught.value.hint)
    with pytest.raises(DataError, match="no column '5' for the item"):
        read(path, "csv", header="none", user="1", item="5")
    with pytest.raises(ActsrError, match="header is 'none' for a file without names of columns, not 'yes'"):
        read(path, "csv", header="yes")


@pytest.mark.parametrize(
    "columns",
    [
        {},
        {"user": "196", "item": "242", "timestamp": "881250949"},
        {"user": "196", "item": "242", "timestamp": "none"},
    ],
)
def test_the_first_row_of_a_table_of_numbers_is_never_eaten(tmp_path: Path, columns: dict[str, Any]) -> None:
    path = write(tmp_path / "x.tsv", "196\t242\t3\t881250949\n186\t302\t3\t891717742\n")
    with pytest.raises(DataError, match="its first row looks like data") as caught:
        read(path, "csv", **columns)
    assert str(caught.value.hint).startswith("Give --no-header, and columns by number")


def test_a_value_that_is_twice_in_the_first_row_is_no_name(tmp_path: Path) -> None:
    path = write(tmp_path / "x.csv", "1,1,5\n1,2,4\n")
    with pytest.raises(DataError, match="'1' is no name of a column but a value"):
        read(path, "csv")


def test_the_first_row_of_a_table_of_texts_is_never_eaten(tmp_path: Path) -> None:
    path = write(tmp_path / "x.csv", "u1,a\nu1,b\nu2,a\n")
    with pytest.raises(DataError, match="no column for the user; it has: u1, a") as caught:
        read(path, "csv")
    assert "If the first row holds data: --no-header." in str(caught.value.hint)
    with pytest.raises(DataError, match="its first row looks like data: 'u1' is also in a row below"):
        read(path, "csv", user="u1", item="a", timestamp="none")


def test_a_header_is_never_read_as_data(tmp_path: Path) -> None:
    for header in ("user_id,item_id,time", "user_id:token,item_id:token,timestamp:float"):
        path = write(tmp_path / "x.csv", f"{header}\nu1,a,1\n")
        with pytest.raises(DataError, match="has a header: user_id"):
            read(path, "csv", header="none", user="1", item="2", timestamp="none")


@pytest.mark.parametrize(
    ("separator", "name", "shown"),
    [
        (";", "semicolons", "';'"),
        ("\t", "tabs", "'\\t'"),
        ("|", "bars", "'|'"),
        ("::", "'::'", "'::'"),
        (" ", "blanks", "whitespace"),
    ],
)
def test_a_wrong_separator_is_recognised(tmp_path: Path, separator: str, name: str, shown: str) -> None:
    for content in (separator.join(("user", "item", "time")) + "\nu,a,1\n", joined(separator)):
        path = write(tmp_path / "x.csv", content)
        with pytest.raises(DataError) as caught:
            read(path, "csv")
        assert caught.value.message == f"{path} has {name} between its fields, not commas"
        assert caught.value.hint == f"Give --separator {shown}"
        assert source_from_file(tmp_path, "x", path, "csv", Columns(separator=separator))


def test_a_wrong_separator_between_quoted_names_is_suspected(tmp_path: Path) -> None:
    path = write(tmp_path / "x.csv", '"user";"item";"time"\n"u";"a";"1"\n')
    with pytest.raises(DataError, match="line 1: text after a closing quote") as caught:
        read(path, "csv")
    assert caught.value.hint == "Correct the first row, or give its --separator if that is not ','."
    assert triples(read(path, "csv", separator=";")[0]) == [("u", "a", 1.0)]


def test_a_name_over_lines_is_one_with_a_blank(tmp_path: Path) -> None:
    path = write(tmp_path / "x.csv", '"the\nuser",item,time\nu1,a,1\n')
    assert triples(read(path, "csv", user="the user")[0]) == [("u1", "a", 1.0)]
    with pytest.raises(DataError, match="no column for the user; it has: the user, item, time"):
        read(path, "csv")


def test_atomic_files_with_commas(tmp_path: Path) -> None:
    path = write(tmp_path / "x.inter", "user_id:token,item_id:token,timestamp:float\nu1,a,1\n")
    with pytest.raises(DataError, match="has commas between its fields, not tabs") as caught:
        read(path, "atomic")
    assert caught.value.hint == "Give --separator ','"
    assert triples(read(path, "atomic", separator=",")[0]) == [("u1", "a", 1.0)]
    with pytest.raises(DataError, match="columns with their types, as in an atomic file") as caught:
        read(path, "csv")
    assert caught.value.hint == "Give --format atomic --separator ','."
    with pytest.raises(DataError, match="no column 'who'") as caught:
        read(path, "atomic", separator=",", user="who")
    assert caught.value.hint is None, "it always has a header"
    plain = write(tmp_path / "y.inter", "user,item,time\nu1,a,1\n")
    with pytest.raises(DataError, match=r"is not an atomic file: .* not 'user'") as caught:
        read(plain, "atomic", separator=",")
    assert "--format csv" in str(caught.value.hint)


@pytest.mark.parametrize(
    ("content", "message", "hint"),
    [
        (
            "1 1\n1 2\n2 1\n2 2\n",
            "but has an interaction per line ('user item')",
            "--no-header --timestamp-column none",
        ),
        ("1\t1\t5\t10\n1\t2\t4\t11\n", "but has an interaction per line (4 fields)", "--user-column 1"),
        ("1 1\n1 a red one\n1 b\n1 c\n", "but has an interaction per line (a table)", "--user-column 1"),
        ("1,1,5\n1,2,4\n", "its first line is '1,1,5'", "--format csv --separator ','"),
        ("1::1::5\n", "its first line is '1::1::5'", "--format csv --separator '::'"),
    ],
)
def test_tables_are_no_sequences(tmp_path: Path, content: str, message: str, hint: str) -> None:
    path = write(tmp_path / "x.txt", content)
    with pytest.raises(DataError) as caught:
        read(path, "sequences", policy="skip")
    assert message in caught.value.message and hint in str(caught.value.hint)
