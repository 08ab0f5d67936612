"""Batches as training makes them, long histories and all, against the padded batch of the same prefixes."""

from __future__ import annotations

import pytest
import torch
from samples import sequence_data

from actsr_cli.batch import TrainingBatch
from actsr_cli.config import ModelConfig, TrainingConfig
from actsr_cli.data.batches import TrainingBatches
from actsr_cli.models.base import SequentialModel
from actsr_cli.models.registry import build_model
from actsr_cli.training.objective import Objective

MAX_LENGTH = 6
DATA = sequence_data([[1 + (user * 7 + step * step) % 13 for step in range(4 + user)] for user in range(14)])


def prefixes(batch: TrainingBatch) -> TrainingBatch:
    """One row per trained target: its latest items up to MAX_LENGTH, padded to it."""
    rows, lengths, targets = [], [], []
    for items, wanted in zip(batch.item_ids.tolist(), batch.targets.tolist(), strict=True):
        for place, target in enumerate(wanted):
            if target:
                prefix = items[: place + 1]
                rows.append(prefix + [0] * (MAX_LENGTH - len(prefix)))
                lengths.append(len(prefix))
                targets.append([0] * place + [target] + [0] * (MAX_LENGTH - place - 1))
    return TrainingBatch(item_ids=torch.tensor(rows), lengths=torch.tensor(lengths), targets=torch.tensor(targets))


def losses_and_gradients(model: SequentialModel, batch: TrainingBatch) -> tuple[dict[str, float], torch.Tensor]:
    model.zero_grad(set_to_none=True)
    objective = Objective(model, TrainingConfig())
    length = batch.item_ids.shape[1]
    noise = [torch.zeros(len(batch.lengths), model.config.heads, length, length)] * model.config.layers
    losses = objective.losses(batch, noise=noise)
    objective.backward(losses)
    gradients = [parameter.grad.flatten() for parameter in model.parameters() if parameter.grad is not None]
    return {name: value.item() for name, value in vars(losses).items()}, torch.cat(gradients)


@pytest.mark.parametrize("stride", [1, 3])
def test_an_epoch_of_shared_batches_equals_its_prefixes(stride: int) -> None:
    torch.manual_seed(0)
    config = ModelConfig(
        calibration="full",
        max_length=MAX_LENGTH,
        hidden_size=12,
        inner_size=16,
        hidden_dropout=0.0,
        attention_dropout=0.0,
        initializer_range=0.4,
    )
    model = build_model(config, DATA.n_items)
    batches = TrainingBatches(DATA, max_length=MAX_LENGTH, batch_size=16, stride=stride)
    n_targets = 0
    for batch in batches.epoch(torch.Generator().manual_seed(1)):
        alone = prefixes(batch)
        n_targets += len(alone.lengths)
        shared_losses, shared_gradient = losses_and_gradients(model, batch)
        plain_losses, plain_gradient = losses_and_gradients(model, alone)
        assert shared_losses == pytest.approx(plain_losses, rel=1e-5)
        largest = plain_gradient.abs().max().item()
        torch.testing.assert_close(shared_gradient, plain_gradient, rtol=1e-4, atol=2e-6 * largest)
    assert n_targets == batches.n_targets
