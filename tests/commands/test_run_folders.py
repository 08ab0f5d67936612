"""A run's folder from the command line: it works without its data, and only one process at a time trains it."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from unittest.mock import Mock

import pytest
import torch
from flat import batch_of
from processes import SMALL, call, epochs_of, start, wait_until

from actsr_cli.errors import ActsrError, RunError
from actsr_cli.experiment.data import data_of
from actsr_cli.experiment.find import find_run
from actsr_cli.experiment.model import open_model
from actsr_cli.experiment.record import Status
from actsr_cli.experiment.run import Run, open_run


def test_a_run_has_its_own_data_whatever_becomes_of_the_source(place: Path) -> None:
    """It can be evaluated and resumed after its file has grown, from any folder, and after its data were moved."""
    call("train", "--model", "sasrec", *SMALL, "--epochs", "1", "--name", "one")
    before = json.loads(call("evaluate", "one", "--json").stdout)
    interactions = place / "data" / "demo" / "demo.inter"
    lines = interactions.read_text().splitlines()
    interactions.write_text("\n".join([*lines, lines[-1]]) + "\n")
    call("preprocess", "demo")
    assert json.loads(call("evaluate", "one", "--json").stdout) == before
    (place / "data" / "demo").rename(place / "data" / "moved")
    assert json.loads(call("evaluate", "one", "--json").stdout) == before
    call("train", "--resume", "one", "--epochs", "2")
    shutil.rmtree(place / "data" / "moved" / "prepared")
    said = " ".join(call("evaluate", "one", exit_code=1).stderr.split())
    assert "the data of demo/sasrec/one (fingerprint" in said and "no data set 'demo'" in said
    (place / "data" / "moved").rename(place / "data" / "demo")
    said = " ".join(call("evaluate", "one", exit_code=1).stderr.split())
    assert "the data of demo/sasrec/one have changed since it was trained" in said
    interactions.write_text("\n".join(lines) + "\n")
    assert json.loads(call("evaluate", "one", "--split", "valid", "--json").stdout)["epoch"] in (1, 2)


@pytest.mark.parametrize("model", ["ac-sasrec", "ac-sse-pt", "item-knn"])
def test_a_run_opens_without_its_data(place: Path, model: str) -> None:
    """Copied elsewhere, without its data, it ranks a history of raw ids as before."""
    small = (*SMALL, "--epochs", "1") if model != "item-knn" else SMALL[:4]
    call("train", "--model", model, *small, "--name", "one")
    run = open_run(place / "runs" / "demo" / model / "one")
    data = data_of(run, place / "data").data
    names = [data.item_names[item] for item in data.items[:5]]
    batch = batch_of([data.items[:5].tolist()], [0])
    with torch.no_grad():
        expected = open_model(run)[0].score(batch)
    shutil.copytree(run.path, place / "copy")
    shutil.rmtree(place / "data")
    shutil.rmtree(place / "runs")
    copied = find_run(place / "runs", str(place / "copy"))
    vocabulary = copied.vocabulary()
    with torch.no_grad():
        scores = open_model(copied)[0].score(batch_of([vocabulary.item_ids(names).tolist()], [0]))
    assert torch.equal(scores, expected) and copied.name == f"demo/{model}/one"
    assert (vocabulary.user_names is not None) == (model == "ac-sse-pt")
    (place / "copy" / ("users.parquet" if model == "ac-sse-pt" else "items.parquet")).unlink()
    with pytest.raises(ActsrError, match=r"vocabulary in .*copy (is missing|does not belong to this run)"):
        copied.vocabulary()


def test_a_refused_resume_leaves_the_run_as_it_was(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its settings are stored when training continues; an error before that changes nothing."""
    call("train", "--model", "sasrec", *SMALL, "--epochs", "2", "--name", "one")
    run = place / "runs" / "demo" / "sasrec" / "one"
    before = [(run / name).read_bytes() for name in ("config.yaml", "run.json")]
    assert (
        "is finished: it has 2 epochs, more than 1"
        in call("train", "--resume", "one", "--epochs", "1", exit_code=1).stderr
    )
    with monkeypatch.context() as patch:
        patch.setattr("actsr_cli.experiment.train.batches_for", Mock(side_effect=RunError("no memory")))
        call("train", "--resume", "one", "--epochs", "3", exit_code=1)
    assert [(run / name).read_bytes() for name in ("config.yaml", "run.json")] == before
    call("train", "--resume", "one", "--epochs", "3")
    assert open_run(run).config.training.epochs == 3


def test_the_record_of_a_training_that_begins_and_ends(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """After an error before the first epoch the run is failed; a finished run has its metrics."""
    runs = place / "runs" / "demo" / "sasrec"
    train = ("train", "--model", "sasrec", *SMALL, "--epochs", "1", "--name")
    with monkeypatch.context() as patch:
        patch.setattr("actsr_cli.experiment.train.batches_for", Mock(side_effect=RunError("no memory")))
        call(*train, "broken", exit_code=1)
    assert open_run(runs / "broken").record.error == "RunError: no memory"
    with monkeypatch.context() as patch:
        patch.setattr(Run, "add_metrics", Mock(side_effect=RunError("the disk is full")))
        call(*train, "full", exit_code=1)
    assert open_run(runs / "full").status is Status.FAILED
    call("train", "--resume", "full", "--epochs", "2")
    record = open_run(runs / "full").record
    assert record.finished and record.error is None and record.ended is not None


def test_a_run_is_trained_by_one_process_at_a_time(place: Path) -> None:
    """A second process is refused. After a kill the run is stopped, not running, and can be resumed."""
    options = ("--model", "sasrec", *SMALL, "--epochs", "500", "--patience", "500")
    process = start("train", *options, "--name", "one")
    run = place / "runs" / "demo" / "sasrec" / "one"
    wait_until(lambda: epochs_of(run) >= 1, process)

    def status() -> str:
        (listed,) = json.loads(call("runs", "--json").stdout)
        return str(listed["status"])

    assert status() == "running"
    config = (run / "config.yaml").read_bytes()
    for command in (("train", "--resume", "one", "--epochs", "900"), ("runs", "delete", "one", "--yes")):
        assert f"is being trained by process {process.pid} on host" in call(*command, exit_code=1).stderr
    assert (run / "config.yaml").read_bytes() == config and process.poll() is None
    process.kill()
    process.communicate()
    assert json.loads((run / "run.json").read_text())["status"] == "running" and status() == "stopped"
    assert "one" in call("runs", "--status", "stopped").stdout
    assert "but 1 stopped" in " ".join(call("evaluate", exit_code=1).stderr.split())
    call("train", "--resume", "one", "--epochs", str(epochs_of(run) + 1))
    assert status() == "finished"
