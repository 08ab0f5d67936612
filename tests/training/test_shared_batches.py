"""Training batches, also of long histories, give the same numbers as the padded batch of the same prefixes."""

from __future__ import annotations

from importlib import import_module
from typing import Any

import pytest
import torch
from flat import batch_of, trained
from samples import built, prediction_loss, run_config, sequence_data

from actsr_cli.batch import TrainingBatch
from actsr_cli.config import MODELS, ModelOptions
from actsr_cli.data.batches import TrainingBatches
from actsr_cli.models.base import SequentialModel
from actsr_cli.models.filters import FILTERS
from actsr_cli.models.registry import display_name
from actsr_cli.training.objective import Objective

MAX_LENGTH = 6
DATA = sequence_data(
    [[1 + (user * 7 + step * step) % 13 for step in range(4 + user)] for user in range(14)], timestamps=True
)


def _is_causal(options: type[ModelOptions]) -> bool:
    module, _, name = options.target.partition(":")
    return options.trained and bool(getattr(import_module(module), name).causal)


CAUSAL: list[dict[str, Any]] = [
    *(
        {"name": name, "calibration": calibration}
        for name, options in MODELS.by_name.items()
        if _is_causal(options)
        for calibration in (("none", "full") if options.calibrated else ("none",))
    ),
    {"name": "tisasrec", "calibration": "full", "interval_scale": "raw", "time_span": 3},
    *({"name": "sasrec", "calibration": "full", "filter": kind, "filter_kernel": 3} for kind in FILTERS),
    {"name": "sse-pt", "filter": "conv", "learn_repeats": True},
    {"name": "tisasrec", "calibration": "full", "filter": "conv", "learn_repeats": True},
    {"name": "gru4rec", "learn_repeats": True},
    {"name": "sasrec", "calibration": "full", "residual": "gated", "filter": "conv"},
]


def prefixes(batch: TrainingBatch) -> TrainingBatch:
    """A sequence per trained target: its latest MAX_LENGTH items, only the last one trained."""
    assert batch.user_ids is not None and batch.timestamps is not None
    packing, items, users, times = batch.packing, [], [], []
    for row in batch.rows.tolist():
        sequence = int(packing.sequences[row])
        prefix = slice(int(packing.first[sequence]), row + 1)
        items.append(batch.item_ids[prefix].tolist())
        users.append(int(batch.user_ids[sequence]))
        times.append(batch.timestamps[prefix].tolist())
    targets = [[0] * (len(row) - 1) + [target] for row, target in zip(items, batch.targets.tolist(), strict=True)]
    return trained(batch_of(items, users, times), targets)


def losses_and_gradients(model: SequentialModel, batch: TrainingBatch) -> tuple[dict[str, float], torch.Tensor]:
    model.zero_grad(set_to_none=True)
    objective = Objective(model, prediction_loss(n_items=DATA.n_items))
    losses = objective.losses(batch)
    objective.backward(losses)
    gradients = [parameter.grad.flatten() for parameter in model.parameters() if parameter.grad is not None]
    return {name: value.item() for name, value in vars(losses).items() if value is not None}, torch.cat(gradients)


def test_all_causal_models_are_here() -> None:
    names = [display_name(run_config(**options)) for options in CAUSAL]
    assert {"sasrec", "ac-sasrec", "sse-pt", "ac-sse-pt", "tisasrec", "ac-tisasrec", "gru4rec"} <= set(names)
    assert not {"bert4rec", "ac-bert4rec", "item-knn", "popularity"} & set(names)


@pytest.mark.parametrize("stride", [1, 3])
@pytest.mark.parametrize("options", CAUSAL, ids=str)
def test_an_epoch_of_shared_batches_equals_its_prefixes(
    monkeypatch: pytest.MonkeyPatch, options: dict[str, Any], stride: int
) -> None:
    monkeypatch.setattr(torch, "randn_like", torch.zeros_like)  # the same noise for any cut of the batch
    torch.manual_seed(0)
    small: dict[str, Any] = {"max_length": MAX_LENGTH, "hidden_size": 12, "inner_size": 16, "hidden_dropout": 0.0}
    if MODELS.by_name[options["name"]].calibrated:
        small |= {"attention_dropout": 0.0, "initializer_range": 0.4}
    model = built(run_config(**options, **small), DATA.n_items, DATA.n_users)
    assert isinstance(model, SequentialModel)
    assert model.causal
    shared = TrainingBatches(DATA, max_length=MAX_LENGTH, batch_size=16, stride=stride)
    n_targets = 0
    for batch in shared.epoch(torch.Generator().manual_seed(1)):
        assert batch is not None
        alone = prefixes(batch)
        n_targets += len(alone)
        shared_losses, shared_gradient = losses_and_gradients(model, batch)
        plain_losses, plain_gradient = losses_and_gradients(model, alone)
        assert shared_losses == pytest.approx(plain_losses, rel=1e-5)
        largest = plain_gradient.abs().max().item()
        torch.testing.assert_close(shared_gradient, plain_gradient, rtol=1e-4, atol=2e-6 * largest)
    assert n_targets == shared.n_targets
