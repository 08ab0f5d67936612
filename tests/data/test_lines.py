"""Reviews in JSON lines, sequences in text, and messages about malformed lines."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import numpy as np
import pytest
from reading import read, triples, write

from actsr_cli.errors import DataError

REVIEWS = [
    {"reviewerID": "A", "asin": "X", "overall": 5.0, "unixReviewTime": 20, "reviewText": "good"},
    {"reviewerID": "B", "asin": "X", "overall": 1, "unixReviewTime": 10},
]


@pytest.mark.parametrize("compressed", [True, False])
def test_amazon_reviews(tmp_path: Path, compressed: bool) -> None:
    text = "\n".join(json.dumps(review) for review in REVIEWS).encode()
    path = write(tmp_path / "reviews.json.gz", gzip.compress(text) if compressed else text)
    raw, _ = read(path, "amazon-reviews", wanted=("overall",))
    assert triples(raw) == [("A", "X", 20.0), ("B", "X", 10.0)]
    assert raw.column("overall").tolist() == [5.0, 1.0]


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("{", "not JSON"),
        ("[1]", "not a JSON object"),
        ('{"reviewerID": "A", "unixReviewTime": 1}', "no asin"),
        ('{"reviewerID": "A", "asin": "B", "unixReviewTime": "1"}', "unixReviewTime '1' is not a number"),
        ('{"reviewerID": "A", "asin": "B", "overall": "x", "unixReviewTime": 1}', "overall 'x' is not a number"),
        ('{"reviewerID": "A", "asin": "B", "unixReviewTime": NaN}', "unixReviewTime nan is not a number"),
        ('{"reviewerID": "A", "asin": "B", "unixReviewTime": 1e999}', "unixReviewTime inf is not a number"),
        ('{"reviewerID": "A", "asin": "B", "unixReviewTime": 1%s}' % ("0" * 400), "unixReviewTime 1000"),
        ('{"unixReviewTime": 1%s}' % ("0" * 5000), "not JSON: Exceeds the limit"),
        ("[" * 100_000, "not JSON: maximum recursion depth"),
    ],
)
def test_malformed_reviews(tmp_path: Path, line: str, reason: str) -> None:
    path = write(tmp_path / "x.json", json.dumps(REVIEWS[0]) + "\n" + line + "\n")
    with pytest.raises(DataError, match=f"line 2: {reason}"):
        read(path, "amazon-reviews")


def test_a_review_without_a_rating_is_an_interaction(tmp_path: Path) -> None:
    path = write(tmp_path / "x.json", '{"reviewerID": "A", "asin": "B", "overall": null, "unixReviewTime": 1}\n')
    raw, _ = read(path, "amazon-reviews", wanted=("overall",))
    assert triples(raw) == [("A", "B", 1.0)] and np.isnan(raw.column("overall")).all()


def test_a_broken_gzip_file(tmp_path: Path) -> None:
    whole = gzip.compress("\n".join([json.dumps(REVIEWS[0])] * 2000).encode())
    with pytest.raises(DataError, match="broken gzip"):
        read(write(tmp_path / "x.json.gz", whole[: len(whole) // 2]), "amazon-reviews")


def test_sequences(tmp_path: Path) -> None:
    path = write(tmp_path / "x.txt", "\ufeffu1 a b a\r\n\r\nu2 c")
    raw, _ = read(path, "sequences")
    assert triples(raw) == [("u1", "a", None), ("u1", "b", None), ("u1", "a", None), ("u2", "c", None)]


def test_blanks_of_other_kinds_are_part_of_an_id(tmp_path: Path) -> None:
    raw, _ = read(write(tmp_path / "x.txt", "u\ta\u00a0b  c\u3000d \n"), "sequences")
    assert triples(raw) == [("u", "a\u00a0b", None), ("u", "c\u3000d", None)]


@pytest.mark.parametrize(
    ("line", "reason"), [("u9", "user 'u9' has no items"), ("u1 z", "user 'u1' already has a line")]
)
def test_malformed_sequences(tmp_path: Path, line: str, reason: str) -> None:
    path = write(tmp_path / "x.txt", f"u1 a b\n{line}\nu2 c\n")
    with pytest.raises(DataError, match=f"line 2: {reason}"):
        read(path, "sequences")
    raw, bad_lines = read(path, "sequences", policy="skip")
    assert len(raw) == 3 and bad_lines.count == 1


def test_sequences_have_no_columns_to_filter_by(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no column 'rating'"):
        read(write(tmp_path / "x.txt", "u1 a b\n"), "sequences", wanted=("rating",))
