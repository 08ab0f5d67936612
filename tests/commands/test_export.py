"""`actsr export`: its options and its folder. What is exported is in tests/recommending/test_exported.py."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from pages import Command
from processes import call
from sandbox import sandbox


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        (["--scores", "--k", "3"], "--scores and --k do not go together"),
        (["--format", "safetensors", "--k", "3"], "--k does not go with safetensors"),
        (["--format", "safetensors", "--scores"], "--scores does not go with safetensors"),
    ],
)
def test_options_that_conflict(options: list[str], problem: str) -> None:
    assert problem in call("export", *options, exit_code=1).stderr


def test_the_folder_has_the_name_of_the_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with sandbox(tmp_path, monkeypatch) as box:
        box.run(Command("here", "actsr export first --format safetensors > said.txt"))
        box.check()
        (folder,) = Path().glob("*-ac-sasrec-first-safetensors")
        files = {path.name: path.stat().st_size for path in folder.iterdir()}
        assert files.keys() == {"items.json", "manifest.json", "model.safetensors"}
        said = Path("said.txt").read_text().splitlines()
        assert said == [f"{folder / name}  {size:,} bytes" for name, size in sorted(files.items())]
        assert json.loads((folder / "manifest.json").read_text())["run"].endswith("/ac-sasrec/first")
        refused = call("export", "first", "--format", "safetensors", exit_code=1)
        assert f"{folder} exists already" in refused.stderr
