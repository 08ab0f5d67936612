"""The library's face: `import actsr_cli as actsr` does what the commands do."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from processes import SMALL, call
from safetensors.torch import load_file

import actsr_cli as actsr
from actsr_cli.data.synthetic import generate_demo
from actsr_cli.errors import ConfigError, DataError, RunError
from actsr_cli.experiment.run import Run, open_run

ROOT = Path(__file__).parents[1]
TINY = {"training.threads": 1, "model.hidden_size": 16, "model.layers": 1}


@pytest.fixture(scope="module", autouse=True)
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder with a small demo data set, and the run `typed` that the command has trained."""
    folder = tmp_path_factory.mktemp("api")
    (folder / "data" / "demo").mkdir(parents=True)
    generate_demo(folder / "data" / "demo", users=200)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ACTSR_DATA", str(folder / "data"))
        patch.setenv("ACTSR_RUNS", str(folder / "runs"))
        patch.chdir(folder)
        call("train", "--model", "ac-sasrec", *SMALL, "--epochs", "2", "--name", "typed", "--refit")
        yield folder


def same_model(one: Path, other: Path) -> bool:
    mine, theirs = (load_file(run / "model.safetensors") for run in (one, other))
    return mine.keys() == theirs.keys() and all(torch.equal(mine[key], theirs[key]) for key in mine)


def python(code: str, folder: Path) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    return subprocess.run(
        [sys.executable, "-c", code], cwd=folder, env=environment, capture_output=True, text=True, check=False
    )


