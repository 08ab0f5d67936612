"""Training and evaluation from the command line, in real processes that are interrupted and killed."""

from __future__ import annotations

import csv
import json
import signal
import sys
from pathlib import Path

import pandas as pd
import pytest
import torch
import yaml
from processes import SMALL, call, epochs_of, start, wait_until
from safetensors.torch import load_file
from samples import listed

from actsr_cli.config import LOSSES, MODELS


def test_a_run_from_training_to_metrics(place: Path) -> None:
    call("train", "--model", "ac-sasrec", *SMALL, "--epochs", "3", "--name", "one")
    run = place / "runs" / "demo" / "ac-sasrec" / "one"
    assert {path.name for path in run.iterdir()} == {
        "config.yaml",
        "run.json",
        "items.parquet",
        "run.lock",
        ".metrics.lock",
        "history.csv",
        "metrics.json",
        "model.safetensors",
        "checkpoint.safetensors",
        "tensorboard",
    }
    config = yaml.safe_load((run / "config.yaml").read_text())
    assert (config["calibration"]["kind"], config["model"]["hidden_size"]) == ("full", 16)
    assert config["training"]["epochs"] == 3
    record = json.loads((run / "run.json").read_text())
    assert record["status"] == "finished" and record["epochs"] == 3 and len(record["fingerprint"]) == 16
    with (run / "history.csv").open() as file:
        history = list(csv.DictReader(file))
    assert [row["epoch"] for row in history] == ["1", "2", "3"]
    assert [float(row["learning_rate"]) for row in history] == [0.003] * 3
    assert float(history[-1]["loss/calibrated"]) < float(history[0]["loss/calibrated"])
    best = max(float(row["ndcg@10"]) for row in history)
    metrics = json.loads((run / "metrics.json").read_text())
    assert metrics["valid/exclude"]["ndcg@10"] == pytest.approx(best)

    printed = json.loads(call("evaluate", "--split", "valid", "--json").stdout)
    assert printed["run"] == "demo/ac-sasrec/one"
    assert printed["metrics"]["ndcg@10"] == pytest.approx(best)
    assert printed["metrics"]["hit@10"] > printed["popularity"]["hit@10"]

    table = call("evaluate", "one", "--seen", "rank", "--k", "3,7", "--per-user", str(place / "ranks.csv")).stdout
    assert "Protocol A, seen items ranked" in table and "popularity" in table and "@7" in table
    ranks = pd.read_csv(place / "ranks.csv")
    test = json.loads((run / "metrics.json").read_text())["test/rank"]
    assert len(ranks) == test["users"] > 250 and test["hit@7"] == pytest.approx((ranks["rank"] <= 7).mean())


def test_json_alone_goes_to_standard_output(place: Path) -> None:
    (one,) = json.loads(call("train", "--model", "sasrec", *SMALL, "--epochs", "1", "--name", "one", "--json").stdout)
    assert one["run"] == "demo/sasrec/one" and Path(one["path"]) == place / "runs/demo/sasrec/one"
    assert (one["status"], one["epochs"], one["best_epoch"], one["monitor"]) == ("finished", 1, 1, "ndcg@10")
    assert one["metrics"]["valid/exclude"]["ndcg@10"] == one["value"] > 0
    both = json.loads(call("train", "--resume", "one", "--epochs", "2", "--refit", "--json").stdout)
    assert [(each["run"], each["epochs"]) for each in both] == [("demo/sasrec/one", 2), ("demo/sasrec/one-refit", 2)]


def test_tensorboard_has_curves_and_hyper_parameters(place: Path) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    call("train", "--model", "ac-sasrec", *SMALL, "--epochs", "2", "--name", "one", "--set", "training.schedule=linear")
    events = EventAccumulator(str(place / "runs/demo/ac-sasrec/one/tensorboard"))
    events.Reload()
    tags = events.Tags()["scalars"]
    assert {"loss/calibrated", "loss/perturbed", "loss/penalty", "valid/ndcg@10", "best/ndcg@10"} <= set(tags)
    assert [event.step for event in events.Scalars("loss/calibrated")] == [1, 2]
    rates = events.Scalars("learning_rate")
    assert [event.step for event in rates] == [1, 2]
    # linear over two epochs of n steps: epoch 1 ends with step n - 1 of 2 n, epoch 2 with step 2 n - 1
    ends = [1 - rate.value / 0.003 for rate in rates]
    assert ends[1] - ends[0] == pytest.approx(0.99 / 2, abs=1e-4) and 0.99 > ends[1] > 0.8
    assert "_hparams_/session_start_info" in events.summary_metadata


