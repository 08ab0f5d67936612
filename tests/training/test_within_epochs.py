"""Checkpoints within an epoch: a training stopped after any batch continues bit for bit."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from trainings import BATCHES, EPOCHS, assert_same, small_config, train_on, train_short

from actsr_cli.config import RunConfig
from actsr_cli.experiment.record import Status
from actsr_cli.training.checkpoint import saved_state

CLOZE = small_config({"name": "bert4rec", "mask_last": 0.3}, calibration={"kind": "full", "combine": "annealing"})
AVERAGED = small_config(
    {"name": "sse-pt", "user_replacement": 0.2},
    calibration={"kind": "adversarial"},
    loss={"name": "sampled", "negatives": 5},
    training={"ema": 0.9, "schedule": "cosine", "warmup": 0.5, "gradient_clip": 0.5},
)


TOUCHED = small_config(
    {"name": "sasrec"},
    loss={"name": "gbce", "negatives": 2},
    training={
        "item_updates": "touched",
        "optimizer": "adamw",
        "weight_decay": 0.1,
        "ema": 0.9,
        "warmup": 0.5,
        "gradient_clip": 0.1,
    },
)


@pytest.mark.parametrize("settings", [CLOZE, AVERAGED, TOUCHED], ids=["bert4rec", "sse-pt", "touched rows"])
def test_a_training_goes_on_after_any_batch(tmp_path: Path, settings: RunConfig) -> None:
    whole = train_short(tmp_path, settings, "whole")
    for stop in range(1, EPOCHS * BATCHES):
        run = train_short(tmp_path, settings, f"stopped-{stop}", stop)
        assert run.status is Status.INTERRUPTED
        state = saved_state(run.batch_checkpoint_file)
        assert state.partial is not None
        assert (state.epoch, state.partial.batches) == ((stop - 1) // BATCHES, (stop - 1) % BATCHES + 1)
        torch.rand(stop)  # what is drawn in between must not matter
        listener = train_on(run)
        assert listener.batches == [(1 + at // BATCHES, 1 + at % BATCHES) for at in range(stop, EPOCHS * BATCHES)]
        assert_same(whole, run)


def test_a_model_that_was_not_validated_is_that_of_a_whole_epoch(tmp_path: Path) -> None:
    settings = small_config({"name": "sasrec"}, training={"validate_every": 5})
    run = train_short(tmp_path, settings, "one", 1)
    assert not run.model_file.exists()
    train_on(run)
    assert run.status is Status.FINISHED and run.model_file.exists()


def test_a_damaged_checkpoint_of_a_batch_costs_that_epoch_alone(tmp_path: Path) -> None:
    whole = train_short(tmp_path, CLOZE, "whole")
    run = train_short(tmp_path, CLOZE, "stopped", BATCHES + 1)
    run.batch_checkpoint_file.write_bytes(b"damaged")
    assert train_on(run).batches[0] == (2, 1)
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
        "item_updates": st.sampled_from(["all", "touched"]),
    }
)


@settings(max_examples=6, suppress_health_check=list(HealthCheck))
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
    decayed_in_the_gradient = training["weight_decay"] and training["optimizer"] == "adam"
    if loss["name"] == "ce" or decayed_in_the_gradient:
        training = training | {"item_updates": "all"}
    wanted = small_config(dict(model), calibration=calibration, loss=dict(loss), training=dict(training))
    folder = tmp_path_factory.mktemp("runs")
    whole = train_short(folder, wanted, "whole")
    run = train_short(folder, wanted, "stopped", stops[0])
    for stop in stops[1:]:
        if run.status is not Status.FINISHED:
            train_on(run, stop)
    if run.status is not Status.FINISHED:
        train_on(run)
    assert_same(whole, run)
