"""A run that was killed, damaged or is being trained never stands in the way of another command."""

from __future__ import annotations

import json
import math
import shutil
import signal
from collections.abc import Callable
from pathlib import Path

import pytest
import records
import torch
from processes import SMALL, Command, call, epochs_of, start, wait_until
from safetensors.torch import load_file

from actsr_cli.experiment.run import open_run

BASE = ("train", "--model", "sasrec", *SMALL)
ONE = (*BASE, "--epochs", "2", "--patience", "9", "--name", "one")
LONG = (*BASE, "--epochs", "500", "--patience", "500", "--name", "one")


def ended(process: Command) -> tuple[int, str]:
    """Exit code of a process, and what it said on standard error, in one line."""
    said = process.communicate(timeout=200)[1]
    assert "Traceback" not in said, said
    assert process.returncode is not None
    return process.returncode, " ".join(said.split())


@pytest.fixture
def runs(place: Path) -> Path:
    return place / "runs" / "demo" / "sasrec"


@pytest.fixture
def half_trained(runs: Path) -> Path:
    """A run that was killed in its first epoch: it has its settings, but neither a model nor a checkpoint."""
    call(*ONE)
    run = runs / "one"
    for name in ("checkpoint.safetensors", "model.safetensors", "metrics.json", "history.csv"):
        (run / name).unlink()
    change(run, status="running", epochs=None, best_epoch=None, value=None, ended=None)
    return run


def change(run: Path, **values: object) -> None:
    records.change(run / "run.json", **values)


def status(run: Path) -> str:
    return open_run(run).status.value


def test_a_run_killed_in_its_first_epoch_is_trained_anew(half_trained: Path) -> None:
    said = call(*ONE).stderr
    assert "demo/sasrec/one ended before its first epoch was finished: starting it anew" in said
    assert status(half_trained) == "finished" and epochs_of(half_trained) == 2


def test_resuming_a_run_without_a_finished_epoch_trains_it_anew(half_trained: Path) -> None:
    before = json.loads((half_trained / "run.json").read_text())
    said = call("train", "--resume", "one").stderr
    assert "demo/sasrec/one has no checkpoint: training it anew" in said
    record = open_run(half_trained).record
    assert (record.status, record.epochs, record.started) == ("finished", 2, before["started"])


def test_a_series_trains_a_member_without_a_finished_epoch_anew(half_trained: Path) -> None:
    half_trained.rename(half_trained.with_name("five-s0"))
    call(*ONE[:-1], "five", "--seeds", "2")
    assert [status(half_trained.with_name(f"five-s{seed}")) for seed in range(2)] == ["finished"] * 2


def leave_only(run: Path, name: str) -> None:
    shutil.rmtree(run)
    (run / name).mkdir(parents=True)