def test_a_killed_run_goes_on_bit_for_bit(place: Path) -> None:
    """SIGKILL in the middle of an epoch; resumed in another process, this one, it ends as an uninterrupted one does."""
    options = ("train", "--model", "ac-sasrec", *SMALL, "--epochs", "6", "--patience", "9")
    call(*options, "--name", "straight")
    runs = place / "runs" / "demo" / "ac-sasrec"
    killed = start(*options, "--name", "killed")
    wait_until(lambda: epochs_of(runs / "killed") >= 2, killed)
    killed.send_signal(signal.SIGKILL)
    killed.communicate()
    assert epochs_of(runs / "killed") < 6
    call("train", "--resume", "demo/ac-sasrec/killed")
    for file in ("model.safetensors", "checkpoint.safetensors"):
        one, other = load_file(runs / "straight" / file), load_file(runs / "killed" / file)
        assert one.keys() == other.keys()
        assert all(torch.equal(one[name], other[name]) for name in one), file
    assert not list((runs / "killed").glob("*.partial"))


def test_an_interrupt_ends_cleanly_with_the_best_model(place: Path) -> None:
    process = start("train", "--model", "ac-sasrec", *SMALL, "--epochs", "500", "--patience", "500", "--name", "one")
    run = place / "runs" / "demo" / "ac-sasrec" / "one"
    wait_until(lambda: epochs_of(run) >= 2, process)
    process.send_signal(signal.SIGINT)
    output, messages = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "interrupted in epoch" in messages and "actsr train --resume demo/ac-sasrec/one" in messages
    assert "Traceback" not in messages and "best epoch" in output
    assert json.loads((run / "run.json").read_text())["status"] == "interrupted"
    assert (run / "model.safetensors").exists()
    done = epochs_of(run)
    call("train", "--resume", "one", "--epochs", str(done + 1))
    assert epochs_of(run) == done + 1
    assert json.loads((run / "run.json").read_text())["status"] == "finished"


def test_resuming_refuses_what_would_change_the_numbers(place: Path) -> None:
    call("train", "--model", "sasrec", *SMALL, "--epochs", "1", "--name", "one")
    finished = call("train", "--resume", "one", exit_code=1).stderr
    assert "is finished: epoch 1 of 1 is done" in finished
    changed = call("train", "--resume", "one", "--learning-rate", "0.1", exit_code=1).stderr
    assert "training.learning_rate cannot change when a run is resumed" in changed
    assert "does not go with --resume" in call("train", "--resume", "one", "--preset", "demo", exit_code=1).stderr
    assert "no run 'two'" in call("train", "--resume", "two", exit_code=1).stderr


def test_the_model_of_the_best_epoch_is_never_replaced_by_the_last(place: Path) -> None:
    call("train", "--model", "sasrec", *SMALL, "--epochs", "1", "--name", "one")
    model = place / "runs" / "demo" / "sasrec" / "one" / "model.safetensors"
    model.unlink()
    refused = call("train", "--resume", "one", "--epochs", "2", exit_code=1)
    assert "the model of demo/sasrec/one is missing" in refused.stderr
    assert "that of its best epoch, 1" in " ".join(refused.stderr.split())
    assert not model.exists() and epochs_of(model.parent) == 1


def test_a_schedule_has_its_number_of_epochs(place: Path) -> None:
    schedule = ("--set", "training.schedule=linear", "--set", "training.warmup=0.5", "--set", "training.ema=0.9")
    call("train", "--model", "sasrec", *SMALL, *schedule, "--name", "one")
    refused = call("train", "--resume", "one", "--epochs", "9", exit_code=1)
    assert "run with a linear schedule is resumed" in " ".join(refused.stderr.split())


