"""Formats are declared in one place; lists, readers and refused options follow from the declaration."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Collection
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from reading import HEADER, read, triples
from typer.testing import CliRunner

from actsr_cli.app import app
from actsr_cli.config import DataConfig
from actsr_cli.data.prepare import prepare
from actsr_cli.data.readers import Columns, Reader, find_reader, format_names, guess_reader, readers, register, registry
from actsr_cli.data.readers.columns import COLUMN_OPTIONS
from actsr_cli.data.readers.interactions import BadLines, Interactions
from actsr_cli.data.sources import find_source, source_from_file
from actsr_cli.errors import DataError

ROOT = Path(__file__).parents[2]
ROWS = [("u1", "a", 1.0), ("u1", "b", 2.0), ("u2", "a", 3.0)]


def write_atomic(path: Path) -> None:
    path.write_text(HEADER + "".join(f"{user}\t{item}\t5\t{time}\n" for user, item, time in ROWS))


def write_csv(path: Path) -> None:
    path.write_text("user,item,time\n" + "".join(f"{user},{item},{time}\n" for user, item, time in ROWS))


def write_parquet(path: Path) -> None:
    pd.DataFrame(ROWS, columns=["user", "item", "time"]).to_parquet(path)


def write_reviews(path: Path) -> None:
    reviews = ({"reviewerID": user, "asin": item, "unixReviewTime": time} for user, item, time in ROWS)
    path.write_text("".join(json.dumps(review) + "\n" for review in reviews))


def write_sequences(path: Path) -> None:
    path.write_text("u1 a b\nu2 a\n")


SAMPLES: dict[str, Callable[[Path], None]] = {
    "atomic": write_atomic,
    "sequences": write_sequences,
    "csv": write_csv,
    "parquet": write_parquet,
    "json": write_reviews,
}


@pytest.mark.parametrize("reader", readers(), ids=lambda reader: reader.name)
def test_every_format_is_recognised_and_brings_what_it_declares(tmp_path: Path, reader: Reader) -> None:
    path = tmp_path / f"log{reader.suffixes[0]}"
    SAMPLES[reader.name](path)
    assert guess_reader(path) is reader
    raw, _ = read(path, reader.name)
    assert triples(raw) == [(user, item, time if reader.timestamps else None) for user, item, time in ROWS]


@pytest.mark.parametrize("reader", readers(), ids=lambda reader: reader.name)
def test_every_format_takes_the_options_that_it_declares_and_no_other(tmp_path: Path, reader: Reader) -> None:
    path = tmp_path / f"log{reader.suffixes[0]}"
    SAMPLES[reader.name](path)
    for option in COLUMN_OPTIONS:
        columns = Columns(**{option: "x"})
        if option in reader.options:
            assert source_from_file(tmp_path, "shop", path, None, columns).columns == columns
        else:
            with pytest.raises(DataError, match=f"the format {reader.name} has no {option}( column)? to choose"):
                source_from_file(tmp_path, "shop", path, None, columns)


def test_the_longest_suffix_counts() -> None:
    assert guess_reader(Path("x.json.gz")).name == "json"
    assert guess_reader(Path("x.txt.csv")).name == "csv"
    with pytest.raises(DataError, match="cannot recognise the format") as caught:
        guess_reader(Path("csv"))
    assert str(caught.value.hint) == f"Give --format {'|'.join(format_names())}."


def test_the_page_lists_the_formats_as_they_declare_themselves() -> None:
    page = (ROOT / "docs" / "preprocess.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| `([a-z-]+)` \| (.*?) \| (yes|no) \| (.*?) \|", page, re.MULTILINE)
    listed = [(name, tuple(re.findall(r"`(.*?)`", suffixes)), times == "yes") for name, suffixes, times, _ in rows]
    assert listed == [(each.name, each.suffixes, each.timestamps) for each in readers()]
    options = {name: set(re.findall(r"`--(?:no-)?([a-z]+?)(?:-column)?`", text)) for name, _, _, text in rows}
    assert options == {each.name: set(each.options) for each in readers()}


def test_the_command_line_and_its_page_list_every_format() -> None:
    result = CliRunner().invoke(app, ["preprocess", "--help"], env={"COLUMNS": "300"})
    assert f"{', '.join(format_names()[:-1])} or {format_names()[-1]}" in result.stdout
    row = next(
        line
        for line in (ROOT / "docs/commands.md").read_text(encoding="utf-8").splitlines()
        if "`actsr preprocess" in line
    )
    assert all(name.replace("-", " ") in row.casefold() for name in format_names())


def read_pairs(path: Path, columns: Columns, wanted: Collection[str], bad_lines: BadLines) -> Interactions:
    """A reader of a custom format: `user>item` per line."""
    rows = []
    for number, line in enumerate(path.read_text().splitlines(), start=1):
        user, arrow, item = line.partition(columns.separator or ">")
        if arrow:
            rows.append((user, item))
        else:
            bad_lines.report(number, "no pair")
    users, user_names = pd.factorize(np.array([user for user, _ in rows], dtype=object))
    items, item_names = pd.factorize(np.array([item for _, item in rows], dtype=object))
    return Interactions(users, items, user_names, item_names, None, {})


PAIRS = Reader(name="pairs", suffixes=(".pairs",), read=read_pairs, options=("separator",), timestamps=False)


@pytest.fixture
def pairs(monkeypatch: pytest.MonkeyPatch) -> Reader:
    monkeypatch.setattr(registry, "_READERS", dict(registry._READERS))
    return register(PAIRS)


def test_a_new_format_is_one_entry(pairs: Reader, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert find_reader("pairs") is pairs and pairs in readers()
    path = tmp_path / "log.pairs"
    path.write_text("u>a\nu>b\nbroken\n")
    monkeypatch.setenv("ACTSR_DATA", str(tmp_path / "data"))
    refused = CliRunner().invoke(app, ["preprocess", "shop", "--from-file", str(path)])
    assert f"{path}, line 3: no pair" in refused.stderr.replace("\n", "")
    read_on = CliRunner().invoke(app, ["preprocess", "shop", "--from-file", str(path), "--on-bad-line", "skip"])
    assert read_on.exit_code == 0 and "1 users / 2 items / 2 interactions" in read_on.stdout
    assert prepare(find_source(tmp_path / "data", "shop"), DataConfig()).report.cached
    with pytest.raises(DataError, match=r"unknown format 'pair'; did you mean 'pairs'\?"):
        find_reader("pair")
    with pytest.raises(DataError) as caught:
        find_source(tmp_path / "data", "other")
    assert f"--format {'|'.join(format_names())}" in str(caught.value.hint)
    assert format_names()[-1] == "pairs"


def test_a_source_in_a_format_that_is_not_there_any_more(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "log.pairs"
    path.touch()
    with monkeypatch.context() as patch:
        patch.setattr(registry, "_READERS", dict(registry._READERS))
        register(PAIRS)
        source_from_file(tmp_path / "data", "shop", path, None, Columns()).register()
    with pytest.raises(DataError, match="unknown format 'pairs'"):
        find_source(tmp_path / "data", "shop")


def test_what_cannot_be_registered(pairs: Reader) -> None:
    for reader, message in (
        (pairs, "there is already a format 'pairs'"),
        (replace(pairs, name="other"), r"the suffix \.pairs already belongs to the format pairs"),
        (
            replace(pairs, name="other", suffixes=(), options=("seperator",)),
            "no option 'seperator' .* mean 'separator'",
        ),
    ):
        with pytest.raises(DataError, match=message):
            register(reader)
