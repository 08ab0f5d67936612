"""Short trainings of four batches per epoch, for tests that stop them and compare the results."""

from __future__ import annotations

import signal
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from samples import sequence_data

from actsr_cli.attention import Losses
from actsr_cli.config import RunConfig
from actsr_cli.experiment.record import Status
from actsr_cli.experiment.resume import resume_run
from actsr_cli.experiment.run import Run, new_run
from actsr_cli.experiment.train import train_run
from actsr_cli.tensors import load_tensors
from actsr_cli.training.checkpoint import saved_state
from actsr_cli.training.objective import Objective
from actsr_cli.training.trainer import Observer, Trainer, TrainingState

DATA = sequence_data([[1 + (user + step) % 11 for step in range(8)] for user in range(32)], timestamps=True)
EPOCHS, BATCHES = 2, 4
NAN, INF = float("nan"), float("inf")
Where = Callable[[int, int, float], bool]


class Listener(Observer):
    """Asks to stop after `stop_after` batches; keeps what was said."""

    def __init__(self, stop_after: int | None = None) -> None:
        self.stop_after = stop_after
        self.batches: list[tuple[int, int]] = []
        self.epoch = 0
        self.said: list[str] = []

    def epoch_started(self, epoch: int, n_batches: int) -> None:
        self.epoch = epoch
        assert n_batches == BATCHES

    def batches_finished(self, count: int, loss: float) -> None:
        self.batches.append((self.epoch, count))

    def noted(self, text: str) -> None:
        self.said.append(text)

    def stop(self) -> bool:
        return self.stop_after is not None and len(self.batches) >= self.stop_after


def small_config(model: dict[str, Any], **sections: dict[str, Any]) -> RunConfig:
    small: dict[str, Any] = {"hidden_size": 8, "inner_size": 8, "layers": 1, "max_length": 6}
    training = {"epochs": EPOCHS, "batch_size": 40, "threads": 1, "device": "cpu", **sections.pop("training", {})}
    return RunConfig.model_validate({"dataset": "d", "model": small | model, "training": training, **sections})


def train_short(
    runs: Path,
    settings: RunConfig,
    name: str,
    stop_after: int | None = None,
    listener: Listener | None = None,
) -> Run:
    """Train a new run; ask it to stop after so many batches."""
    listener = listener or Listener(stop_after)
    with new_run(runs, settings, DATA, name=name) as run:
        train_run(run, DATA, listener, stop=listener.stop)
    return run


def assert_same(one: Run, other: Run) -> None:
    """Weights, optimizer, average, generators, history and metrics are equal; times are not compared."""
    assert one.status is other.status is Status.FINISHED
    for file in ("model_file", "checkpoint_file"):
        tensors, others = (load_tensors(getattr(run, file))[0] for run in (one, other))
        assert tensors.keys() == others.keys()
        for name, tensor in tensors.items():
            assert torch.equal(tensor, others[name]), name
    assert without_times(saved_state(one.checkpoint_file)) == without_times(saved_state(other.checkpoint_file))
    assert one.metrics == other.metrics
    assert {path.name for path in one.path.iterdir()} == {path.name for path in other.path.iterdir()}


def without_times(state: TrainingState) -> dict[str, Any]:
    values = state.to_dict()
    for record in values["history"]:
        assert record.pop("train_seconds") > 0
        record.pop("validation_seconds")
    return values


def train_on(run: Run, stop_after: int | None = None) -> Listener:
    """Resume a run; Ctrl-C after so many batches."""
    listener = Interrupting(stop_after)
    resume_run(run, DATA, listener)
    return listener


class Interrupting(Listener):
    """Presses Ctrl-C after `stop_after` batches."""

    def batches_finished(self, count: int, loss: float) -> None:
        super().batches_finished(count, loss)
        if len(self.batches) == self.stop_after:
            signal.raise_signal(signal.SIGINT)


def poison(monkeypatch: pytest.MonkeyPatch, where: Where, loss: str | None = "calibrated", value: float = NAN) -> None:
    """Make a loss, or for None the gradient, another value in each step of an epoch, batch and rate that fits."""
    prepare, losses, backward = Trainer._set_rate, Objective.losses, Objective.backward
    hit = [False]

    def prepared(self: Trainer, epoch: int, batch: int) -> None:
        prepare(self, epoch, batch)
        hit[0] = where(epoch, batch, self.optimizer.rate)

    def poisoned(self: Objective, batch: Any) -> Losses:
        found = losses(self, batch)
        return replace(found, **{loss: getattr(found, loss) * value}) if loss is not None and hit[0] else found

    def poisoned_backward(self: Objective, found: Losses) -> None:
        backward(self, found)
        if loss is None and hit[0]:
            gradient = next(self.model.parameters()).grad
            assert gradient is not None
            gradient[1] = value

    monkeypatch.setattr(Trainer, "_set_rate", prepared)
    monkeypatch.setattr(Objective, "losses", poisoned)
    monkeypatch.setattr(Objective, "backward", poisoned_backward)


def at(epoch: int, batch: int, above: float = 0.0) -> Where:
    """In this batch, while the learning rate is above a value."""
    return lambda *now: now[:2] == (epoch, batch) and now[2] > above