def test_plain_means_uncalibrated_whatever_the_preset_says(place: Path) -> None:
    call("train", "--model", "sasrec", *SMALL, "--epochs", "1", "--name", "one")
    call("train", "--model", "sasrec", "--calibration", "spatial", *SMALL, "--epochs", "1", "--name", "two")
    call("train", *SMALL, "--epochs", "1", "--name", "three")
    found = sorted(str(path.parent.relative_to(place / "runs")) for path in (place / "runs").glob("*/*/*/run.json"))
    assert found == ["demo/ac-sasrec/three", "demo/sasrec-spatial/two", "demo/sasrec/one"]


@pytest.mark.parametrize(
    ("chosen", "expected"),
    [
        (("--model", "sasrec", "--set", "calibration=spatial"), "sasrec-spatial"),
        (("--model", "sasrec", "--set", "calibration={kind: full, two_level: false}"), "ac-sasrec"),
        (("--model", "ac-sasrec", "--set", "calibration.mask_weight=0.1"), "ac-sasrec"),
        (("--model", "sasrec", "--calibration", "adversarial", "--set", "calibration=full"), "sasrec-adversarial"),
    ],
)
def test_a_calibration_that_is_set_counts_before_that_of_the_name(
    place: Path, chosen: tuple[str, ...], expected: str
) -> None:
    call("train", *chosen, *SMALL, "--epochs", "1", "--name", "one")
    assert (place / "runs" / "demo" / expected / "one" / "run.json").exists()


@pytest.mark.parametrize("command", [("train",), ("tune", "--grid")], ids=" ".join)
@pytest.mark.parametrize("value", ["null", "[1]"])
def test_a_calibration_that_is_none_of_the_kinds_is_refused(place: Path, command: tuple[str, ...], value: str) -> None:
    options = ("--preset", "demo", "--model", "ac-sasrec", "--set", f"calibration={value}")
    assert f"calibration = {value} (--set): must be a section" in call(*command, *options, exit_code=1).stderr


def test_errors_are_one_line(place: Path) -> None:
    for arguments, message in (
        (("train", "--model", "sasrek"), "unknown model 'sasrek'; did you mean 'sasrec'?"),
        (("train", "--model", "sasrec"), "no data set is named"),
        (("train", "--dataset", "nowhere"), "no data set 'nowhere'"),
        (("train", *SMALL, "--set", "training.epoch=3"), "did you mean 'training.epochs'?"),
        (("train", *SMALL, "--epochs", "0"), "training.epochs = 0 (--epochs)"),
        (("train", *SMALL, "--name", "a/b"), "is not a valid name for a run"),
        (("train", *SMALL, "--device", "cuda:99"), "device 'cuda:99' is not available here"),
        (("evaluate",), "there is no run in"),
        (("evaluate", "x"), "no run 'x'"),
    ):
        result = call(*arguments, exit_code=1)
        assert message in result.stderr.replace("\n", " "), result.stderr
        assert "Traceback" not in result.stderr
    assert not (place / "runs").exists(), "no run is made for what cannot be trained"
    call("train", *SMALL, "--epochs", "1", "--name", "one")
    assert "there is a run" in call("train", *SMALL, "--epochs", "1", "--name", "one", exit_code=1).stderr
    assert "positive whole numbers" in call("evaluate", "--k", "5,x", exit_code=1).stderr
    assert ".csv or .parquet" in call("evaluate", "--per-user", "ranks.txt", exit_code=1).stderr


@pytest.mark.parametrize(
    ("rows", "message"), [("a,x\nb,y\n", "no training targets"), ("a,x\na,y\n", "no users to validate on")]
)
def test_data_that_are_too_small(place: Path, rows: str, message: str) -> None:
    (place / "log.csv").write_text(f"user,item\n{rows}")
    call("preprocess", "tiny", "--from-file", str(place / "log.csv"), "--timestamp-column", "none")
    assert message in call("train", "--dataset", "tiny", exit_code=1).stderr
    assert not (place / "runs").exists()