DAMAGES: dict[str, Callable[[Path], object]] = {
    "no record": lambda run: (run / "run.json").unlink(),
    "empty record": lambda run: (run / "run.json").write_bytes(b""),
    "half a record": lambda run: (run / "run.json").write_text('{"layout": 2, "sta'),
    "no settings": lambda run: leave_only(run, ".config.yaml.host.1.partial"),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_what_died_while_it_was_made_blocks_nothing(half_trained: Path, damage: str) -> None:
    DAMAGES[damage](half_trained)
    if damage != "no settings":
        (listed,) = json.loads(call("runs", "--json").stdout)
        assert (listed["run"], listed["status"]) == ("demo/sasrec/one", "unreadable")
    call(*ONE)
    assert status(half_trained) == "finished"


@pytest.mark.parametrize("damage", ["no record", "empty record"])
def test_a_damaged_run_hinders_no_other_and_can_be_deleted(runs: Path, damage: str) -> None:
    call(*ONE)
    shutil.copytree(runs / "one", runs / "bad")
    shutil.copytree(runs / "one", runs / "odd")
    shutil.copytree(runs / "one", runs / "two")
    DAMAGES[damage](runs / "bad")
    (runs / "odd" / "config.yaml").write_text("model: [")
    change(runs / "odd", name="odd", ended="2999-01-01T00:00:00+00:00")
    latest = call("evaluate", "--json")
    assert json.loads(latest.stdout)["run"] == "demo/sasrec/one"
    assert "Leaving out the later run demo/sasrec/odd" in latest.stderr
    for command in (("runs", "show", "one"), ("compare", "one", "two"), ("train", "--resume", "one", "--epochs", "3")):
        call(*command)
    assert "there is a run" in call(*ONE[:-1], "bad", exit_code=1).stderr  # it has a checkpoint
    call("runs", "delete", "bad", "odd", "--yes")
    assert [path.name for path in sorted(runs.iterdir())] == ["one", "two"]


def test_a_folder_that_is_no_run_is_left_alone(runs: Path) -> None:
    (runs / "one").mkdir(parents=True)
    (runs / "one" / "thesis.txt").write_text("years of work")
    assert "it is not a run" in call(*ONE, exit_code=1).stderr
    assert (runs / "one" / "thesis.txt").read_text() == "years of work"


@pytest.mark.parametrize("lacks", ["status", "status and metrics", "history"])
def test_a_kill_before_the_end_is_recorded_is_mended_by_resuming(runs: Path, lacks: str) -> None:
    call(*ONE)
    run = runs / "one"
    names = ("metrics.json", "history.csv", "model.safetensors")
    before = {name: (run / name).read_bytes() for name in names}
    change(run, status="running", ended=None, **({"epochs": 1} if lacks == "history" else {}))
    if lacks != "status":
        (run / "metrics.json").unlink()
    if lacks == "history":
        (run / "history.csv").write_text("epoch\n1\n")
    assert status(run) == "stopped"
    call("train", "--resume", "one")
    assert status(run) == "finished" and open_run(run).record.epochs == 2
    assert {name: (run / name).read_bytes() for name in names} == before
    assert "is finished: epoch 2 of 2 is done" in call("train", "--resume", "one", exit_code=1).stderr


def test_a_run_without_its_checkpoint_keeps_its_model(runs: Path) -> None:
    call(*ONE)
    run = runs / "one"
    (run / "checkpoint.safetensors").unlink()
    change(run, status="interrupted")
    assert "checkpoint.safetensors is missing" in call("train", "--resume", "one", exit_code=1).stderr
    assert "there is a run" in call(*ONE, exit_code=1).stderr
    assert (run / "model.safetensors").exists()


def test_one_of_two_works(runs: Path) -> None:
    """Two processes start a run of one name, and after a kill two resume it. The second learns who was first."""
    both = [start(*LONG) for _ in range(2)]
    wait_until(lambda: any(process.poll() is not None for process in both), both[0], seconds=200)
    second, first = sorted(both, key=lambda process: process.poll() is None)
    code, said = ended(second)
    assert code == 1 and f"demo/sasrec/one is being trained by process {first.pid} on host" in said
    wait_until(lambda: epochs_of(runs / "one") >= 1, first)
    refused = call("runs", "delete", "one", "--yes", exit_code=1).stderr
    assert f"by process {first.pid} on host" in refused and "--force" in refused
    first.send_signal(signal.SIGKILL)
    first.communicate()
    enough = ("--epochs", str(epochs_of(runs / "one") + 2))
    codes, texts = zip(*map(ended, [start("train", "--resume", "one", *enough) for _ in range(2)]), strict=True)
    assert sorted(codes) == [0, 1]
    assert "which has died: taking over" in texts[codes.index(0)]
    assert status(runs / "one") == "finished"


def test_a_run_in_training_is_deleted_by_force(runs: Path) -> None:
    process = start(*LONG)
    wait_until(lambda: epochs_of(runs / "one") >= 1, process)
    call("runs", "delete", "one", "--yes", "--force")
    code, said = ended(process)
    assert code == 1 and ("cannot be written: no such file or directory" in said or "it has no run.json" in said)
    assert not (runs / "one").exists()


def test_a_resumed_beginning_equals_an_unbroken_run(half_trained: Path, runs: Path) -> None:
    call(*ONE[:-1], "straight")
    call("train", "--resume", "one")
    one, other = (load_file(runs / name / "model.safetensors") for name in ("one", "straight"))
    assert all(torch.equal(one[name], other[name]) for name in one)


def test_a_counted_model_whose_monitor_has_no_value_has_failed(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("actsr_cli.experiment.train._validate", lambda config, *_: {config.training.monitor: math.nan})
    refused = call("train", "--model", "popularity", *SMALL[:2], "--name", "one", exit_code=1).stderr
    assert "has no value on validation" in refused
    assert status(place / "runs" / "demo" / "popularity" / "one") == "failed"


def test_a_counted_model_that_was_killed_before_its_end_is_counted_anew(place: Path) -> None:
    command = ("train", "--model", "item-knn", *SMALL[:4], "--name", "one")
    call(*command)
    run = place / "runs" / "demo" / "item-knn" / "one"
    model = (run / "model.safetensors").read_bytes()
    for again in (command, ("train", "--resume", "item-knn/one")):
        change(run, status="running", ended=None)
        call(*again)
        assert status(run) == "finished" and (run / "model.safetensors").read_bytes() == model
    refused = call(*command, exit_code=1).stderr
    assert "there is a run" in refused and "--resume" not in refused and "actsr runs delete" in refused
