"""Four processes that download or prepare one data set at once: all succeed, and one does the work."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from loopback import LoopbackServer, beauty_zip, running
from processes import call, start

FOUR = 4


def all_four(*command: str) -> list[str]:
    """Standard output and error of each of four processes, which must all succeed."""
    processes = [start(*command) for _ in range(FOUR)]
    said = [process.communicate(timeout=200) for process in processes]
    assert [process.returncode for process in processes] == [0] * FOUR, said
    return [" ".join((output + messages).split()) for output, messages in said]


def left_over(folder: Path) -> list[str]:
    return [str(path) for path in folder.rglob("*") if path.name.endswith((".partial", ".part", ".owner"))]


@pytest.fixture
def server() -> Iterator[LoopbackServer]:
    with running(beauty_zip(padding=500_000)) as server:
        yield server


def test_a_download(tmp_path: Path, server: LoopbackServer) -> None:
    said = all_four("download", "beauty", "--mirror", server.url, "--data-dir", str(tmp_path))
    assert len(server.requests) == 1
    assert sorted("is already there" in text for text in said) == [False, True, True, True]
    assert left_over(tmp_path) == [] and (tmp_path / "amazon-beauty" / "amazon-beauty.item").exists()


def test_a_preparation(place: Path) -> None:
    folder = place / "data" / "demo" / "prepared"
    said = all_four("preprocess", "demo")
    assert sorted("Prepared before in" in text for text in said) == [False, True, True, True]
    before = {path for path in folder.rglob("*") if path.is_file()}
    all_four("preprocess", "demo", "--force")  # each replaces the files, and each opens what it finds
    assert {path for path in folder.rglob("*") if path.is_file()} == before
    assert "Prepared before in" in call("preprocess", "demo").stderr
    assert left_over(place) == []
    assert json.loads((folder / "latest.json").read_text())["fingerprint"] in [path.name for path in folder.iterdir()]
