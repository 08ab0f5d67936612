"""Quotes in delimited text: those that are not closed never swallow rows."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any, Literal

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from reading import read, triples, write

from actsr_cli.data.readers import delimited, text
from actsr_cli.data.readers.interactions import BadLines
from actsr_cli.data.readers.item_files import read_item_file
from actsr_cli.errors import DataError
from actsr_cli.recommending.reading import read_histories

HEADER = "user,item,time,text\n"
ROWS = [f"u{number % 3},i{number},{1600000000 + number},fine" for number in range(10)]
TEXT = st.text(alphabet='a",\n é', max_size=12)


def lines(*rows: str) -> str:
    return HEADER + "".join(f"{row}\n" for row in rows)


def skipped(path: Path) -> tuple[list[str], list[str]]:
    """The items that are read, and what is said of the lines that are skipped."""
    raw, bad_lines = read(path, "csv", policy="skip")
    return [item for _, item, _ in triples(raw)], [each.partition(", ")[2] for each in bad_lines.examples]


@pytest.mark.parametrize("before", [0, 4, 9])
def test_a_quote_that_is_not_closed_costs_its_own_line(tmp_path: Path, before: int) -> None:
    path = write(tmp_path / "x.csv", lines(*ROWS[:before], 'u9,open,7,"no end', *ROWS[before:]))
    with pytest.raises(DataError) as caught:
        read(path, "csv")
    assert caught.value.message == f"{path}, line {before + 2}: the quote opened here is not closed"
    assert skipped(path) == (
        [f"i{number}" for number in range(10)],
        [f"line {before + 2}: the quote opened here is not closed"],
    )


@pytest.mark.parametrize("quoted", ['"u9",i9', 'u9,"i9"', '"u""9",i9'])
def test_the_line_is_the_one_with_the_quote_not_that_of_the_row(tmp_path: Path, quoted: str) -> None:
    path = write(tmp_path / "x.csv", "more," + lines("fine,u0,i0,1,x", f'"two\nlines",{quoted},2,"open', "x,u1,i1,3,y"))
    items, said = skipped(path)
    assert (items, said) == (["i0", "i1"], ["line 4: the quote opened here is not closed"])


@pytest.mark.parametrize(
    ("first", "second", "reason"),
    [
        ('"open', '"open again', "the quote opened here closes 3 lines below, before other text"),
        ('"open', 'and closed"', "the quote opened here closes 3 lines below, and lines between look like rows"),
        ('"open', '",', "4 fields expected, 5 found, in quotes over 4 lines"),
    ],
)
def test_two_quotes_that_close_each_other(tmp_path: Path, first: str, second: str, reason: str) -> None:
    rows = [*ROWS[:2], f"u0,first,7,{first}", *ROWS[2:4], f"u0,second,8,{second}", *ROWS[4:]]
    path = write(tmp_path / "x.csv", lines(*rows))
    with pytest.raises(DataError) as caught:
        read(path, "csv")
    assert caught.value.message == f"{path}, line 4: {reason}"
    items, said = skipped(path)
    assert said[0] == f"line 4: {reason}"
    assert [item for item in items if item.startswith("i")] == [f"i{number}" for number in range(10)]


def test_text_after_a_closing_quote(tmp_path: Path) -> None:
    path = write(tmp_path / "x.csv", lines(ROWS[0], 'u9,i9,7,"a"b', ROWS[1]))
    assert skipped(path) == (["i0", "i1"], ["line 3: text after a closing quote"])


def test_quotes_that_are_part_of_a_field_stay(tmp_path: Path) -> None:
    path = write(tmp_path / "x.csv", lines('u"1,5" pipe,1,a "b" c', 'u2,"5"" pipe",2,""', 'u3,"a,b",3,"x\n\ny,z,""\n"'))
    assert triples(read(path, "csv")[0]) == [('u"1', '5" pipe', 1.0), ("u2", '5" pipe', 2.0), ("u3", "a,b", 3.0)]


def test_two_quotes_that_close_each_other_in_a_table_without_numbers(tmp_path: Path) -> None:
    path = write(tmp_path / "x.csv", 'user,item\nu1,"x\nu2,y\nu3,z"\nu4,w\n')
    with pytest.raises(DataError, match="line 2: the quote opened here closes 2 lines below, and lines between"):
        read(path, "csv", timestamp="none")


def test_lines_of_a_text_that_have_as_many_commas_as_a_row(tmp_path: Path) -> None:
    path = write(tmp_path / "x.csv", 'user,item,text,time\nu1,i1,"so,\na, b, c, d\nand, cheap, too",1600000000\n')
    assert triples(read(path, "csv")[0]) == [("u1", "i1", 1600000000.0)]


def test_quotes_in_other_places_that_read_csv(tmp_path: Path) -> None:
    tabs = write(tmp_path / "x.tsv", lines(*ROWS[:2], 'u9,i9,7,"open', *ROWS[2:]).replace(",", "\t"))
    with pytest.raises(DataError, match="line 4: the quote opened here is not closed"):
        list(read_histories(tabs))
    header = write(tmp_path / "y.csv", 'user,"item,time\nu,i,1\n')
    with pytest.raises(DataError, match="line 1: the quote opened here is not closed"):
        read(header, "csv")
    titles = write(tmp_path / "titles.csv", 'id,title\n1,"Up, up"\n2,Alien\n3,"Heat\n')
    bad_lines = BadLines(titles, "skip")
    assert read_item_file(titles, bad_lines).titles == {"1": "Up, up", "2": "Alien"}
    assert bad_lines.examples == [f"{titles}, line 4: the quote opened here is not closed"]


@pytest.fixture
def small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Rows go on over many blocks."""
    monkeypatch.setattr(delimited, "_SIZE", 7)
    monkeypatch.setattr(text.text_blocks, "__defaults__", (None, 7))


