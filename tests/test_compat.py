"""This version opens the prepared data and the runs that earlier versions have written."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

import actsr_cli as actsr
from actsr_cli.version import __version__

COMPAT = Path(__file__).parent / "compat"
VERSIONS = sorted(path.name for path in COMPAT.iterdir() if (path / "answers.json").is_file())


@pytest.fixture(params=VERSIONS)
def old(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """A copy of the folder of a version."""
    shutil.copytree(COMPAT / request.param, tmp_path / "old")
    return tmp_path / "old"


def answers(old: Path) -> dict[str, Any]:
    values: dict[str, Any] = json.loads((old / "answers.json").read_text())
    return values


def test_this_version_has_its_folder() -> None:
    assert __version__ in VERSIONS, "make it: python tests/compat/make.py"


def test_the_run_opens_and_answers_as_it_did(old: Path) -> None:
    expected = answers(old)
    listed = actsr.load("old", device="cpu", threads=1, runs_dir=old / "runs").recommend(expected["history"], k=5)
    assert list(listed.ids) == [item for item, _ in expected["items"]]
    assert [score for *_, score in listed] == pytest.approx([score for _, score in expected["items"]], abs=1e-4)


def test_it_is_evaluated_on_the_prepared_data(old: Path) -> None:
    found = actsr.evaluate("old", data_dir=old / "data", runs_dir=old / "runs")
    assert found.metrics == pytest.approx(answers(old)["metrics"], abs=1e-4)


def test_its_training_goes_on(old: Path) -> None:
    run = actsr.resume("old", settings={"training.epochs": 3}, data_dir=old / "data", runs_dir=old / "runs")
    assert run.record.epochs == 3
