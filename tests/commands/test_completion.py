"""Shells complete runs, items and users; commands, presets, models and data sets are in tests/test_app.py."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pandas as pd
import pytest
from pages import Command
from processes import completions
from records import change
from sandbox import sandbox

from actsr_cli.experiment.record import read_record


@pytest.fixture(scope="module", autouse=True)
def run(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The folder of the run `first`, the only one in the working directory."""
    with pytest.MonkeyPatch.context() as patch, sandbox(tmp_path_factory.mktemp("completion"), patch) as box:
        box.run(Command("here", "actsr runs show first"))
        box.check()
        yield next(path.parent for path in Path("runs").glob("*/*/first/run.json"))


def test_runs(run: Path) -> None:
    name = run.relative_to("runs").as_posix()
    assert completions(f"actsr evaluate {name[:4]}", "print('torch' in sys.modules)") == [name, "False"]
    assert completions("actsr recommend fi") == completions("actsr train --resume fi") == ["first"]
    assert completions("actsr runs delete first ") == [name]


def test_items_and_users(run: Path) -> None:
    data = read_record(run).data_folder
    assert data is not None
    items, users = (set(pd.read_parquet(file)["id"]) for file in (run / "items.parquet", data / "users.parquet"))
    assert set(completions("actsr similar ")) == items - {""}
    assert set(completions("actsr recommend first --history ")) == items - {""}
    some = sorted(users)[0]
    assert some in completions(f"actsr inspect-attention first --user {some[:-1]}")
    assert set(completions("actsr recommend --user ", "print('torch' in sys.modules)")) == users | {"False"}


def test_names_that_a_shell_would_read_otherwise_are_not_offered(run: Path, tmp_path: Path) -> None:
    odd = ["good", "two words", "a;b", "$(touch pwned)", "\\$(touch pwned)", "*", "-dash", "line\nbreak", "a:b", "ü"]
    copy = tmp_path / "beauty" / "ac-sasrec" / "odd"
    shutil.copytree(run, copy)
    change(copy / "run.json", name="odd")
    table = pd.read_parquet(copy / "items.parquet")
    table["id"] = ["", *odd, *(f"more{place}" for place in range(len(table) - 1 - len(odd)))]
    table.to_parquet(copy / "items.parquet")
    offered = completions("actsr recommend odd --history ", ACTSR_RUNS=str(tmp_path))
    assert [name for name in offered if not name.startswith("more")] == ["good", "ü"]
    (copy / "items.parquet").write_bytes(b"damaged")
    assert completions("actsr recommend odd --history ", ACTSR_RUNS=str(tmp_path)) == []


def test_an_end_that_several_runs_have_is_not_offered(run: Path, tmp_path: Path) -> None:
    for model in ("sasrec", "ac-sasrec"):
        shutil.copytree(run, tmp_path / "beauty" / model / "first")
        change(tmp_path / "beauty" / model / "first" / "run.json", model=model)
    assert completions("actsr evaluate fi", ACTSR_RUNS=str(tmp_path)) == []
    names = ["beauty/ac-sasrec/first", "beauty/sasrec/first"]
    assert sorted(completions("actsr evaluate be", ACTSR_RUNS=str(tmp_path))) == names


def test_without_runs_nothing_is_offered(tmp_path: Path) -> None:
    for line in ("actsr similar ", "actsr recommend --user ", "actsr evaluate "):
        assert completions(line, ACTSR_RUNS=str(tmp_path)) == []
