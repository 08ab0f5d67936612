"""`actsr train --seeds`: the same training with several seeds."""

from __future__ import annotations

import json
import re
from pathlib import Path
from statistics import mean, stdev

import pytest
from processes import SMALL, call
from records import change

from actsr_cli.experiment.run import open_run

SERIES = ("train", "--model", "sasrec", "--name", "three", *SMALL, "--epochs", "1")


@pytest.fixture
def runs(place: Path) -> Path:
    return place / "runs" / "demo" / "sasrec"


def ndcg(run: Path) -> float:
    value: float = json.loads((run / "metrics.json").read_text())["valid/exclude"]["ndcg@10"]
    return value


def test_mean_and_spread_over_seeds(runs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("actsr_cli.console.results._width", 120)
    shown = call(*SERIES, "--seed", "4", "--seeds", "3").stdout
    names = [runs / f"three-s{seed}" for seed in (4, 5, 6)]
    values = [ndcg(run) for run in names]
    assert len(set(values)) == 3
    table = shown[shown.index("demo/sasrec/three: validation split, best epochs of 3 seeds") :]
    assert f"{mean(values):.4f} ± {stdev(values):.4f}" in re.sub(r" +", " ", table)
    call("train", "--model", "sasrec", "--name", "alone", *SMALL, "--epochs", "1", "--seed", "5")
    assert (runs / "alone" / "model.safetensors").read_bytes() == (names[1] / "model.safetensors").read_bytes()


def test_a_series_without_validation_has_no_means(runs: Path) -> None:
    trained = call(*SERIES, "--seeds", "2", "--set", "split=none")
    assert "three: validation" not in trained.stdout
    assert all((runs / f"three-s{seed}" / "model.safetensors").exists() for seed in (0, 1))


def test_a_series_goes_on_where_it_stopped(runs: Path) -> None:
    call(*SERIES, "--seeds", "2")
    kept = (runs / "three-s0" / "run.json").read_bytes()
    said = call(*SERIES, "--seeds", "3").stderr
    assert said.count("is finished already") == 2 and (runs / "three-s2" / "model.safetensors").exists()
    value = ndcg(runs / "three-s1")
    call("evaluate", "three-s1", "--split", "valid", "--k", "7")
    refused = " ".join(call("recommend", "three", exit_code=1).stderr.split())
    assert "'three' is a series of 3 runs Name one: demo/sasrec/three-s0" in refused
    assert ndcg(runs / "three-s1") == pytest.approx(value)  # metrics with other cut-offs are added to the existing ones
    assert "± " in call(*SERIES, "--seeds", "3").stdout
    assert (runs / "three-s0" / "run.json").read_bytes() == kept

    change(runs / "three-s1" / "run.json", status="interrupted")
    refused = call(*SERIES, "--seeds", "3", exit_code=1).stderr
    assert "three-s1 is not finished" in refused and "actsr train --resume demo/sasrec/three-s1" in refused
    (runs / "three-s1" / "checkpoint.safetensors").unlink()
    assert "actsr runs delete demo/sasrec/three-s1" in call(*SERIES, "--seeds", "3", exit_code=1).stderr
    other = call(*SERIES, "--seeds", "3", "--learning-rate", "0.1", exit_code=1).stderr
    assert "different settings" in other


def test_a_series_is_known_by_its_name(runs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("actsr_cli.console.results._width", 120)
    call(*SERIES, "--seeds", "2")
    spread = f"{mean(values := [ndcg(runs / f'three-s{seed}') for seed in (0, 1)]):.4f} ± {stdev(values):.4f}"
    shown = re.sub(r" +", " ", call("runs", "show", "three").stdout)
    assert spread in shown and "demo/sasrec/three-s0 demo/sasrec/three-s1" in shown and "hidden_size: 16" in shown
    told = json.loads(call("runs", "show", "demo/sasrec/three", "--json").stdout)
    assert [each["ndcg@10"] for each in told["metrics"]["valid/exclude"]] == values
    evaluated = re.sub(r" +", " ", call("evaluate", "sasrec/three", "--split", "valid").stdout)
    assert spread in evaluated and "demo/sasrec/three, 2 seeds" in evaluated

    call("train", "--model", "sasrec", "--name", "three", *SMALL, "--epochs", "1")
    both = " ".join(call("runs", "show", "three", exit_code=1).stderr.split())
    assert "'three' matches a series of 2 runs and the run demo/sasrec/three" in both
    assert json.loads(call("runs", "show", str(runs / "three"), "--json").stdout)["run"] == "demo/sasrec/three"
    call("runs", "delete", str(runs / "three"), "--yes")
    assert "no run 'thre'" in call("runs", "delete", "thre", "--yes", exit_code=1).stderr
    call("runs", "delete", "three", "--yes")
    assert not runs.exists()


def test_what_a_series_shares_is_shown(runs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Runs with different cut-offs show the common metrics; a single run has no std."""
    monkeypatch.setattr("actsr_cli.console.results._width", 120)
    call(*SERIES, "--seeds", "2")
    call("evaluate", "three-s0", "--k", "3,10")
    call("evaluate", "three-s1", "--k", "5,10")
    shared = json.loads(call("runs", "show", "three", "--json").stdout)["metrics"]["test/exclude"]
    assert [{name for name in metrics if name.startswith("hit")} for metrics in shared] == [{"hit@10"}] * 2
    assert "test split, 2 seeds" in call("runs", "show", "three").stdout
    open_run(runs / "three-s0").add_metrics("test/exclude", {"hit@10": 0.5, "epoch": 7})  # no longer the best one
    assert "test/exclude" not in json.loads(call("runs", "show", "three", "--json").stdout)["metrics"]
    call("runs", "delete", "three-s1", "--yes")
    alone = call("runs", "show", "three").stdout
    assert "valid split, 1 seed" in alone and f"{ndcg(runs / 'three-s0'):.4f}" in alone and "±" not in alone


def test_what_does_not_go_together() -> None:
    assert "--seeds does not go with --resume" in call("train", "--resume", "x", "--seeds", "2", exit_code=1).stderr
