"""Only a preparation on request changes which filters the next training takes."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

import actsr_cli as actsr
from actsr_cli.config import DataConfig
from actsr_cli.data.prepare import last_settings
from actsr_cli.data.sources import find_source

CORE = DataConfig(user_core=4)


@pytest.fixture
def chosen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A run on data with a core of 3 that are gone, and then prepared data with a core of 4."""
    monkeypatch.setenv("ACTSR_DATA", str(tmp_path / "data"))
    monkeypatch.setenv("ACTSR_RUNS", str(tmp_path / "runs"))
    file = tmp_path / "log.csv"
    rows = "".join(f"u{user},i{step % 5},{step}\n" for user in range(6) for step in range(3 + user))
    file.write_text("user,item,time\n" + rows)
    first = actsr.prepare("shop", file, settings={"user_core": 3})
    actsr.train("item-knn", dataset="shop", name="old")
    actsr.prepare("shop", settings={"user_core": 4})
    shutil.rmtree(first.folder)
    return tmp_path / "data"


def test_an_evaluation_of_an_old_run_changes_nothing(chosen: Path) -> None:
    actsr.evaluate("old")
    assert last_settings(find_source(chosen, "shop")) == CORE
    assert actsr.train("item-knn", dataset="shop", name="new").config.data == CORE
    again = actsr.prepare("shop")
    assert again.repeated and again.settings == CORE
    assert "With the options of the last preparation: --user-core 4." in repr(again)


def test_a_training_with_filters_of_its_own_changes_nothing(chosen: Path) -> None:
    run = actsr.train("item-knn", dataset="shop", settings={"data.user_core": 5}, name="own")
    assert run.config.data.user_core == 5
    assert last_settings(find_source(chosen, "shop")) == CORE
    assert actsr.train("item-knn", dataset="shop", name="new").config.data == CORE


def test_the_way_back_to_the_defaults(chosen: Path) -> None:
    assert actsr.prepare("shop", preset="none").settings == DataConfig()
    assert last_settings(find_source(chosen, "shop")) == DataConfig()
    assert not actsr.prepare("shop").repeated
