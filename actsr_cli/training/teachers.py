"""Trained models that teach another: what they expect after each row of a training batch (knowledge distillation)."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property

import torch
from torch import Tensor

from actsr_cli.batch import TrainingBatch
from actsr_cli.models.base import SequentialModel
from actsr_cli.models.encoder import Pass
from actsr_cli.training.losses.soft_targets import SoftTargets


class Teachers:
    """Causal models of the same catalogue, whose mean scores are the soft targets of a training.

    Their bonus for items that the history holds (`model.learn_repeats`) is left out: each model learns its own.

    Args:
        models: the models, at least one, on the device of the training.
        share: how much of each target's probability goes to what they expect.
    """

    def __init__(self, models: Sequence[SequentialModel], share: float) -> None:
        self.models = [model.eval().requires_grad_(False) for model in models]
        self.share = share

    def expected(self, batch: TrainingBatch) -> SoftTargets:
        """What the models expect after each trained row of a batch."""
        with torch.no_grad():
            states = [model.compared(model.encode(batch, Pass(rows=batch.rows)).hidden) for model in self.models]
            return SoftTargets(torch.cat(states, dim=1) / len(states), self._items)

    @cached_property
    def _items(self) -> Tensor:
        """(n_items + 1, all widths): the models' vectors side by side: a product with them adds scores up."""
        with torch.no_grad():
            return torch.cat([model.compared(model.item_vectors()) for model in self.models], dim=1)
