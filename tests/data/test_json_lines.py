"""JSON lines: reviews as their publishers write them, and malformed lines."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from reading import read, triples, write

from actsr_cli.errors import ActsrError, DataError

AMAZON_2018 = [
    {
        "reviewerID": "A",
        "asin": "X",
        "overall": 5.0,
        "unixReviewTime": 20,
        "reviewText": "good",
        "style": {"Size:": "L"},
    },
    {"reviewerID": "B", "asin": "X", "overall": 1, "unixReviewTime": 10},
]
AMAZON_2023 = [
    {"rating": 5.0, "asin": "red", "parent_asin": "shoe", "user_id": "A", "timestamp": 20, "images": []},
    {"rating": 2.0, "asin": "blue", "parent_asin": "shoe", "user_id": "B", "timestamp": 10, "images": []},
]
YELP = [
    {"review_id": "r", "user_id": "A", "business_id": "X", "stars": 4.0, "date": "1970-01-01 00:00:20"},
    {"review_id": "s", "user_id": "B", "business_id": "X", "stars": 3.0, "date": "1970-01-01 00:00:10"},
]
ONE: dict[str, Any] = {"user": "A", "item": "X", "time": 1, "rating": 3}


def lines(*entries: Any) -> str:
    return "".join(json.dumps(entry) + "\n" for entry in entries)


@pytest.mark.parametrize("compressed", [True, False])
@pytest.mark.parametrize(
    ("reviews", "item", "rating", "stars"),
    [
        (AMAZON_2018, "X", "overall", [5, 1]),
        (AMAZON_2023, "shoe", "rating", [5, 2]),
        (YELP, "X", "stars", [4, 3]),
    ],
    ids=["amazon 2018", "amazon 2023", "yelp"],
)
def test_reviews_are_read_without_options(
    tmp_path: Path, reviews: list[dict[str, Any]], item: str, rating: str, stars: list[float], compressed: bool
) -> None:
    text = "\n".join(json.dumps(review) for review in reviews).encode()
    path = write(tmp_path / "reviews.json.gz", gzip.compress(text) if compressed else text)
    raw, _ = read(path, "json", wanted=(rating, "rating"))
    assert triples(raw) == [("A", item, 20.0), ("B", item, 10.0)]
    assert raw.column(rating).tolist() == raw.column("rating").tolist() == stars


def test_a_product_counts_unless_its_variant_is_asked_for(tmp_path: Path) -> None:
    path = write(tmp_path / "x.jsonl", lines(*AMAZON_2023))
    assert [item for _, item, _ in triples(read(path, "json", item="asin")[0])] == ["red", "blue"]


def test_columns_of_other_names(tmp_path: Path) -> None:
    path = write(tmp_path / "x.jsonl", lines({"who": 7, "what": "X", "when": "1970-01-02", "how much": 2}))
    raw, _ = read(path, "json", user="who", item="what", timestamp="when", rating="how much", wanted=("rating",))
    assert triples(raw) == [("7", "X", 86400.0)] and raw.column("rating").tolist() == [2.0]
    in_order, _ = read(path, "json", user="who", item="what", timestamp="none")
    assert triples(in_order) == [("7", "X", None)]
    with pytest.raises(DataError, match="no column for the user; it has: who, what, when, how much") as caught:
        read(path, "json")
    assert "--user-column" in str(caught.value.hint)
    with pytest.raises(DataError, match="no column 'whom' for the user"):
        read(path, "json", user="whom")


def test_ids_are_texts_and_whole_numbers_and_stay_what_they_are(tmp_path: Path) -> None:
    ids = ["07", 7, 9007199254740993, 12.0, "ü x", "12.0"]
    path = write(tmp_path / "x.jsonl", lines(*({"user": "A", "item": item, "time": 1} for item in ids)))
    items = [item for _, item, _ in triples(read(path, "json")[0])]
    assert items == ["07", "7", "9007199254740993", "12", "ü x", "12.0"]


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("{", "not JSON"),
        ('{"user": "A"} {}', "not JSON: more than one value"),
        ("[1]", "not a JSON object"),
        ("7", "not a JSON object"),
        (lines({"user": "A", "time": 1}), "no item"),
        (lines(ONE | {"item": None}), "no item"),
        (lines(ONE | {"item": ""}), "no item"),
        (lines(ONE | {"user": True}), "user True is neither a text nor a whole number"),
        (lines(ONE | {"user": 1.5}), r"user 1\.5 is neither"),
        (lines(ONE | {"user": 1e300}), r"user 1e\+300 is neither"),
        (lines(ONE | {"user": ["A"]}), r"user \['A'\] is neither"),
        (lines(ONE | {"user": {"id": "A"}}), "user {'id': 'A'} is neither"),
        (lines(ONE | {"time": None}), "no time"),
        (lines(ONE | {"time": "soon"}), "time 'soon' is not a number"),
        (lines(ONE | {"time": True}), "time True is not a number"),
        (lines(ONE | {"time": {"$date": 1}}), r"time \{'\$date': 1\} is not a number"),
        (lines(ONE | {"rating": [1]}), r"rating \[1\] is not a number"),
        (lines(ONE | {"rating": "x"}), "rating 'x' is not a number"),
        ('{"user": "A", "item": "B", "time": NaN}', "time nan is not a number"),
        ('{"user": "A", "item": "B", "time": 1e999}', "time inf is not a number"),
        ('{"user": "A", "item": "B", "time": 1%s}' % ("0" * 400), "time 10{10,}.{0,40} is not a number"),
        ('{"time": 1%s}' % ("0" * 5000), "not JSON: Exceeds the limit"),
        ("[" * 100_000, "not JSON: maximum recursion depth"),
        ('{"x": ' * 100_000, "not JSON: maximum recursion depth"),
        (r'{"user": "A\ud800", "item": "B", "time": 1}', "user .* holds half of a character"),
        (r'{"user": "A", "item": "B", "time": "\udfff"}', "time .* holds half of a character"),
        ('{"user": "A", "item": "B", "time": 1, "user": "C"}', "the key 'user' occurs twice"),
        ('{"user": "A", "item": "B", "time": 1, "x": {"y": 1, "y": 1}}', "the key 'y' occurs twice"),
    ],
)
def test_a_malformed_line_is_named_and_can_be_skipped(tmp_path: Path, line: str, reason: str) -> None:
    path = write(tmp_path / "x.json", lines(ONE) + "\n" + line.strip() + "\n" + lines(ONE | {"item": "Y"}))
    with pytest.raises(DataError, match=rf"x\.json, line 3: {reason}") as caught:
        read(path, "json")
    assert len(caught.value.message) < len(str(path)) + 200
    raw, bad_lines = read(path, "json", policy="skip", wanted=("rating",))
    assert triples(raw) == [("A", "X", 1.0), ("A", "Y", 1.0)] and bad_lines.count == 1


def test_half_a_character_elsewhere_costs_nothing(tmp_path: Path) -> None:
    path = write(tmp_path / "x.json", r'{"user": "A", "item": "B", "time": 1, "text": "\ud83d"}')
    assert triples(read(path, "json")[0]) == [("A", "B", 1.0)]


def test_a_review_without_a_rating_is_an_interaction(tmp_path: Path) -> None:
    path = write(tmp_path / "x.json", lines(ONE | {"rating": None}, ONE | {"rating": 2}))
    raw, _ = read(path, "json", wanted=("rating",))
    assert len(raw) == 2 and np.array_equal(raw.column("rating"), [np.nan, 2], equal_nan=True)


def test_columns_are_looked_for_in_many_lines(tmp_path: Path) -> None:
    missing = {key: value for key, value in ONE.items() if key != "rating"}
    path = write(tmp_path / "x.json", lines(*[missing] * 5, ONE))
    assert np.isnan(read(path, "json", wanted=("rating",))[0].column("rating")).sum() == 5


def test_an_array_of_json_says_how_to_make_lines_of_it(tmp_path: Path) -> None:
    path = write(tmp_path / "log.json", " " + json.dumps([ONE, ONE], indent=1))
    with pytest.raises(DataError, match="is one JSON array") as caught:
        read(path, "json")
    assert caught.value.hint == "Convert it: jq -c '.[]' log.json > log.jsonl"


@pytest.mark.parametrize("content", ["", "\n\n", "7\n", "{}\n"])
def test_a_file_without_objects_holds_no_interactions(tmp_path: Path, content: str) -> None:
    with pytest.raises(DataError, match="holds no interactions"):
        read(write(tmp_path / "x.json", content), "json", policy="skip")


def test_a_broken_gzip_file(tmp_path: Path) -> None:
    whole = gzip.compress(lines(*[ONE] * 2000).encode())
    with pytest.raises(DataError, match="broken gzip"):
        read(write(tmp_path / "x.json.gz", whole[: len(whole) // 2]), "json")


_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text("aü 1\ud800", max_size=4),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text("ab", max_size=2), inner, max_size=2),
    max_leaves=4,
)


@given(
    rows=st.lists(st.dictionaries(st.sampled_from(["user", "item", "items", "time", "rating"]), _VALUES), max_size=4),
    known=st.booleans(),
)
def test_any_values_are_interactions_or_an_error(
    tmp_path_factory: pytest.TempPathFactory, rows: list[dict[str, Any]], known: bool
) -> None:
    path = write(tmp_path_factory.mktemp("values") / "x.json", lines(*([ONE] if known else []), *rows))
    try:
        raw, _ = read(path, "json", policy="skip", wanted=("rating",))
    except ActsrError:
        return
    assert len(raw) >= known and np.isfinite(raw.timestamps if raw.timestamps is not None else 0).all()
    assert all(name for name in (*raw.user_names, *raw.item_names))
