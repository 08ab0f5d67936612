"""Fixtures for tests of commands."""

from __future__ import annotations

from pathlib import Path

import pytest

from actsr_cli.data.synthetic import generate_demo


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a small demo data set, to which ACTSR_DATA and ACTSR_RUNS point."""
    (tmp_path / "data" / "demo").mkdir(parents=True)
    generate_demo(tmp_path / "data" / "demo", users=300)
    monkeypatch.setenv("ACTSR_DATA", str(tmp_path / "data"))
    monkeypatch.setenv("ACTSR_RUNS", str(tmp_path / "runs"))
    return tmp_path