def test_own_data_use_what_preprocess_was_told(place: Path) -> None:
    """A preset's data section is only for its own data set; for others, the latest preprocess settings are used."""
    log = place / "log.csv"
    users = [f"u{index}" for index in range(30)]
    rows = [f"{user},i{(n * step) % 9},{step}" for n, user in enumerate(users) for step in range(4 + n % 3)]
    log.write_text("who,what,when\n" + "\n".join(rows) + "\n")
    columns = ("--user-column", "who", "--item-column", "what", "--timestamp-column", "when")
    call("preprocess", "shop", "--from-file", str(log), *columns, "--max-length", "5")
    call("train", "--model", "ac-sasrec", *SMALL, "--dataset", "shop", "--epochs", "1", "--name", "one")
    config = yaml.safe_load((place / "runs/shop/ac-sasrec/one/config.yaml").read_text())
    assert config["data"]["max_length"] == 5 and config["data"]["user_core"] == 0
    call("train", *SMALL, "--dataset", "shop", "--epochs", "1", "--name", "two", "--set", "data.user_core=4")
    config = yaml.safe_load((place / "runs/shop/ac-sasrec/two/config.yaml").read_text())
    assert config["data"]["max_length"] is None and config["data"]["user_core"] == 4


def test_a_counting_model_is_a_run_like_any_other(place: Path) -> None:
    call("train", "--model", "item-knn", *SMALL[:4], "--name", "one", "--set", "model.neighbour_reach=2")
    run = place / "runs" / "demo" / "item-knn" / "one"
    record = json.loads((run / "run.json").read_text())
    assert (record["status"], record["best_epoch"]) == ("finished", 1)
    assert set(load_file(run / "model.safetensors")) == {"neighbours", "strengths"}
    assert "hit@10" in json.loads((run / "metrics.json").read_text())["valid/exclude"]
    metrics = json.loads(call("evaluate", "one", "--json").stdout)
    assert metrics["metrics"]["hit@10"] > metrics["popularity"]["hit@10"]
    refused = call("train", "--resume", "one", exit_code=1)
    assert "one is finished: item-knn is not trained by gradients" in " ".join(refused.stderr.split())
    before = (run / "config.yaml").read_text()
    call("train", "--resume", "one", "--epochs", "5", exit_code=1)
    assert (run / "config.yaml").read_text() == before


def test_names_in_commands_are_quoted(place: Path) -> None:
    named = ("train", "--model", "popularity", *SMALL[:4], "--name", "my run")
    said = " ".join(call(*named).stderr.split())
    assert "Next: actsr evaluate 'demo/popularity/my run' actsr recommend 'demo/popularity/my run'" in said
    assert "actsr runs delete 'demo/popularity/my run'" in " ".join(call(*named, exit_code=1).stderr.split())


def test_popularity_as_a_model_is_the_floor(place: Path) -> None:
    call("train", "--model", "popularity", *SMALL[:4], "--name", "one")
    metrics = json.loads(call("evaluate", "one", "--json").stdout)
    assert metrics["metrics"] == metrics["popularity"]


def test_times_are_asked_for_before_a_run_is_made(place: Path) -> None:
    (place / "lists.txt").write_text("".join(f"u{user} 1 2 3 4 {5 + user}\n" for user in range(9)))
    call("preprocess", "lists", "--from-file", str(place / "lists.txt"), "--format", "sequences")
    refused = call("train", "--model", "ac-tisasrec", "--dataset", "lists", exit_code=1)
    said = " ".join(refused.stderr.split())
    assert "TiSASRec needs timestamps, and 'lists' has none" in said
    others = [name for name, model in MODELS.by_name.items() if not model.needs_timestamps]
    assert {"sasrec", "bert4rec", "sse-pt", "gru4rec", "item-knn", "popularity"} <= set(others)
    assert f"another model: {', '.join(others)}." in said
    assert not (place / "runs").exists()


