"""Training batches, also of long histories, give the same numbers as the padded batch of the same prefixes."""

from __future__ import annotations

from importlib import import_module
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from samples import built, prediction_loss, run_config, sequence_data

from actsr_cli.batch import TrainingBatch
from actsr_cli.config import MODELS, ModelOptions
from actsr_cli.data import batches
from actsr_cli.data.batches import TrainingBatches
from actsr_cli.models.base import SequentialModel
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
]


def prefixes(parts: list[TrainingBatch]) -> TrainingBatch:
    """One row per trained target: its latest MAX_LENGTH items, padded to MAX_LENGTH."""
    rows: list[TrainingBatch] = []
    for part in parts:
        assert part.user_ids is not None and part.timestamps is not None
        sequence, place = part.targets.nonzero(as_tuple=True)
        missing = MAX_LENGTH - part.item_ids.shape[1]
        within = torch.arange(MAX_LENGTH) <= place.unsqueeze(1)
        targets = torch.zeros(len(place), MAX_LENGTH, dtype=torch.int64)
        targets[torch.arange(len(place)), place] = part.targets[sequence, place]
        rows.append(
            TrainingBatch(
                item_ids=F.pad(part.item_ids, (0, missing))[sequence].where(within, 0),
                lengths=place + 1,
                user_ids=part.user_ids[sequence],
                timestamps=F.pad(part.timestamps, (0, missing))[sequence].where(within, 0.0),
                targets=targets,
            )
        )

    def together(name: str) -> torch.Tensor:
        return torch.cat([getattr(row, name) for row in rows])

    return TrainingBatch(
        item_ids=together("item_ids"),
        lengths=together("lengths"),
        user_ids=together("user_ids"),
        timestamps=together("timestamps"),
        targets=together("targets"),
    )


def losses_and_gradients(model: SequentialModel, *parts: TrainingBatch) -> tuple[dict[str, float], torch.Tensor]:
    model.zero_grad(set_to_none=True)
    objective = Objective(model, prediction_loss(n_items=DATA.n_items))
    losses = objective.losses(*parts)
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
    monkeypatch.setattr(batches, "_PAIRS_PER_PART", {"cpu": 2 * MAX_LENGTH**2})
    monkeypatch.setattr(torch, "randn_like", torch.zeros_like)  # the same noise for any cut of the batch
    torch.manual_seed(0)
    small: dict[str, Any] = {"max_length": MAX_LENGTH, "hidden_size": 12, "inner_size": 16, "hidden_dropout": 0.0}
    if MODELS.by_name[options["name"]].calibrated:
        small |= {"attention_dropout": 0.0, "initializer_range": 0.4}
    model = built(run_config(**options, **small), DATA.n_items, DATA.n_users)
    assert isinstance(model, SequentialModel)
    assert model.causal
    shared = TrainingBatches(DATA, max_length=MAX_LENGTH, batch_size=16, stride=stride)
    n_targets, n_parts = 0, []
    for parts in shared.epoch(torch.Generator().manual_seed(1)):
        alone = prefixes(parts)
        n_targets += len(alone.lengths)
        n_parts.append(len(parts))
        shared_losses, shared_gradient = losses_and_gradients(model, *parts)
        plain_losses, plain_gradient = losses_and_gradients(model, alone)
        assert shared_losses == pytest.approx(plain_losses, rel=1e-5)
        largest = plain_gradient.abs().max().item()
        torch.testing.assert_close(shared_gradient, plain_gradient, rtol=1e-4, atol=2e-6 * largest)
    assert n_targets == shared.n_targets
    assert max(n_parts) > 2
