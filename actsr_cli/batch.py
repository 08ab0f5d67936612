"""What data hands to models: padded tensors of item ids, the language of two floors that do not know each other."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from typing import Self

import torch
from torch import Tensor

PADDING = 0
"""The id of no item: it fills the right end of shorter sequences and is never recommended."""


@dataclass(frozen=True)
class Batch:
    """Histories of some users, right-padded with `PADDING`.

    Attributes:
        item_ids: (batch, length) int64, each row `lengths[i]` real items in time order, then padding.
        lengths: (batch,) int64, at least 1.
        user_ids: (batch,) int64 rows of the data set's users, or None.
        timestamps: (batch, length) float64 seconds (float32 on MPS), 0 at padding, or None where there are no times.
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


@dataclass(frozen=True, kw_only=True)
class TrainingBatch(Batch):
    """Histories whose rows are trained: row i of a sequence predicts the item after position i.

    Attributes:
        targets: (batch, length) int64, the item that follows each position; `PADDING` where a row is not trained.
        negatives: (batch, length) int64, one sampled item per target, never the target or padding; None without BPR.
    """

    targets: Tensor
    negatives: Tensor | None = None
