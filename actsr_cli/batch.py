"""Batches of padded item ids: the interface between data and models, which do not depend on each other."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from typing import Self

import torch
from torch import Tensor

PADDING = 0
"""The padding id: it fills the right end of shorter sequences, is no item and is never recommended."""


@dataclass(frozen=True)
class Batch:
    """Histories of some users, right-padded with `PADDING`.

    Attributes:
        item_ids: (batch, length) int64; row i has `lengths[i]` real items in time order, then padding.
        lengths: (batch,) int64, at least 1.
        user_ids: (batch,) int64 user ids of the data set, from 0; -1 is an unknown user. None if all are unknown.
        timestamps: (batch, length) float64 seconds (float32 on MPS), 0 at padding; None without times.
    """

    item_ids: Tensor
    lengths: Tensor
    user_ids: Tensor | None = None
    timestamps: Tensor | None = None

    def to(self, device: torch.device) -> Self:
        """The same batch with every tensor on `device`."""
        moved = {
            field.name: value.to(device, non_blocking=True)
            for field in fields(self)
            if isinstance(value := getattr(self, field.name), Tensor)
        }
        return replace(self, **moved)

    def latest(self, n_items: int) -> Batch:
        """The latest `n_items` of each history; the batch itself if none is longer."""
        if self.item_ids.shape[1] <= n_items:
            return self
        skipped = (self.lengths - n_items).clamp_min(0)
        columns = skipped.unsqueeze(1) + torch.arange(n_items, device=self.lengths.device)
        times = None if self.timestamps is None else self.timestamps.gather(1, columns)
        return Batch(self.item_ids.gather(1, columns), self.lengths - skipped, self.user_ids, times)


@dataclass(frozen=True, kw_only=True)
class TrainingBatch(Batch):
    """Histories with a target for each trained row.

    Attributes:
        targets: (batch, length) int64, the item that each row is to predict, `PADDING` if the row is not trained. In a
            causal model it is the next item, in cloze training the item that is masked at this position.
        n_targets: number of trained rows, if it is known without waiting for the device.
        first_trained: no row before it is trained, in any sequence.
    """

    targets: Tensor
    n_targets: int | None = None
    first_trained: int = 0
