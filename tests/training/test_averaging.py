"""The moving average of the weights is compared with its recurrence."""

from __future__ import annotations

import torch
from samples import built, run_config

from actsr_cli.models.base import SequentialModel
from actsr_cli.training.averaging import judged_model, weight_average


def small_model() -> SequentialModel:
    model = built(run_config(hidden_size=4, inner_size=4), 5)
    assert isinstance(model, SequentialModel)
    return model


def test_the_average_forgets_faster_at_first_and_then_by_its_decay() -> None:
    model = small_model()
    average = weight_average(model, 0.3)
    assert average is not None
    expected = None
    for step in range(12):
        with torch.no_grad():
            model.item_vectors().fill_(float(step**2))
        average.update_parameters(model)
        decay = min(0.3, (1 + step) / (10 + step))  # 1/10, 2/11, 3/12, 4/13, then 0.3
        expected = float(step**2) if expected is None else decay * expected + (1 - decay) * step**2
        found = judged_model(model, average).item_vectors()
        torch.testing.assert_close(found, torch.full_like(found, expected))
    assert decay == 0.3


def test_without_a_decay_the_model_itself_is_judged() -> None:
    model = small_model()
    assert weight_average(model, 0.0) is None
    assert judged_model(model, None) is model
