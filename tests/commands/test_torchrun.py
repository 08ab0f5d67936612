"""Training in two processes started by torchrun: equal numbers, one writer, and a report if a process dies."""

from __future__ import annotations

import csv
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from processes import SMALL, call, epochs_of, wait_until

from actsr_cli.distributed import ALONE, Workers

EXACT = ("--set", "model.hidden_dropout=0", "--set", "model.attention_dropout=0")


def torchrun(*arguments: str) -> subprocess.Popen[str]:
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    command = [*launcher, "-m", "actsr_cli", *arguments]
    return subprocess.Popen(command, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=dict(os.environ))


def finish(process: subprocess.Popen[str]) -> tuple[str, str]:
    """Standard output and standard error of a process that must succeed."""
    output, messages = process.communicate(timeout=200)
    assert process.returncode == 0, messages
    return output, messages


def process_of(torchrun_process: subprocess.Popen[str], rank: int) -> int:
    """The process id of a rank among the children of torchrun."""
    children = Path(f"/proc/{torchrun_process.pid}/task/{torchrun_process.pid}/children").read_text().split()
    for child in children:
        if f"RANK={rank}".encode() in Path(f"/proc/{child}/environ").read_bytes().split(b"\0"):
            return int(child)
    raise AssertionError(f"no rank {rank} among {children}")


def history(run: Path) -> list[dict[str, str]]:
    with (run / "history.csv").open() as lines:
        return list(csv.DictReader(lines))


def test_two_processes_train_as_one_does(place: Path) -> None:
    """No dropout and no noise: loss of each epoch and all metrics equal those of one process."""
    options = ("train", *SMALL, *EXACT, "--model", "sasrec", "--calibration", "spatial", "--epochs", "2")
    call(*options, "--name", "one")
    shared = torchrun(*options, "--name", "two")
    output, messages = finish(shared)
    assert output.count("Protocol") == 1 and messages.count("epoch   2") == 1, "one process speaks"
    runs = place / "runs" / "demo" / "sasrec-spatial"
    for one, two in zip(history(runs / "one"), history(runs / "two"), strict=True):
        for name in set(one) - {"train_seconds", "validation_seconds"}:
            assert float(two[name]) == pytest.approx(float(one[name]), rel=1e-5), name
    call("evaluate", "two")


@pytest.mark.skipif(not Path("/proc").exists(), reason="needs /proc to find a rank")
def test_a_killed_process_ends_the_run_and_leaves_a_checkpoint(place: Path) -> None:
    shared = torchrun("train", *SMALL, "--model", "ac-sasrec", "--epochs", "200", "--patience", "200", "--name", "dead")
    run = place / "runs" / "demo" / "ac-sasrec" / "dead"
    wait_until(lambda: epochs_of(run) >= 2, shared)
    os.kill(process_of(shared, rank=1), signal.SIGKILL)
    _, messages = shared.communicate(timeout=200)
    assert shared.returncode != 0
    assert "error: another process of this training has ended" in messages, messages
    assert "Traceback" not in messages.partition("another process of this training has ended")[2].partition("\n")[0]
    done = epochs_of(run)
    call("train", "--resume", "dead", "--epochs", str(done + 1))
    assert epochs_of(run) == done + 1


def test_a_shared_run_goes_on_shared_bit_for_bit(place: Path) -> None:
    """Dropout and noise are seeded per process and epoch, so stopping after an epoch changes nothing."""
    options = ("train", *SMALL, "--model", "ac-sasrec")
    for name, epochs in (("straight", 3), ("parts", 1)):
        finish(torchrun(*options, "--name", name, "--epochs", str(epochs)))
    finish(torchrun("train", "--resume", "parts", "--epochs", "3"))
    runs = place / "runs" / "demo" / "ac-sasrec"
    columns = ("loss/calibrated", "loss/perturbed", "hit@10")
    straight, parts = ([[row[c] for c in columns] for row in history(runs / name)] for name in ("straight", "parts"))
    assert straight == parts


def test_an_interrupted_process_leaves_together_with_the_others(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    left = []

    @contextmanager
    def joined() -> Iterator[Workers]:
        yield ALONE
        left.append("together")

    def interrupted(*_: object) -> None:
        signal.raise_signal(signal.SIGINT)

    monkeypatch.setattr("actsr_cli.api.joined_workers", joined)
    monkeypatch.setattr("actsr_cli.progress.TrainingProgress.epoch_finished", interrupted)
    said = call("train", "--model", "sasrec", *SMALL, "--epochs", "3", "--refit", "--name", "one", exit_code=130).stderr
    assert left == ["together"]
    assert "Continue: actsr train --resume demo/sasrec/one" in " ".join(said.split())
    assert not (place / "runs/demo/sasrec/one-refit").exists()


def test_a_counted_model_needs_no_company(place: Path) -> None:
    process = torchrun("train", "--preset", "demo", "--model", "popularity")
    _, messages = process.communicate(timeout=200)
    assert process.returncode != 0
    assert "not trained by gradients" in messages