def test_the_import_loads_nothing_heavy(tmp_path: Path) -> None:
    code = (
        "import sys, actsr_cli as actsr\n"
        "dir(actsr), actsr.__version__, actsr.ActsrError\n"
        "print({name for name in ('torch', 'numpy', 'pandas', 'pyarrow', 'rich', 'pydantic') if name in sys.modules})\n"
        "assert all(getattr(actsr, name) is not None for name in actsr.__all__)\n"
        "from actsr_cli import *\n"
        "print(load is actsr.load, train is actsr.train)\n"
    )
    done = python(code, tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == ["set()", "True True"]


def test_public_names() -> None:
    assert dir(actsr) == sorted(actsr.__all__)
    with pytest.raises(AttributeError, match="module 'actsr_cli' has no attribute 'recommend_all'"):
        actsr.recommend_all  # type: ignore[attr-defined]  # noqa: B018
    with pytest.raises(ImportError):
        from actsr_cli import recommend_all  # type: ignore[attr-defined]  # noqa: F401


def test_train_is_the_command(place: Path) -> None:
    run = actsr.train("ac-sasrec", preset="demo", settings={**TINY, "training.epochs": 2}, name="called", refit=True)
    runs = place / "runs" / "demo" / "ac-sasrec"
    assert isinstance(run, Run) and run.name == "demo/ac-sasrec/called-refit" and run.path == runs / "called-refit"
    for name in ("typed", "typed-refit"):
        other = name.replace("typed", "called")
        assert same_model(runs / name, runs / other)
        assert (runs / name / "config.yaml").read_text() == (runs / other / "config.yaml").read_text()
    assert open_run(runs / "typed").metrics["valid/exclude"] == open_run(runs / "called").metrics["valid/exclude"]


def test_evaluate_is_the_command(place: Path) -> None:
    chosen: list[tuple[list[str], dict[str, Any]]] = [
        ([], {}),
        (["--split", "valid", "--seen", "rank"], {"split": "valid", "seen": "rank"}),
        (["--metrics", "hit,mrr", "--k", "3,7"], {"metrics": ["hit", "mrr"], "k": [3, 7]}),
        (
            ["--candidates", "uniform", "--n-candidates", "20", "--batch-size", "9"],
            {"candidates": "uniform", "n_candidates": 20, "batch_size": 9},
        ),
    ]
    for arguments, keys in chosen:
        printed = json.loads(call("evaluate", "typed", *arguments, "--json").stdout)
        for run in ("typed", place / "runs/demo/ac-sasrec/typed", open_run(place / "runs/demo/ac-sasrec/typed")):
            found = actsr.evaluate(run, **keys)
            assert found.metrics == printed["metrics"] and found.popularity == printed["popularity"]
            assert (found.run, found.epoch) == (printed["run"], printed["epoch"])
    assert {"hit@3", "hit@7", "mrr@3", "mrr@7"} == set(
        actsr.evaluate("typed", metrics=["hit", "mrr"], k=[3, 7]).metrics
    )


def test_evaluations_as_tables() -> None:
    found = actsr.evaluate("typed", metrics=np.array(["hit"]), k=np.array([5]))  # type: ignore[arg-type]
    frame = found.to_frame()
    assert frame.columns.tolist() == ["model", "popularity"] and frame.index.tolist() == ["hit@5"]
    assert frame.index.name == "metric" and frame.loc["hit@5", "model"] == found.metrics["hit@5"]
    title, header, *rows = repr(found).splitlines()
    assert (
        title
        == f"demo/ac-sasrec/typed, epoch {found.epoch}: test split, {found.facts.users:,} users, protocol B, "
        + ("seen items excluded")
    )
    assert header.split() == ["model", "popularity"] and f"{found.metrics['hit@5']:.4f}" in rows[-1]
    assert found._repr_html_().startswith("<h4>demo/ac-sasrec/typed, epoch") and "<td>" in found._repr_html_()


def test_load_is_the_command(place: Path) -> None:
    assert actsr.load().name.endswith("-refit")  # the latest, which may be a refit
    for run in ("typed", "ac-sasrec/typed", place / "runs/demo/ac-sasrec/typed", Path("runs/demo/ac-sasrec/typed")):
        assert actsr.load(run).name == "demo/ac-sasrec/typed"
    recommender = actsr.load(open_run(place / "runs/demo/ac-sasrec/typed"), device="cpu", batch_size=3)
    assert isinstance(recommender, actsr.Recommender)
    found = recommender.recommend_users(k=3)
    (first,) = json.loads(call("recommend", "typed", "--user", found[0].user, "--k", "3", "--json").stdout)
    assert [item["item"] for item in first["items"]] == found[0].ids
    assert [item["score"] for item in first["items"]] == pytest.approx([item.score for item in found[0]], abs=1e-5)


def test_prepare_is_the_command(place: Path) -> None:
    rows = [(f"u{user}", f"i{item % 9}", item) for user in range(9) for item in range(user, user + 9)]
    frame = pd.DataFrame(rows, columns=["who", "what", "when"])
    frame.to_csv(place / "log.csv", index=False, sep=";")
    columns = {"user": "who", "item": "what", "timestamp": "when", "separator": ";"}
    prepared = actsr.prepare("mine", place / "log.csv", columns=columns, settings={"user_core": 4})
    options = [
        argument
        for key, value in columns.items()
        for argument in (f"--{key}{'' if key == 'separator' else '-column'}", value)
    ]
    call("preprocess", "typed", "--from-file", str(place / "log.csv"), *options, "--user-core", "4")
    assert (prepared.data.n_users, prepared.data.n_items) == (9, 9)
    typed = actsr.prepare("typed", settings={"user_core": 4})
    assert typed.data.fingerprint == prepared.data.fingerprint
    assert prepared.to_frame()["users"].iloc[-1] == 9
    assert repr(prepared).startswith(f"mine, prepared in {prepared.folder}\n") and "interactions" in repr(prepared)
    assert prepared._repr_html_().startswith("<h4>mine</h4><table")
    assert actsr.prepare("mine").folder == actsr.prepare("mine", force=True).folder


def test_resume_is_the_command(place: Path) -> None:
    two = {**TINY, "training.epochs": 2}
    runs = place / "runs" / "demo" / "sasrec"
    call("train", "--model", "sasrec", *SMALL, "--epochs", "2", "--name", "by-hand")
    call("train", "--resume", "by-hand", "--epochs", "3")
    run = actsr.train("sasrec", preset="demo", settings=two, name="short")
    longer = actsr.resume(run, settings={"training.epochs": 3})
    assert longer.path == runs / "short" and longer.record.epochs == 3
    assert same_model(runs / "by-hand", runs / "short")
    final = actsr.resume("short", refit=True)
    assert final.name == "demo/sasrec/short-refit"
    with pytest.raises(RunError, match="is finished"):
        actsr.resume("by-hand")


def test_series() -> None:
    settings = {**TINY, "training.epochs": 1, "training.seed": 5}
    runs = actsr.train_seeds(2, "sasrec", preset="demo", settings=settings, name="pair")
    assert [run.name for run in runs] == ["demo/sasrec/pair-s5", "demo/sasrec/pair-s6"]
    stamps = [(run.path / "model.safetensors").stat().st_mtime_ns for run in runs]
    again = actsr.train_seeds(2, "sasrec", preset="demo", settings=settings, name="pair")
    assert [(run.path / "model.safetensors").stat().st_mtime_ns for run in again] == stamps


def test_an_interrupted_training(
    place: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupted(*_: object) -> None:
        signal.raise_signal(signal.SIGINT)

    monkeypatch.setattr("actsr_cli.progress.TrainingProgress.epoch_finished", interrupted)
    with pytest.raises(KeyboardInterrupt):
        actsr.train("sasrec", preset="demo", settings={**TINY, "training.epochs": 3}, name="stopped")
    run = place / "runs" / "demo" / "sasrec" / "stopped"
    assert repr(open_run(run)).startswith("Run(demo/sasrec/stopped, interrupted, best ndcg@10 0.")
    assert "Continue: resume('demo/sasrec/stopped')" in " ".join(capsys.readouterr().err.split())
    assert (run / "model.safetensors").exists()


def test_settings_that_are_none() -> None:
    """None is a value like others: here it takes the preset's place."""
    from actsr_cli.api import _resolved

    def resolved(**keys: Any) -> Any:
        settings = {f"model.{key}": value for key, value in keys.items()}
        return _resolved("sse-pt", "demo", None, None, settings).config.model

    assert resolved(user_size=5).user_size == 5 and resolved(user_size=None).user_size is None
    assert resolved(position_embedding=None).position_embedding is None
    with pytest.raises(ConfigError, match=r"training\.epochs = null"):
        actsr.train("sasrec", preset="demo", settings={"training.epochs": None})


def test_places_by_argument(place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("ACTSR_DATA", "ACTSR_RUNS"):
        monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(RunError, match="there is no run in runs"):
        actsr.load()
    with pytest.raises(DataError, match="no data set 'demo' in dataset"):
        actsr.prepare("demo")
    data_dir, runs_dir = str(place / "data"), place / "runs"
    assert actsr.load("typed", runs_dir=runs_dir).name == "demo/ac-sasrec/typed"
    assert actsr.evaluate("typed", data_dir=data_dir, runs_dir=str(runs_dir)).run == "demo/ac-sasrec/typed"
    assert actsr.prepare("demo", data_dir=data_dir).data.name == "demo"
    run = actsr.train("popularity", dataset="demo", data_dir=data_dir, runs_dir=tmp_path / "own", name="here")
    assert run.path == tmp_path / "own" / "demo" / "popularity" / "here"
    assert actsr.load(run).recommend_users(k=1)[0].by == "model"


@pytest.mark.parametrize(
    ("call_it", "message"),
    [
        (lambda: actsr.load("nope"), "no run 'nope'"),
        (lambda: actsr.load(device="foo"), "there is no device 'foo'"),
        (lambda: actsr.load(batch_size=0), "batch_size must be a whole number of at least 1, not 0"),
        (lambda: actsr.load(threads=0), "threads must be a whole number of at least 1, not 0"),
        (lambda: actsr.evaluate("nope"), "no run 'nope'"),
        (lambda: actsr.evaluate("typed-refit"), "no held-out items"),
        (lambda: actsr.evaluate("typed", split="train"), "split must be valid or test, not 'train'"),  # type: ignore[arg-type]
        (lambda: actsr.evaluate("typed", seen="foo"), "seen must be rank or exclude or exclude-repeats"),  # type: ignore[arg-type]
        (lambda: actsr.evaluate("typed", candidates="foo"), "candidates must be all or"),  # type: ignore[arg-type]
        (lambda: actsr.evaluate("typed", n_candidates=5), "n_candidates needs candidates"),
        (lambda: actsr.evaluate("typed", n_candidates=0, candidates="uniform"), "n_candidates must be"),
        (lambda: actsr.evaluate("typed", metrics=["foo"]), "unknown metric 'foo'"),
        (lambda: actsr.evaluate("typed", metrics="hit"), "metrics and k are lists"),
        (lambda: actsr.evaluate("typed", k=5), "metrics and k are lists"),  # type: ignore[arg-type]
        (lambda: actsr.evaluate("typed", k=[0]), "k must be a whole number of at least 1, not 0"),
        (lambda: actsr.evaluate("typed", k=[1.5]), "k must be a whole number of at least 1, not 1.5"),  # type: ignore[list-item]
        (lambda: actsr.evaluate("typed", device="foo"), "there is no device 'foo'"),
        (lambda: actsr.prepare("nope"), "no data set 'nope'"),
        (lambda: actsr.prepare("mine2", "missing.csv"), "no file missing.csv"),
        (lambda: actsr.prepare("mine2", "data/demo/demo.inter", format="foo"), "unknown format 'foo'"),
        (lambda: actsr.prepare("demo", settings={"user_cor": 5}), "unknown key 'data.user_cor'"),
        (
            lambda: actsr.prepare("mine2", "x.csv", columns={"usr": "x"}),
            "unknown column 'usr'; did you mean 'user'?",
        ),
        (lambda: actsr.prepare("demo", columns={"user": "x"}), "give the file, too"),
        (lambda: actsr.train("sasrek", preset="demo"), "unknown model 'sasrek'; did you mean 'sasrec'"),
        (lambda: actsr.train("sasrec", preset="dmo"), "unknown preset 'dmo'"),
        (lambda: actsr.train("sasrec", config="missing.yaml"), "no file missing.yaml"),
        (lambda: actsr.train("sasrec"), "no data set is named"),
        (lambda: actsr.train("sasrec", preset="demo", settings={"training.epoch": 1}), "unknown key 'training.epoch'"),
        (lambda: actsr.train("sasrec", preset="demo", settings={"training.epochs": "x"}), 'training.epochs = "x"'),
        (lambda: actsr.train("ac-sasrec", preset="demo", settings=TINY, name="typed"), "there is a run"),
        (lambda: actsr.train_seeds(0, "sasrec", preset="demo"), "seeds must be a whole number of at least 1, not 0"),
        (lambda: actsr.resume("nope"), "no run 'nope'"),
        (lambda: actsr.resume("typed", settings={"model.layers": 3}), "model.layers cannot change"),
    ],
)
def test_errors_can_be_caught(call_it: Any, message: str) -> None:
    with pytest.raises(actsr.ActsrError) as caught:
        call_it()
    assert message in str(caught.value) and "\n" not in str(caught.value)


def test_standard_output_is_left_to_the_caller(capsys: pytest.CaptureFixture[str]) -> None:
    actsr.prepare("demo")
    actsr.evaluate("typed")
    actsr.load("typed").recommend([])
    actsr.train("sasrec", preset="demo", settings={**TINY, "training.epochs": 1}, name="silent")
    captured = capsys.readouterr()
    assert captured.out == "" and "Training demo/sasrec/silent" in captured.err
