"""Titles and categories of items."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as parquet
import pytest
from reading import write

from actsr_cli.data.readers.interactions import BadLines
from actsr_cli.data.readers.item_files import CATEGORIES, ItemDetails, check_item_file, read_item_file
from actsr_cli.errors import DataError


def details(path: Path, content: str) -> ItemDetails:
    return read_item_file(write(path, content), BadLines(path))


def test_titles(tmp_path: Path) -> None:
    found = details(
        tmp_path / "x.item", 'item_id:token\tmovie_title:token_seq\tyear:token\n1\tToy "Story\t1995\n2\tHeat\t1995\n'
    )
    assert found == ItemDetails(titles={"1": 'Toy "Story', "2": "Heat"})
    assert details(tmp_path / "y.item", "item_id:token\tyear:token\n1\t1995\n") == ItemDetails()
    with pytest.raises(DataError, match="no column of item ids"):
        details(tmp_path / "z.item", "key:token\ttitle:token\n1\tx\n")
    with pytest.raises(DataError, match="not an atomic file"):
        details(tmp_path / "u.item", "item_id\ttitle\n1\tx\n")


def test_malformed_titles_are_told(tmp_path: Path) -> None:
    path = write(tmp_path / "x.item", "item_id:token\ttitle:token_seq\n1\tHeat\n2\n3\tAlien\n")
    bad_lines = BadLines(path, "skip")
    assert read_item_file(path, bad_lines).titles == {"1": "Heat", "3": "Alien"}
    assert bad_lines.examples == [f"{path}, line 3: 2 fields expected, 1 found"]


@pytest.mark.parametrize("name", CATEGORIES)
def test_one_category_or_several(tmp_path: Path, name: str) -> None:
    rows = "1\tSci-Fi  Drama Sci-Fi\n2\t\n3\t Action \n"
    several = details(tmp_path / "x.item", f"item_id:token\t{name}:token_seq\n{rows}")
    assert several == ItemDetails(categories={"1": ("Sci-Fi", "Drama"), "2": (), "3": ("Action",)})
    one = details(tmp_path / "x.item", f"item_id:token\t{name}:token\n{rows}")
    assert one.categories == {"1": ("Sci-Fi  Drama Sci-Fi",), "2": (), "3": ("Action",)}


def test_numbers_are_no_categories_and_the_first_usual_name_counts(tmp_path: Path) -> None:
    header = "item_id:token\tclass:token\tcategory:float\tgenre:token\ttitle:token_seq\n"
    found = details(tmp_path / "x.item", header + "1\tx\t0.5\ty\tHeat\n")
    assert found == ItemDetails({"1": "Heat"}, {"1": ("y",)})


def test_csv_and_parquet(tmp_path: Path) -> None:
    expected = ItemDetails({"1": "Heat, the film", "2": ""}, {"1": ("Crime", "Drama"), "2": ()})
    text = 'movieId,title,genres\n1,"Heat, the film",Crime|Drama|Crime\n2,,\n'
    assert details(tmp_path / "x.csv", text) == expected
    assert details(
        tmp_path / "x.tsv", text.replace('"Heat, the film"', "Heat; the film").replace(",", "\t")
    ).titles == {
        "1": "Heat; the film",
        "2": "",
    }
    frame = pd.DataFrame({"id": [1, 2], "title": ["Heat, the film", None], "price": [0.5, 1.5]})
    for number, genres in enumerate((["Crime|Drama", None], [["Crime", "Drama"], None])):
        path = tmp_path / f"{number}.parquet"
        frame.assign(genre=pd.Series(genres, dtype=object), category=[1.0, 2.0]).to_parquet(path)
        assert read_item_file(path, BadLines(path)) == expected


@pytest.mark.parametrize("one", [pa.array([7, None]), pa.array([7, None]).dictionary_encode()])
def test_whole_numbers_in_parquet_are_texts(tmp_path: Path, one: pa.Array) -> None:
    path = tmp_path / "x.parquet"
    for categories, expected in ((one, ("7",)), (pa.array([[8, None, 9, 8], None]), ("8", "9"))):
        parquet.write_table(pa.table({"id": ["a", "b"], "title": one, "category": categories}), path)
        assert read_item_file(path, BadLines(path)) == ItemDetails({"a": "7", "b": ""}, {"a": expected, "b": ()})
        parquet.write_table(pa.table({"id": ["a", "b"], "category": categories}), path)
        check_item_file(path)


def test_ids_that_pandas_has_written_as_floats(tmp_path: Path) -> None:
    path = tmp_path / "x.parquet"
    ids = pd.Series([7.0, 1e7, 123_456_789_012.0, 2.0**53, None])
    pd.DataFrame({"item_id": ids, "title": list("abcde")}).to_parquet(path)
    titles = read_item_file(path, BadLines(path)).titles
    assert [titles[key] for key in ("7", "10000000", "123456789012", "9007199254740992")] == list("abcd")


@pytest.mark.parametrize(
    ("ids", "message"),
    [
        ([7.5, 7.0], "the column 'item_id' holds 7.5, which is no id: it is no exact whole number"),
        ([True, False], "the column 'item_id' holds bool, which are no ids: give texts or whole numbers"),
        ([[1], [2]], "the column 'item_id' holds list<element: int64>, which are no ids"),
    ],
)
def test_ids_in_parquet_are_texts_or_whole_numbers(tmp_path: Path, ids: list[object], message: str) -> None:
    path = tmp_path / "x.parquet"
    parquet.write_table(pa.table({"item_id": ids, "title": ["a", "b"]}), path)
    with pytest.raises(DataError) as caught:
        read_item_file(path, BadLines(path))
    assert caught.value.message.startswith(f"{path}: {message}")


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"title": [[1], [2]]}, "the column 'title' holds list<element: int64>, which are no titles"),
        ({"title": [{"a": 1}, None]}, "the column 'title' holds struct<a: int64>, which are no titles"),
        ({"title": [0.5, 1.5]}, "the column 'title' holds double, which are no titles"),
        ({"title": ["x", "y"], "category": [0.5, 1]}, "the column 'category' holds double, which are no categories"),
        ({"genre": [[True], None]}, "the column 'genre' holds list<element: bool>, which are no categories"),
        ({"class": [True, False]}, "the column 'class' holds bool, which are no categories"),
    ],
)
def test_other_types_in_parquet_are_refused(tmp_path: Path, columns: dict[str, list[object]], message: str) -> None:
    path = tmp_path / "x.parquet"
    parquet.write_table(pa.table({"id": ["a", "b"], **columns}), path)
    for refusing in (lambda: check_item_file(path), lambda: read_item_file(path, BadLines(path))):
        with pytest.raises(DataError) as caught:
            refusing()
        assert caught.value.message.startswith(f"{path}: {message}")
        assert caught.value.hint == "Give texts or whole numbers, or rename the column."


SEMICOLONS = '"item_id";"title"\n"a";"Heat; the film"\nb;"Up, up"\n'


@pytest.mark.parametrize(
    ("name", "text", "separator"),
    [
        ("x.csv", SEMICOLONS, ";"),
        ("x.tsv", SEMICOLONS, ";"),
        ("x.csv", 'item_id,title\na,Heat; the film\nb,"Up, up"\n', ";"),
        ("x.csv", "title::id\nHeat; the film::a\nUp, up::b\n", "::"),
        ("x.csv", "id\ttitle\na\tHeat; the film\nb\tUp, up\n", "\\t"),
        ("x.item", "item_id:token|title:token_seq\na|Heat; the film\nb|Up, up\n", "|"),
        ("x.item", "item_id:token\ttitle:token_seq\na\tHeat; the film\nb\tUp, up\n", ","),
    ],
)
def test_the_separator_is_that_of_the_suffix_or_the_given_one(
    tmp_path: Path, name: str, text: str, separator: str
) -> None:
    path = write(tmp_path / name, text)
    found = read_item_file(path, BadLines(path), separator=separator)
    assert found == ItemDetails({"a": "Heat; the film", "b": "Up, up"})


@pytest.mark.parametrize(
    ("name", "text", "separator", "message"),
    [
        ("x.csv", "item_id;title\n", None, "has semicolons between its fields, not commas"),
        ("x.csv", "item_id|title\n", ";", "has bars between its fields, not commas"),
        ("x.item", "item_id:token,title:token\n", None, "has commas between its fields, not tabs"),
        ("x.csv", "key;title\n", ";", "has no column of item ids; it has: key, title"),
        ("x.csv", "id,year;item\n", ";", "can be read with the separator ',' and with ';'"),
    ],
)
def test_a_wrong_separator_is_recognised(
    tmp_path: Path, name: str, text: str, separator: str | None, message: str
) -> None:
    with pytest.raises(DataError, match=message.replace("|", "[|]")):
        check_item_file(write(tmp_path / name, text), separator=separator)


def test_the_first_row_of_an_item_counts(tmp_path: Path) -> None:
    path = write(tmp_path / "x.csv", "id,title\n1,Heat\n1,Heat\n2,Alien\n1,Heat 2\n")
    bad_lines = BadLines(path, "skip")
    assert read_item_file(path, bad_lines).titles == {"1": "Heat", "2": "Alien"}
    assert bad_lines.examples == [f"{path}, line 5: item 1 again, with other details: its first row counts"]


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("x.csv", "id,year\n1,1995\n", "no column of titles or categories; it has: id, year"),
        ("x.csv", "year,title\n1995,Heat\n", "no column of item ids"),
        ("x.txt", "id,title\n", "is not a file of items"),
        ("x.parquet", "id,title\n", "not a readable Parquet file"),
    ],
)
def test_a_file_that_says_nothing_of_items_is_refused(tmp_path: Path, name: str, text: str, message: str) -> None:
    with pytest.raises(DataError, match=message):
        check_item_file(write(tmp_path / name, text))
    with pytest.raises(DataError, match="no file"):
        check_item_file(tmp_path / "none.csv")


@pytest.mark.real_data
def test_ml_100k(real_data: Path) -> None:
    path = real_data / "ml-100k.item"
    found = read_item_file(path, BadLines(path))
    assert found.titles["1"] == "Toy Story"
    assert found.categories["1"] == ("Animation", "Children's", "Comedy")
    assert (
        len(found.categories) == 1682 and len({each for several in found.categories.values() for each in several}) == 19
    )
