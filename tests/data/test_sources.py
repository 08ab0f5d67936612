"""Data sets are found by name."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from actsr_cli.data.catalog import find_entry
from actsr_cli.data.readers import Columns
from actsr_cli.data.sources import find_source, source_from_file
from actsr_cli.errors import DataError


@pytest.mark.parametrize(
    ("folder", "file"),
    [
        ("Amazon_Beauty", "Amazon_Beauty.inter"),
        ("amazon-beauty", "amazon-beauty.inter"),
        ("beauty", "whatever.inter"),
    ],
)
def test_a_catalogue_data_set_is_found_under_each_of_its_names(tmp_path: Path, folder: str, file: str) -> None:
    (tmp_path / folder).mkdir()
    (tmp_path / folder / file).write_text("user_id:token\n")
    (tmp_path / folder / file).with_suffix(".item").write_text("item_id:token\n")
    for name in ("beauty", "amazon-beauty", "Amazon_Beauty"):
        source = find_source(tmp_path, name)
        assert (source.name, source.folder, source.file) == (name, tmp_path / folder, tmp_path / folder / file)
        assert source.item_file == source.file.with_suffix(".item")


def test_two_names_of_one_data_set_have_the_same_files(tmp_path: Path) -> None:
    for name in ("amazon-beauty", "Amazon_Beauty"):
        (tmp_path / name).mkdir()
        (tmp_path / name / f"{name}.inter").touch()
    downloaded = tmp_path / "amazon-beauty" / "amazon-beauty.inter"
    for name in ("beauty", "amazon-beauty", "Amazon_Beauty"):
        with pytest.raises(DataError, match=f"are names of one data set, '{name}', and have different") as caught:
            find_source(tmp_path, name)
        assert all(str(tmp_path / folder) in caught.value.message for folder in ("amazon-beauty", "Amazon_Beauty"))
        assert "Rename or remove" in str(caught.value.hint)
    shutil.rmtree(tmp_path / "Amazon_Beauty")
    (tmp_path / "other.inter").touch()
    with pytest.raises(DataError, match="are names of one data set"):
        source_from_file(tmp_path, "beauty", tmp_path / "other.inter", None, Columns())
    source_from_file(tmp_path, "beauty", downloaded, None, Columns()).register()
    assert find_source(tmp_path, "beauty").folder.name == "beauty"
    assert find_source(tmp_path, "amazon-beauty").folder.name == "amazon-beauty"


def test_a_registered_file_is_remembered_with_its_columns(tmp_path: Path) -> None:
    file = tmp_path / "log.csv"
    file.touch()
    given = source_from_file(tmp_path / "data", "shop", file, None, Columns(user="who"))
    given.register()
    found = find_source(tmp_path / "data", "shop")
    assert found == given
    assert (found.format, found.columns.user, found.file) == ("csv", "who", file.resolve())


def test_titles_beside_a_registered_atomic_file_come_along(tmp_path: Path) -> None:
    file = tmp_path / "log.inter"
    file.touch()
    assert source_from_file(tmp_path / "data", "shop", file, None, Columns()).item_file is None
    file.with_suffix(".item").touch()
    given = source_from_file(tmp_path / "data", "shop", file, None, Columns()).register()
    assert given.item_file == file.resolve().with_suffix(".item")
    assert find_source(tmp_path / "data", "shop") == given


@pytest.mark.parametrize("file", ["shop.inter", "raw/log.csv", "parts/0.parquet"])
def test_files_in_the_folder_of_a_data_set_move_with_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, file: str
) -> None:
    monkeypatch.chdir(tmp_path)
    folder = Path("data/shop")
    (folder / file).parent.mkdir(parents=True)
    (folder / file).touch()
    for titles in (folder / "titles.csv", Path("titles.csv")):
        titles.write_text("item,title\ni,Up\n")
        given = source_from_file(folder.parent, "shop", (folder / file).absolute(), None, Columns())
        given = given.with_items(titles).register()
        assert given == find_source(folder.parent, "shop") and given.file == folder / file
        stored = json.loads((folder / "source.json").read_text())
        own = titles.is_relative_to(folder)
        assert (stored["file"], stored["item_file"]) == (f"./{file}", "./titles.csv" if own else str(titles.absolute()))
        copy = tmp_path / f"copy-{own}"
        shutil.copytree(folder.parent, copy)
        found = find_source(copy, "shop")
        assert found.file == copy / "shop" / file
        assert found.item_file == (copy / "shop" / "titles.csv" if own else titles.absolute())


def test_titles_for_the_files_of_the_folder_keep_these_in_the_folder(tmp_path: Path) -> None:
    (tmp_path / "old" / "shop").mkdir(parents=True)
    for part in ("train", "valid", "test"):
        (tmp_path / "old" / "shop" / f"shop.{part}.inter").touch()
    (tmp_path / "titles.csv").write_text("item,title\ni,Up\n")
    find_source(tmp_path / "old", "shop").with_items(tmp_path / "titles.csv").register()
    (tmp_path / "old").rename(tmp_path / "new")
    found = find_source(tmp_path / "new", "shop")
    assert {file.parent for file in found.parts} == {tmp_path / "new" / "shop"} and len(found.parts) == 3
    assert found.item_file == tmp_path / "titles.csv"


def test_paths_as_they_were_stored_before_are_still_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    folder = Path("data/shop")
    folder.mkdir(parents=True)
    for path in ("data/shop/shop.inter", str(tmp_path / "data/shop/shop.inter")):
        (folder / "source.json").write_text(json.dumps({"name": "shop", "file": path, "format": "atomic"}))
        assert find_source(folder.parent, "shop").file == Path(path)


@pytest.mark.parametrize(
    ("format_name", "columns", "what"),
    [
        ("sequences", Columns(user="who"), "user column"),
        ("json", Columns(separator=";"), "separator"),
        ("sequences", Columns(separator=";"), "separator"),
        ("atomic", Columns(header="none"), "header"),
        ("parquet", Columns(separator=";"), "separator"),
        ("parquet", Columns(encoding="latin-1"), "encoding"),
    ],
)
def test_choices_that_a_format_does_not_have(tmp_path: Path, format_name: str, columns: Columns, what: str) -> None:
    (tmp_path / "log").touch()
    with pytest.raises(DataError, match=f"the format {format_name} has no {what} to choose"):
        source_from_file(tmp_path, "x", tmp_path / "log", format_name, columns)


@pytest.mark.parametrize(
    ("name", "format_name"),
    [
        ("a.inter", "atomic"),
        ("a.txt", "sequences"),
        ("a.tsv", "csv"),
        ("a.parquet", "parquet"),
        ("a.json.gz", "json"),
        ("a.ndjson", "json"),
        ("a.csv.gz", "csv"),
        ("A.TSV", "csv"),
        ("a.inter.zst", "atomic"),
        ("a.TXT.XZ", "sequences"),
        ("a.b.csv", "csv"),
    ],
)
def test_formats_are_guessed_from_suffixes(tmp_path: Path, name: str, format_name: str) -> None:
    (tmp_path / name).touch()
    assert source_from_file(tmp_path, "x", tmp_path / name, None, Columns()).format == format_name


def test_refusals(tmp_path: Path) -> None:
    file = tmp_path / "data.bin"
    with pytest.raises(DataError, match="no file"):
        source_from_file(tmp_path, "x", file, "csv", Columns())
    file.touch()
    with pytest.raises(DataError, match="cannot recognise the format"):
        source_from_file(tmp_path, "x", file, None, Columns())
    with pytest.raises(DataError, match="unknown format 'atom'; did you mean 'atomic'"):
        source_from_file(tmp_path, "x", file, "atom", Columns())


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("", "it is empty"),
        (" ", "it is empty"),
        ("shop ", "it must not begin or end with a blank"),
        (".", "it must not begin with a dot"),
        ("..", "it must not begin with a dot"),
        (".shop", "it must not begin with a dot"),
        ("../x", "it must be a single folder name"),
        ("/", "it must be a single folder name"),
        ("a/b", "it must be a single folder name"),
        ("a\\b", "it must be a single folder name"),
        ("a\0b", "it has characters that cannot be printed"),
        ("a\nb", "it has characters that cannot be printed"),
        ("\x1b[31mred", "it has characters that cannot be printed"),
        ("\u202etxt", "it has characters that cannot be printed"),
        ("\udcff", "it has characters that cannot be printed"),
        ("x" * 1000, "it is longer than 100 bytes"),
        ("ü" * 51, "it is longer than 100 bytes"),
    ],
)
def test_a_name_that_is_no_folder_is_refused_in_one_plain_line(tmp_path: Path, name: str, reason: str) -> None:
    (tmp_path / "log.csv").touch()
    for call in (
        lambda: find_source(tmp_path, name),
        lambda: source_from_file(tmp_path / "data", name, tmp_path / "log.csv", None, Columns()),
        lambda: find_entry(name),
    ):
        with pytest.raises(DataError, match=f" is not a valid name for a data set: {reason}") as caught:
            call()
        assert caught.value.message.isprintable()
        assert len(caught.value.message) < 200
    assert [path.name for path in tmp_path.iterdir()] == ["log.csv"]


@pytest.mark.parametrize("name", ["shop", "my shop", "магазин", "v1.2", "x" * 100])
def test_other_names_are_good(tmp_path: Path, name: str) -> None:
    (tmp_path / "log.csv").touch()
    source_from_file(tmp_path / "data", name, tmp_path / "log.csv", None, Columns()).register()
    assert find_source(tmp_path / "data", name).folder == tmp_path / "data" / name


def test_a_missing_data_set_says_how_to_get_it(tmp_path: Path) -> None:
    with pytest.raises(DataError) as caught:
        find_source(tmp_path, "beauty")
    assert "actsr download amazon-beauty" in str(caught.value.hint)
    with pytest.raises(DataError) as caught:
        find_source(tmp_path, "mine")
    assert "download" not in str(caught.value.hint) and "--from-file" in str(caught.value.hint)


def test_ambiguous_and_damaged_folders(tmp_path: Path) -> None:
    (tmp_path / "x").mkdir()
    (tmp_path / "x" / "a.inter").touch()
    (tmp_path / "x" / "b.inter").touch()
    with pytest.raises(DataError, match=r"2 \.inter files"):
        find_source(tmp_path, "x")
    for text in ("{", "[]", "1", '{"file": 1}'):
        (tmp_path / "x" / "source.json").write_text(text)
        with pytest.raises(DataError, match="is damaged"):
            find_source(tmp_path, "x")
