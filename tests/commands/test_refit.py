"""`actsr train --refit`: a final model on all data, for the number of epochs that validation chose."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from processes import SMALL, call
from safetensors.torch import load_file

from actsr_cli.experiment.data import data_of
from actsr_cli.experiment.run import open_run

TRAIN = ("train", "--model", "sasrec", *SMALL, "--set", "training.schedule=cosine", "--set", "training.ema=0.5")


@pytest.fixture
def runs(place: Path) -> Path:
    return place / "runs" / "demo" / "sasrec"


def record(run: Path) -> dict[str, Any]:
    values: dict[str, Any] = json.loads((run / "run.json").read_text())
    return values


def losses(run: Path) -> list[str]:
    with (run / "history.csv").open() as file:
        return [row["loss/calibrated"] for row in csv.DictReader(file)]


def said(*arguments: str, exit_code: int = 1) -> str:
    return " ".join(call(*arguments, exit_code=exit_code).stderr.split())


def test_a_final_model_on_all_data(place: Path, runs: Path) -> None:
    call(*TRAIN, "--epochs", "3", "--name", "one", "--refit")
    source, final = record(runs / "one"), record(runs / "one-refit")
    config, original = (yaml.safe_load((runs / name / "config.yaml").read_text()) for name in ("one-refit", "one"))
    assert config["split"] == {"by": "none"}
    assert config["training"] == original["training"] | {"stop_after": source["best_epoch"], "log_attention": 0}
    assert final["source"] == "demo/sasrec/one" and final["status"] == "finished" and final["best_epoch"] is None
    assert final["epochs"] == source["best_epoch"] and final["fingerprint"] == source["fingerprint"]
    assert not (runs / "one-refit" / "metrics.json").exists()

    run = open_run(runs / "one-refit")
    data = data_of(run, place / "data").data
    assert run.vocabulary().counts.sum() == data.n_interactions == data.training_part()[0].size
    assert open_run(runs / "one").vocabulary().counts.sum() < data.n_interactions
    saved, state = (load_file(run.path / name) for name in ("model.safetensors", "checkpoint.safetensors"))
    (averaged,) = (key for key in state if key.startswith("average.") and key.endswith("item_embedding.weight"))
    assert torch.equal(saved["item_embedding.weight"], state[averaged])

    refused = said("evaluate", "one-refit")
    assert (
        "was trained on all data: it has no held-out items" in refused and "actsr evaluate demo/sasrec/one" in refused
    )
    assert "no held-out items" in said("inspect-attention", "one-refit")
    assert "no held-out items" in said("compare", "one", "one-refit")
    assert json.loads(call("evaluate", "--json").stdout)["run"] == "demo/sasrec/one"
    last = source["best_epoch"]
    finished = f"is finished: epoch {last} of {last} is done It ends after epoch {last} (training.stop_after)"
    assert finished in said("train", "--resume", "one-refit")
    assert "is a refit already" in said("train", "--resume", "one-refit", "--refit")
    assert "there is a run" in said("train", "--resume", "one", "--refit")


def test_a_finished_run_is_refitted_later(runs: Path) -> None:
    call(*TRAIN, "--epochs", "2", "--name", "one", "--refit")
    call(*TRAIN, "--epochs", "2", "--name", "two")
    untouched = (runs / "two" / "checkpoint.safetensors").read_bytes()
    told = said("train", "--refit", "--threads", "1", exit_code=0)
    assert "The latest finished run is demo/sasrec/two" in told and "Training demo/sasrec/two-refit" in told
    assert (runs / "two" / "checkpoint.safetensors").read_bytes() == untouched
    one, two = (load_file(runs / f"{name}-refit" / "model.safetensors") for name in ("one", "two"))
    assert all(torch.equal(one[name], two[name]) for name in one)


def test_a_run_goes_on_before_it_is_refitted(runs: Path) -> None:
    call("train", "--model", "sasrec", *SMALL, "--epochs", "1", "--name", "one")
    call("train", "--resume", "one", "--epochs", "3", "--refit")
    assert record(runs / "one")["epochs"] == 3
    assert record(runs / "one-refit")["epochs"] == record(runs / "one")["best_epoch"]
    assert "one is finished: it has 3 epochs, more than 1" in said("train", "--resume", "one", "--epochs", "1")


def test_a_training_that_stops_early_is_the_beginning_of_a_longer_one(runs: Path) -> None:
    """Its schedule covers all epochs, and the last epoch is validated."""
    every = ("--set", "training.validate_every=4")
    call(*TRAIN, "--epochs", "4", "--name", "whole", *every)
    call(*TRAIN, "--epochs", "4", "--name", "part", *every, "--set", "training.stop_after=2")
    assert losses(runs / "part") == losses(runs / "whole")[:2]
    part = record(runs / "part")
    assert (part["status"], part["epochs"], part["best_epoch"]) == ("finished", 2, 2)


def test_what_was_trained_on_all_data_is_not_refitted(runs: Path) -> None:
    everything = (*TRAIN, "--epochs", "1", "--set", "split=none", "--name", "all")
    assert "--refit needs a validation split" in said(*everything, "--refit")
    assert not (runs / "all").exists()
    call(*everything)
    assert "demo/sasrec/all was trained on all data already" in said("train", "--resume", "all", "--refit")


def test_a_counted_model_counts_everything(place: Path) -> None:
    call("train", "--model", "popularity", *SMALL[:4], "--name", "one", "--refit")
    runs = place / "runs" / "demo" / "popularity"
    data = data_of(open_run(runs / "one-refit"), place / "data").data
    counts = load_file(runs / "one-refit" / "model.safetensors")
    assert sum(int(tensor.sum()) for tensor in counts.values()) == data.n_interactions


def test_a_refit_that_is_there_is_told_before_anything_is_trained(runs: Path) -> None:
    call("train", "--model", "popularity", *SMALL[:4], "--name", "one", "--refit")
    call("runs", "delete", "popularity/one", "--yes")
    refused = said("train", "--model", "popularity", *SMALL[:4], "--name", "one", "--refit")
    assert "actsr runs delete demo/popularity/one-refit" in refused and "--name" not in refused
    assert not (runs.parent / "popularity" / "one").exists()


def test_what_cannot_be_refitted(runs: Path) -> None:
    assert "there is no run in" in said("train", "--refit")
    assert "--seeds does not go with --refit" in said(*TRAIN, "--refit", "--seeds", "2")
    assert "--name does not go with --refit of the latest run" in said("train", "--refit", "--name", "x")
    call(*TRAIN, "--epochs", "1", "--name", "one")
    assert "training.learning_rate cannot change" in said("train", "--refit", "--learning-rate", "0.1")