FIXTURES_STAY = settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])


FIELD = TEXT.filter(lambda text: "\n" not in text or "," not in text)
"""Lines within quotes that look like rows are refused, see above."""


@pytest.mark.usefixtures("small_blocks")
@FIXTURES_STAY
@given(
    rows=st.lists(st.tuples(FIELD.filter(bool), FIELD.filter(bool), st.integers(0, 99), FIELD), min_size=1, max_size=6),
    quoting=st.sampled_from([csv.QUOTE_MINIMAL, csv.QUOTE_ALL]),
    end=st.sampled_from(["\n", "\r\n"]),
    header=st.booleans(),
)
def test_what_python_writes_is_read(
    tmp_path: Path, rows: list[tuple[str, str, int, str]], quoting: Literal[0, 1], end: str, header: bool
) -> None:
    path = tmp_path / "x.csv"
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, quoting=quoting, lineterminator=end)
        writer.writerows([("user", "item", "time", "a\nb"), *rows] if header else rows)
    columns: dict[str, Any] = {} if header else {"header": "none", "user": "1", "item": "2", "timestamp": "3"}
    assert triples(read(path, "csv", **columns)[0]) == [(user, item, float(time)) for user, item, time, _ in rows]


@pytest.mark.usefixtures("small_blocks")
@FIXTURES_STAY
@given(texts=st.lists(TEXT, min_size=1, max_size=6), place=st.integers(0, 6))
def test_a_lone_quote_among_good_rows_loses_no_other_row(tmp_path: Path, texts: list[str], place: int) -> None:
    place = min(place, len(texts))
    rows = [(f"u{number}", f"i{number}", str(number), each) for number, each in enumerate(texts)]
    path = tmp_path / "x.csv"
    with path.open("w", newline="", encoding="utf-8") as file:
        file.write(HEADER)
        writer = csv.writer(file, quoting=csv.QUOTE_ALL, lineterminator="\n")
        writer.writerows(rows[:place])
        file.write('u,open,7,"no end\n')
        writer.writerows(rows[place:])
    place_of_quote = 2 + sum(1 + each.count("\n") for each in texts[:place])
    items, said = skipped(path)
    assert [item for item in items if item != "open"] == [f"i{number}" for number in range(len(texts))]
    assert said[0].startswith(f"line {place_of_quote}: the quote opened here")


def test_many_quotes_that_are_not_closed_take_time_in_proportion(tmp_path: Path) -> None:
    rows = ['u1,i1,1,"open' if number % 2 else f"u1,i1,{number},{'fine ' * 20}" for number in range(20_000)]
    path = write(tmp_path / "x.csv", lines(*rows, "u1,i1,1,end"))
    raw, bad_lines = read(path, "csv", policy="skip")
    assert (len(raw), bad_lines.count) == (10_001, 10_000)