def test_what_does_not_suit_a_model_is_said(place: Path) -> None:
    refused = call("train", "--model", "gru4rec", "--calibration", "full", "--preset", "demo", exit_code=1)
    assert "GRU4Rec has no attention to calibrate" in " ".join(refused.stderr.split())
    for key, problem in (
        ("model.time_span=9", "popularity has no such key, it belongs to tisasrec"),
        ("calibration.renorm=softmax", "calibration none has no such key, it belongs to adversarial and full"),
        ("loss.negatives=9", f"loss ce has no such key, it belongs to {listed(LOSSES.owners('negatives'))}"),
    ):
        refused = call("train", "--model", "popularity", "--preset", "demo", "--set", key, exit_code=1)
        assert problem in " ".join(refused.stderr.split())
    refused = call("train", "--model", "item-knn", "--preset", "demo", "--epochs", "3", exit_code=1)
    said = " ".join(refused.stderr.split())
    assert "error: training.epochs (--epochs): item-knn is counted in one pass and does not read this key" in said
    assert not (place / "runs").exists()
    call("train", "--model", "popularity", "--preset", "demo")  # the preset's keys belong to other models
    refused = call("train", "--model", "sse-pt", "--preset", "demo", "--set", "model.user_size=999", exit_code=1)
    assert "user_size" in refused.stderr
    assert not (place / "runs" / "demo" / "sse-pt").exists()


def test_a_model_that_fails_leaves_a_failed_run(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "path", [*sys.path, str(place)])
    (place / "failing_models.py").write_text(FAILING)
    for name, words in (("Unbuilt", "cannot be built: KeyError: 'width'"), ("Uncounted", "no counting today")):
        outcome = call("train", "--model", f"failing_models:{name}", *SMALL[:4], "--name", "one", exit_code=1)
        record = json.loads((place / "runs" / "demo" / name / "one" / "run.json").read_text())
        assert record["status"] == "failed"
        assert words in record["error"]
        assert words in " ".join(f"{outcome.stderr} {outcome.exception}".split())


FAILING = """
from actsr_cli.models.base import CountingModel, CustomModel

class Unbuilt(CustomModel):
    def __init__(self, options, calibration, n_items, n_users=0):
        options.options["width"]

    def forward(self, batch): ...

    def item_vectors(self): ...

class Uncounted(CountingModel):
    def fit(self, items, offsets):
        raise RuntimeError("no counting today")

    def score(self, batch): ...
"""


def test_tied_weights_are_saved_and_gone_on_with(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "path", [*sys.path, str(place)])
    (place / "tied_model.py").write_text(TIED)
    call("train", "--model", "tied_model:Tied", *SMALL[:4], "--name", "one", "--epochs", "1")
    call("train", "--resume", "one", "--epochs", "2", "--trust-code")
    saved = load_file(place / "runs" / "demo" / "Tied" / "one" / "model.safetensors")
    assert torch.equal(saved["items.weight"], saved["out.weight"])
    assert "hit@10" in call("evaluate", "one", "--json", "--trust-code").stdout


TIED = """
from torch import nn
from actsr_cli.models.base import CustomModel

class Tied(CustomModel):
    def __init__(self, options, calibration, n_items, n_users=0):
        super().__init__(options, calibration, n_items, n_users)
        self.items = nn.Embedding(n_items + 1, 8)
        self.out = nn.Linear(8, n_items + 1, bias=False)
        self.out.weight = self.items.weight

    def forward(self, batch):
        return self.items(batch.item_ids)

    def item_vectors(self):
        return self.out.weight
"""


@pytest.mark.parametrize(
    ("model", "drawn"),
    [
        ("ac-bert4rec", ("--set", "model.mask_last=0.5")),
        ("ac-sse-pt", ("--set", "model.user_replacement=0.3")),
        ("ac-tisasrec", ()),
        ("gru4rec", ()),
    ],
)
def test_every_backbone_goes_on_where_it_stopped(model: str, drawn: tuple[str, ...], place: Path) -> None:
    """Three epochs at once and two plus one give the same parameters, also with masks and replaced users."""
    call("train", "--model", model, *SMALL, *drawn, "--epochs", "3", "--name", "whole")
    call("train", "--model", model, *SMALL, *drawn, "--epochs", "2", "--name", "parts")
    call("train", "--resume", "parts", "--epochs", "3")
    runs = place / "runs" / "demo" / model
    whole, parts = (load_file(runs / name / "checkpoint.safetensors") for name in ("whole", "parts"))
    assert whole.keys() == parts.keys()
    assert all(torch.equal(whole[name], parts[name]) for name in whole)
