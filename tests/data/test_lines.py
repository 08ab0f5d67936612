"""Sequences in text, and messages about malformed lines."""

from __future__ import annotations

from pathlib import Path

import pytest
from reading import read, triples, write

from actsr_cli.errors import DataError


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
