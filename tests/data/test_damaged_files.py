"""Bytes of any kind are interactions, items, histories, or an error of actsr in one line."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import cache
from io import BytesIO
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as parquet
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from reading import read

from actsr_cli.data.readers.interactions import BadLines
from actsr_cli.data.readers.item_files import read_item_file
from actsr_cli.errors import ActsrError, DataError
from actsr_cli.recommending.reading import read_histories

ROWS: dict[str, list[Any]] = {
    "user_id": ["u1", "u2", None, "u1"] * 8,
    "item_id": [1, 2, 3, None] * 8,
    "timestamp": [1.5, 2, 3, 4] * 8,
    "rating": [1, None, 3, 4] * 8,
}
LISTS: dict[str, list[Any]] = {"user": ["u", "v"], "items": [["a", "b"], ["c"]], "timestamps": [[1, 2], [3]]}
ITEMS: dict[str, list[Any]] = {
    "item_id": ["a", "b", "c"],
    "title": ["A", None, "C"],
    "categories": [["x"], None, ["y", "z"]],
}


def as_parquet(columns: dict[str, list[Any]], compression: str = "snappy") -> bytes:
    buffer = BytesIO()
    table = pa.Table.from_pandas(pa.table(columns).to_pandas()) if compression == "snappy" else pa.table(columns)
    parquet.write_table(table, buffer, compression=compression)
    return buffer.getvalue()


def as_json(columns: dict[str, list[Any]]) -> bytes:
    rows = [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]
    return "".join(json.dumps(row) + "\n" for row in rows).encode()


@cache
def samples() -> dict[str, list[bytes]]:
    """Sound files by suffix."""
    return {
        ".json": [as_json(ROWS), as_json(LISTS)],
        ".parquet": [as_parquet(each, how) for each in (ROWS, LISTS, ITEMS) for how in ("snappy", "none", "zstd")],
    }


def tables(path: Path) -> None:
    read(path, path.suffix.removeprefix("."), policy="skip", wanted=("rating",))


def histories(path: Path) -> None:
    list(read_histories(path))


def items(path: Path) -> None:
    read_item_file(path, BadLines(path, "skip"))


EDITS = st.lists(
    st.tuples(
        st.integers(0, 1 << 14),
        st.integers(0, 3),
        st.one_of(st.binary(max_size=4), st.sampled_from([b'"', b"9" * 30, b"[{"])),
    ),
    min_size=1,
    max_size=6,
)


@pytest.mark.parametrize(
    ("call", "suffix"),
    [(tables, ".json"), (tables, ".parquet"), (histories, ".json"), (histories, ".parquet"), (items, ".parquet")],
)
def test_damage_is_an_error_in_one_line_or_harmless(
    tmp_path_factory: pytest.TempPathFactory, call: Callable[[Path], None], suffix: str
) -> None:
    path = tmp_path_factory.mktemp("damage") / f"x{suffix}"

    @settings(max_examples=80)
    @given(sample=st.sampled_from(samples()[suffix]), edits=EDITS)
    def check(sample: bytes, edits: list[tuple[int, int, bytes]]) -> None:
        for place, length, content in edits:
            place %= len(sample) + 1
            sample = sample[:place] + content + sample[place + length :]
        path.write_bytes(sample)
        try:
            call(path)
        except ActsrError as error:
            assert "\n" not in error.message

    check()


@pytest.mark.parametrize("call", [tables, histories, items])
@pytest.mark.parametrize("share", [0, 0.1, 0.5, 0.99])
def test_a_parquet_file_that_is_cut_off(tmp_path: Path, call: Callable[[Path], None], share: float) -> None:
    whole = as_parquet(ROWS)
    path = tmp_path / "x.parquet"
    path.write_bytes(whole[: int(share * len(whole))])
    with pytest.raises(DataError, match=r"x\.parquet is not a readable Parquet file"):
        call(path)


@pytest.mark.parametrize("call", [tables, histories, items])
def test_a_page_of_a_parquet_file_that_is_damaged(tmp_path: Path, call: Callable[[Path], None]) -> None:
    columns = ITEMS if call is items else ROWS
    path = tmp_path / "x.parquet"
    whole = bytearray(as_parquet(columns))
    whole[4:200] = bytes(196)
    path.write_bytes(whole)
    with pytest.raises(DataError, match=r"x\.parquet is not a readable Parquet file"):
        call(path)
