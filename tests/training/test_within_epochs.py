"""Checkpoints within an epoch: a training stopped after any batch continues bit for bit."""

from __future__ import annotations

import signal
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from samples import sequence_data

from actsr_cli.config import RunConfig
from actsr_cli.data.sequences import SequenceData
from actsr_cli.errors import RunError
from actsr_cli.experiment.record import Status
from actsr_cli.experiment.resume import reconfigure, resume_run
from actsr_cli.experiment.run import Run, new_run
from actsr_cli.experiment.train import train_run
from actsr_cli.training.checkpoint import load_tensors, saved_state
from actsr_cli.training.trainer import EpochRecord, Observer, TrainingState

DATA = sequence_data([[1 + (user + step) % 11 for step in range(8)] for user in range(32)], timestamps=True)
EPOCHS, BATCHES = 2, 4


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


def config(model: dict[str, Any], **sections: dict[str, Any]) -> RunConfig:
    small: dict[str, Any] = {"hidden_size": 8, "inner_size": 8, "layers": 1, "max_length": 6}
    training = {"epochs": EPOCHS, "batch_size": 40, "threads": 1, "device": "cpu", **sections.pop("training", {})}
    return RunConfig.model_validate({"dataset": "d", "model": small | model, "training": training, **sections})


def train(runs: Path, settings: RunConfig, name: str, stop_after: int | None = None) -> Run:
    listener = Listener(stop_after)
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


CLOZE = config({"name": "bert4rec", "mask_last": 0.3}, calibration={"kind": "full", "combine": "annealing"})
AVERAGED = config(
    {"name": "sse-pt", "user_replacement": 0.2},
    calibration={"kind": "adversarial"},
    loss={"name": "sampled", "negatives": 5},
    training={"ema": 0.9, "schedule": "cosine", "warmup": 0.5, "gradient_clip": 0.5},
)


@pytest.mark.parametrize("settings", [CLOZE, AVERAGED], ids=["bert4rec", "sse-pt"])
def test_a_training_goes_on_after_any_batch(tmp_path: Path, settings: RunConfig) -> None:
    whole = train(tmp_path, settings, "whole")
    for stop in range(1, EPOCHS * BATCHES):
        run = train(tmp_path, settings, f"stopped-{stop}", stop)
        assert run.status is Status.INTERRUPTED
        state = saved_state(run.batch_checkpoint_file)
        assert state.partial is not None
        assert (state.epoch, state.partial.batches) == ((stop - 1) // BATCHES, (stop - 1) % BATCHES + 1)
        torch.rand(stop)  # what is drawn in between must not matter
        listener = Listener()
        resume_run(run, DATA, listener)
        assert listener.batches == [(1 + at // BATCHES, 1 + at % BATCHES) for at in range(stop, EPOCHS * BATCHES)]
        assert_same(whole, run)


MODELS = st.sampled_from(
    [
        {"name": "sasrec", "item_replacement": 0.1},
        {"name": "bert4rec", "mask_last": 0.5},
        {"name": "sse-pt", "user_replacement": 0.3},
        {"name": "tisasrec"},
        {"name": "gru4rec"},
    ]
)
CALIBRATIONS = st.sampled_from(["none", "spatial", "adversarial", "full"])
LOSSES = st.sampled_from(
    [{"name": name} for name in ("ce", "gbce", "bce", "bpr")]
    + [{"name": "sampled", "negative_sampling": way} for way in ("uniform", "log-uniform", "in-batch")]
)
TRAININGS = st.fixed_dictionaries(
    {
        "ema": st.sampled_from([0.0, 0.8]),
        "optimizer": st.sampled_from(["adam", "adamw"]),
        "weight_decay": st.sampled_from([0.0, 0.1]),
        "schedule": st.sampled_from(["constant", "linear", "cosine"]),
        "warmup": st.sampled_from([0.0, 0.3, 1.5]),
        "gradient_clip": st.sampled_from([None, 0.1]),
        "precision": st.sampled_from(["float32", "bf16"]),
        "validate_every": st.sampled_from([1, 2]),
        "checkpoint_minutes": st.sampled_from([None, 1e-9]),
    }
)


@settings(max_examples=6, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    model=MODELS,
    kind=CALIBRATIONS,
    loss=LOSSES,
    training=TRAININGS,
    stops=st.lists(st.integers(1, EPOCHS * BATCHES - 1), min_size=1, max_size=3),
)
def test_whatever_is_trained(
    tmp_path_factory: pytest.TempPathFactory,
    model: dict[str, Any],
    kind: str,
    loss: dict[str, Any],
    training: dict[str, Any],
    stops: list[int],
) -> None:
    """Stopped several times, each time after so many more batches."""
    calibration = {"kind": "none" if model["name"] == "gru4rec" else kind}
    wanted = config(dict(model), calibration=calibration, loss=dict(loss), training=dict(training))
    folder = tmp_path_factory.mktemp("runs")
    whole = train(folder, wanted, "whole")
    run = train(folder, wanted, "stopped", stops[0])
    for stop in stops[1:]:
        if run.status is not Status.FINISHED:
            train_on(run, stop)
    if run.status is not Status.FINISHED:
        train_on(run)
    assert_same(whole, run)


def train_on(run: Run, stop_after: int | None = None) -> None:
    """Resume a run; Ctrl-C after so many batches."""

    class Interrupting(Listener):
        def batches_finished(self, count: int, loss: float) -> None:
            super().batches_finished(count, loss)
            if self.stop():
                signal.raise_signal(signal.SIGINT)
                self.stop_after = None

    resume_run(run, DATA, Interrupting(stop_after))
