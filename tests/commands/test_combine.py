"""`actsr combine`: an ensemble of trained runs, and the other commands on it."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from flat import batch_of
from processes import SMALL, call, made_once
from pydantic import ValidationError
from records import change

import actsr_cli as actsr
from actsr_cli.config.models import Member
from actsr_cli.errors import RunError
from actsr_cli.experiment.run import open_run
from actsr_cli.recommending.explanation import LEFT_OUT
from actsr_cli.tuning.planning import basis_of
from tools import results

TRAIN = ("train", *SMALL, "--epochs", "1")
BONUS = ("--set", "model.learn_repeats=true")


def _three(folder: Path) -> None:
    there = ("--runs-dir", str(folder))
    call(*TRAIN, "--model", "ac-sasrec", "--seeds", "2", "--name", "pair", *BONUS, *there)
    call(*TRAIN, "--model", "gru4rec", "--name", "gru", "--set", "model.similarity=cosine", *there)


@pytest.fixture
def runs(place: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The runs on demo: a series of two, pair, and gru."""
    shutil.copytree(made_once(tmp_path_factory, "combined", _three), place / "runs")
    return place / "runs" / "demo"


def refusal(*arguments: str) -> str:
    return " ".join(call(*arguments, exit_code=1).stderr.split())


def metrics(run: str) -> dict[str, Any]:
    values: dict[str, Any] = json.loads(call("evaluate", run, "--json").stdout)["metrics"]
    return values


def test_the_scores_are_the_mean_of_the_scores(runs: Path) -> None:
    said = call("combine", "pair", "gru", "--name", "all").stderr
    assert "Combined demo/ac-sasrec/pair-s0, demo/ac-sasrec/pair-s1, demo/gru4rec/gru into demo/ensemble/all" in said
    together, *models = (actsr.load(name).model for name in ("all", "pair-s0", "pair-s1", "gru"))
    batch = batch_of([[1, 2, 3], [4, 5], list(range(1, 40))])
    with torch.no_grad():
        mean = torch.stack([model.score(batch) for model in models]).mean(dim=0)
        torch.testing.assert_close(together.score(batch), mean, rtol=1e-4, atol=1e-5)
    assert open_run(runs / "ensemble" / "all").record.parameters == sum(
        sum(parameter.numel() for parameter in model.parameters()) for model in models
    )


def test_the_other_commands_work_on_it(runs: Path, tmp_path: Path) -> None:
    call("combine", "pair", "--name", "two")
    alone = [metrics(f"pair-s{seed}")["ndcg@10"] for seed in (0, 1)]
    assert metrics("two")["ndcg@10"] not in alone
    call("compare", "pair-s0", "two")
    users = json.loads(call("recommend", "two", "--user", "u0001", "--k", "3", "--json").stdout)
    assert len(users[0]["items"]) == 3
    indexed = json.loads(call("recommend", "two", "--user", "u0001", "--k", "3", "--index", "303", "--json").stdout)
    assert [item["item"] for item in indexed[0]["items"]] == [item["item"] for item in users[0]["items"]]
    assert call("similar", "i007", "--run", "two", "--k", "2").stdout
    call("export", "two", "--format", "torch-export", "--output", str(tmp_path / "exported"))
    recommender = actsr.load("two")
    *history, target = recommender.vocabulary.item_names[1:5]
    assert list(recommender.explain(history, target).importance) == [LEFT_OUT]
    assert "Inspect the runs that it is made of, one by one" in refusal("inspect-attention", "two")
    assert "or delete it: actsr runs delete demo/ensemble/two" in refusal("combine", "pair", "--name", "two")
    assert "its weights come from demo/ac-sasrec/pair-s0" in refusal("train", "--resume", "two")
    assert "ensemble cannot be trained" in refusal("train", "--config", str(runs / "ensemble" / "two" / "config.yaml"))
    assert "unknown model 'ensemble'" in refusal("train", "--preset", "demo", "--model", "ensemble")


