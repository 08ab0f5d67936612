"""The vocabulary of a model: items and users without the data set."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from samples import sequence_data

from actsr_cli.data.vocabulary import Vocabulary
from actsr_cli.errors import DataError

DATA = replace(
    sequence_data([[1, 2, 3, 1], [2, 2]], n_items=4),
    item_names=("", "B001", "B002", "C7", "ø"),
    titles=("", "Soap", "", "Comb", ""),
    categories=((), ("Bath", "Skin"), (), ("Hair",), ()),
)


@pytest.mark.parametrize("users", [True, False])
@pytest.mark.parametrize("known", [True, False])
def test_it_survives_a_folder(tmp_path: Path, users: bool, known: bool) -> None:
    data = DATA if known else replace(DATA, titles=None, categories=None)
    made = Vocabulary.of(data, users=users)
    made.save(tmp_path)
    found = Vocabulary.load(tmp_path)
    assert (found.item_names, found.titles, found.categories, found.user_names) == (
        data.item_names,
        data.titles,
        data.categories,
        data.user_names if users else None,
    )
    assert found.counts.tolist() == made.counts.tolist() == [0, 1, 3, 0, 0]  # held-out items are not counted
    assert found.counts.dtype == np.int64 and found.n_items == 4
    assert not list(tmp_path.glob("*.partial"))


def test_raw_ids_and_names() -> None:
    vocabulary = Vocabulary.of(DATA, users=True)
    assert vocabulary.item_ids(["C7", "B001", "ø"]).tolist() == [3, 1, 4]
    assert vocabulary.item_ids([]).tolist() == []
    assert [vocabulary.display_name(item) for item in (1, 2)] == ["Soap", "B002"]
    assert vocabulary.user_id("u1") == 1
    with pytest.raises(DataError, match=r"unknown item 'B003'; did you mean 'B002' or 'B001'"):
        vocabulary.item_ids(["C7", "B003"])
    with pytest.raises(DataError, match=r"^unknown item ''$") as caught:
        vocabulary.item_ids([""])
    assert caught.value.hint is not None and "B001, B002, C7" in caught.value.hint
    with pytest.raises(DataError, match="unknown user 'u9'"):
        vocabulary.user_id("u9")
    with pytest.raises(DataError, match="does not learn about users"):
        Vocabulary.of(DATA, users=False).user_id("u1")


@pytest.mark.parametrize("file", ["items.parquet", "users.parquet"])
def test_damaged_files(tmp_path: Path, file: str) -> None:
    with pytest.raises(DataError, match="is missing"):
        Vocabulary.load(tmp_path)
    Vocabulary.of(DATA, users=True).save(tmp_path)
    (tmp_path / file).write_bytes(b"PAR1 no")
    with pytest.raises(DataError, match="is damaged") as caught:
        Vocabulary.load(tmp_path)
    assert "\n" not in caught.value.message


def test_it_knows_how_the_times_of_its_data_were_written(tmp_path: Path) -> None:
    for way in ("milliseconds since 1970", ""):
        Vocabulary.of(replace(DATA, times=way), users=False).save(tmp_path)
        assert Vocabulary.load(tmp_path).times == way
    pd.DataFrame({"id": ["", "a"], "count": [0, 1]}).to_parquet(tmp_path / "items.parquet")  # of an earlier version
    assert Vocabulary.load(tmp_path).times == ""
