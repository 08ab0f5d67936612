"""`actsr compare` from the command line: runs and series, files, and refusals."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from processes import SMALL, call
from records import change, change_text

from actsr_cli.data.synthetic import generate_demo

TWO = ("train", *SMALL, "--epochs", "2", "--seeds", "2")


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with demo data and two series of two seeds, a weak and a strong one."""
    folder = tmp_path_factory.mktemp("trained")
    (folder / "data" / "demo").mkdir(parents=True)
    generate_demo(folder / "data" / "demo", users=300)
    where = ("--data-dir", str(folder / "data"), "--runs-dir", str(folder / "runs"))
    call(*TWO, "--model", "sasrec", "--name", "weak", "--set", "training.learning_rate=1e-6", *where)
    call(*TWO, "--model", "sasrec", "--name", "strong", "--set", "training.learning_rate=1e-2", *where)
    return folder


@pytest.fixture
def series(trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of it for each test, to which ACTSR_DATA and ACTSR_RUNS point."""
    folder = tmp_path / "series"
    shutil.copytree(trained, folder)
    monkeypatch.setenv("ACTSR_DATA", str(folder / "data"))
    monkeypatch.setenv("ACTSR_RUNS", str(folder / "runs"))
    return folder


def test_series_in_tables_and_files(series: Path) -> None:
    folder = series / "compared"
    shown = call("compare", "weak", "demo/sasrec/strong", "--split", "valid", "--output", str(folder))
    said = " ".join(shown.stdout.split())
    assert "(1) demo/sasrec/strong against demo/sasrec/weak" in said
    assert "Validation split, protocol B, seen items excluded, 295 users" in said
    assert "NDCG@10 ↑ by history length" in said and "NDCG@10 ↑ by item popularity" in said
    table = pd.read_csv(folder / "differences.csv").set_index("metric")
    assert list(table.index) == ["hit@10", "ndcg@10", "mrr@10", "rank"]
    for column, name in (("baseline_mean", "weak"), ("contender_mean", "strong")):
        for metric in ("hit@10", "ndcg@10", "mrr@10"):
            of_runs = [
                json.loads((series / f"runs/demo/sasrec/{name}-s{seed}/metrics.json").read_text())["valid/exclude"]
                for seed in (0, 1)
            ]
            assert table.loc[metric, column] == pytest.approx(np.mean([each[metric] for each in of_runs]))
    assert table["difference"]["rank"] < 0 < table["difference"]["hit@10"]
    assert (table["p_users_holm"] < 0.001).all() and table["p_seeds"].notna().all()
    assert (table["p_users"] <= table["p_users_holm"]).all()
    slices = pd.read_csv(folder / "slices.csv")
    per_user = slices[(slices["contender"] == "demo/sasrec/strong") & (slices["by"] == "item popularity")]
    assert (per_user["users"]).sum() == 295
    overall = np.average(per_user["mean"], weights=per_user["users"])
    assert overall == pytest.approx(table.loc["ndcg@10", "contender_mean"])
    assert (folder / "intervals.png").read_bytes().startswith(b"\x89PNG")
    markdown, latex = (folder / "compare.md").read_text(), (folder / "compare.tex").read_text()
    assert "(1) demo/sasrec/strong (2 seeds) against the baseline demo/sasrec/weak (2 seeds)" in markdown
    assert "| Hit@10 ↑" in markdown
    assert latex.count(r"\begin{tabular}") == latex.count(r"\end{tabular}") == 2
    assert latex.isascii() or not set(latex) & set("↑↓±")


def test_single_runs_say_what_they_cannot_tell(series: Path) -> None:
    shown = call("compare", "weak-s0", "strong-s1", "strong-s0", "--k", "5,10", "--by", "hit@5", "--seen", "rank")
    said = " ".join(shown.stdout.split())
    assert "strong-s0: fewer than two seeds in common with the baseline" in said
    assert "is not finished" not in shown.stderr
    assert "p seeds:" in said and "(2) demo/sasrec/strong-s0 against demo/sasrec/weak-s0" in said
    assert "Test split, protocol A" in said and "Hit@5 ↑ by history length" in said
    told = json.loads(call("compare", "weak-s0", "strong-s0", "--threads", "1", "--json").stdout)
    assert torch.get_num_threads() == 1
    assert {each["metric"] for each in told["differences"]} == {"hit@10", "ndcg@10", "mrr@10", "rank"}
    assert all(each["seeds"] is None and "verdict" in each for each in told["differences"])


def test_a_run_equals_itself(series: Path) -> None:
    runs = series / "runs" / "demo" / "sasrec"
    shutil.copytree(runs / "strong-s0", runs / "copy")
    change(runs / "copy" / "run.json", name="copy")
    told = json.loads(call("compare", "strong-s0", "copy", "--json").stdout)
    assert {(each["difference"]["mean"], each["users"]["p"], each["verdict"]) for each in told["differences"]} == {
        (0.0, 1.0, "open")
    }


def test_runs_of_one_name_in_two_places_are_told_apart(series: Path) -> None:
    folder, other = series / "runs" / "demo" / "sasrec" / "weak-s0", series / "other"
    shutil.copytree(folder, other)
    told = json.loads(call("compare", "strong-s0", "weak-s0", str(other), "--json").stdout)
    assert {each["contender"] for each in told["differences"]} == {"demo/sasrec/weak-s0", "demo/sasrec/weak-s0 (2)"}
    assert "demo/sasrec/weak-s0 is given twice" in refused("weak-s0", str(folder))


def test_a_folder_that_cannot_be_written_is_refused_before_the_ranking(series: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")
    outcome = call("compare", "weak", "strong", "--output", str(tmp_path / "file" / "in"), exit_code=1)
    assert "file is a file, not a folder" in outcome.stderr and outcome.stdout == ""


def refused(*arguments: str) -> str:
    outcome = call("compare", *arguments, exit_code=1)
    assert "Traceback" not in outcome.output
    return " ".join(outcome.stderr.split())


def test_what_cannot_be_compared(series: Path) -> None:
    runs = series / "runs" / "demo" / "sasrec"
    assert "needs two runs or series" in refused("weak")
    assert "demo/sasrec/weak is given twice" in refused("weak", "demo/sasrec/weak")
    assert "no run 'wek'" in refused("weak", "wek")
    assert "--by takes one of hit@10, ndcg@10, mrr@10, rank" in refused("weak", "strong", "--by", "hit@5")
    assert "--k takes positive whole numbers" in refused("weak", "strong", "--k", "ten")

    call("train", "--model", "sasrec", *SMALL, "--epochs", "1", "--name", "other", "--set", "evaluation.seen=rank")
    assert "the runs have different protocols" in refused("weak", "other")
    call("compare", "weak", "other", "--seen", "exclude")

    change(runs / "other" / "run.json", fingerprint="feed")
    assert "demo/sasrec/other was trained on other data than demo/sasrec/weak-s0" in refused("weak", "other")

    change(runs / "strong-s1" / "run.json", status="interrupted")
    assert "demo/sasrec/strong-s1 is not finished (it is interrupted)" in refused("weak", "strong")
    single = call("compare", "weak-s0", "strong-s1").stderr
    assert "demo/sasrec/strong-s1 is not finished: it is interrupted" in " ".join(single.split())
    change(runs / "strong-s1" / "run.json", status="finished")
    shutil.copytree(runs / "weak-s0", runs / "strong-s2")
    assert "seed 0, so it does not belong to a series" in refused("weak", "strong")  # not a fourth run with seed 0
    change_text(runs / "strong-s2" / "config.yaml", "seed: 0", "seed: 2")
    assert "in more than its seed, so they are not a series" in refused("weak", "strong")
