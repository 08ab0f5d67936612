"""Prepared data are found by fingerprint without the source; data of another version are refused."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from shop import LOG, sequences, source

from actsr_cli.config import DataConfig
from actsr_cli.data import store
from actsr_cli.data.prepare import find_prepared, latest_record, open_prepared, prepare
from actsr_cli.errors import DataError


def test_data_are_found_by_what_they_hold_whatever_became_of_the_source(tmp_path: Path) -> None:
    shop = source(tmp_path)
    first = prepare(shop, DataConfig())
    shop.file.write_text(LOG + "c,x,7,1\n")
    second = prepare(shop, DataConfig())
    shop.file.unlink()
    (shop.folder / "prepared" / "latest.json").unlink()
    for prepared in (first, second):
        folder = find_prepared(tmp_path / "data", prepared.data.fingerprint)
        assert folder == prepared.folder
        opened = open_prepared(folder, "mine")
        assert opened.data.name == "mine" and opened.data.fingerprint == prepared.data.fingerprint
        assert sequences(opened.data) == sequences(prepared.data)
        assert opened.report.cached and not opened.report.note


@pytest.mark.parametrize("fingerprint", ["", "0" * 16, "*", "../shop", "0123456789ABCDEF", "0" * 17])
def test_data_that_are_not_there_are_not_found(tmp_path: Path, fingerprint: str) -> None:
    prepare(source(tmp_path), DataConfig())
    assert find_prepared(tmp_path / "data", fingerprint) is None
    assert find_prepared(tmp_path / "nowhere", fingerprint) is None


def test_data_of_another_version_are_refused_by_version_and_never_taken(tmp_path: Path) -> None:
    shop = source(tmp_path)
    folder = prepare(shop, DataConfig()).folder
    record = folder / "prepared.json"
    record.write_text('{"version": 1, "name": "shop"}')
    for call in (lambda: open_prepared(folder, "shop"), lambda: store.load(folder)):
        with pytest.raises(DataError, match="prepared by another version of actsr") as caught:
            call()
        assert "actsr preprocess NAME" in str(caught.value.hint)
    assert latest_record(tmp_path / "data") is None
    other = prepare(shop, DataConfig(user_core=2))
    os.utime(record)
    found = latest_record(tmp_path / "data", None)
    assert found is not None and found.fingerprint == other.data.fingerprint
    shop.file.unlink()
    assert prepare(shop, DataConfig(user_core=2)).folder == other.folder