def test_a_search_does_not_start_from_an_ensemble(runs: Path) -> None:
    call("combine", "pair", "--name", "both")
    said = refusal("tune", "--grid", "--epochs", "1")
    assert "demo/ensemble/both, the latest run, comes from actsr combine: it is not trained" in said
    for overrides, options in (([], {"model.name": "sasrec"}), (["model=sasrec"], {})):
        assert basis_of(None, overrides, options, runs.parent).resolved.config.model.name == "sasrec"


def test_an_ensemble_teaches(runs: Path) -> None:
    call("combine", "pair", "--name", "two")
    assert "it is an ensemble itself, of demo/ac-sasrec/pair-s0, demo/ac-sasrec/pair-s1" in refusal(
        "combine", "two", "gru"
    )
    call(*TRAIN, "--model", "sasrec", "--name", "taught", "--set", "loss.teachers=[demo/ensemble/two]")
    assert "demo/ensemble/two@" in (runs / "sasrec" / "taught" / "config.yaml").read_text()


def test_what_does_not_fit_together_is_refused(runs: Path) -> None:
    """Before a run is created."""
    assert "an ensemble needs two or more runs, and demo/ac-sasrec/pair-s0 is one" in refusal("combine", "pair-s0")
    with pytest.raises(RunError, match=r"an ensemble needs two or more runs$"):
        actsr.combine([])
    with pytest.raises(RunError, match="and demo/ac-sasrec/pair-s0 is one"):
        actsr.combine("pair-s0")
    call(*TRAIN, "--model", "bert4rec", "--name", "cloze")
    assert "cloze cannot be part of an ensemble: bert4rec is not a model that predicts" in refusal(
        "combine", "pair", "cloze"
    )
    call(*TRAIN, "--model", "sasrec", "--name", "long", "--set", "model.max_length=10")
    assert "it reads 10 items (model.max_length), and demo/ac-sasrec/pair-s0 reads 20" in refusal(
        "combine", "pair", "long"
    )
    call(*TRAIN, "--model", "sasrec", "--name", "late", "--set", "split.by=time")
    assert "it may know the items that are held out there" in refusal("combine", "pair", "late")
    call(*TRAIN, "--model", "sasrec", "--name", "core", "--set", "data.user_core=6")
    assert "was trained on other data" in refusal("combine", "pair", "core")
    change(runs / "gru4rec" / "gru" / "run.json", status="interrupted")
    assert "gru cannot be part of an ensemble: it is interrupted, not finished" in refusal("combine", "pair", "gru")
    assert not (runs / "ensemble").exists()


def test_code_of_others_cannot_be_a_part() -> None:
    """A run's folder may come from anybody: code that it names as a part of an ensemble is never imported."""
    for name in ("package.module:Class", "popularity", "sse-pt", "tisasrec"):
        with pytest.raises(ValidationError, match="is not a "):
            Member.model_validate({"model": {"name": name}, "calibration": {}})


def test_what_the_results_page_keeps_of_a_run_and_of_an_ensemble(runs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    call("combine", "pair", "gru", "--name", "all")
    rows = [*results.measured("pair-s1"), *results.measured("all")]
    together = "2 ac-sasrec and 1 gru4rec, together"
    assert [[row[key] for key in ("data", "model", "protocol", "seed", "epoch")] for row in rows] == [
        ["demo", "ac-sasrec", "A", 1, 1],
        ["demo", "ac-sasrec", "B", 1, 1],  # no target is a repeat: the readings of B agree
        ["demo", together, "A", None, None],
        ["demo", together, "B", None, None],
    ]
    shown = json.loads(call("evaluate", "pair-s1", "--seen", "exclude", "--k", "5,10,20", "--json").stdout)["metrics"]
    assert [rows[1][name] for name in results.METRICS] == [shown[name] for name in results.METRICS]
    monkeypatch.setattr(actsr, "evaluate", lambda *_, **__: SimpleNamespace(metrics=shown, epoch=1))
    assert [row["protocol"] for row in results.measured("pair-s1")] == ["A", "B"]  # also if all numbers are equal
