"""Batches of histories: the interface between data and models, which do not depend on each other."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Self

import numpy as np
import torch
from torch import Tensor

from actsr_cli.packing import Packing

PADDING = 0
"""The padding id: it fills the right end of shorter rows in padded batches, is no item and is never recommended."""


@dataclass(frozen=True)
class Batch:
    """Histories of some users, one after another without padding.

    Attributes:
        item_ids: (tokens,) int64 the items of each history in time order.
        packing: where each history begins and ends.
        user_ids: (histories,) int64 user ids of the data set, from 0; -1 is an unknown user. None if all are unknown.
        timestamps: (tokens,) float64 seconds (float32 on MPS); None without times.
    """

    item_ids: Tensor
    packing: Packing
    user_ids: Tensor | None = None
    timestamps: Tensor | None = None

    @classmethod
    def of(cls, padded: PaddedBatch) -> Batch:
        """The histories of a padded batch."""
        packing = Packing(padded.lengths.cpu().numpy().astype(np.int64), padded.item_ids.device)
        times = None if padded.timestamps is None else packing.pack(padded.timestamps)
        return Batch(packing.pack(padded.item_ids), packing, padded.user_ids, times)

    def __len__(self) -> int:
        return len(self.packing)

    @property
    def lengths(self) -> Tensor:
        """(histories,) int64 items of each history, at least 1."""
        return self.packing.lengths

    def to(self, device: torch.device) -> Self:
        """The same batch with every tensor on `device`."""
        moved = {
            name: value.to(device, non_blocking=True) for name, value in vars(self).items() if isinstance(value, Tensor)
        }
        return replace(self, packing=self.packing.to(device), **moved)

    def latest(self, n_items: int) -> Batch:
        """The latest `n_items` of each history; the batch itself if none is longer."""
        if self.packing.longest <= n_items:
            return self
        kept = Packing(np.minimum(self.packing.host_lengths, n_items), self.packing.device)
        tokens = self.packing.latest(kept)
        times = None if self.timestamps is None else self.timestamps[tokens]
        return Batch(self.item_ids[tokens], kept, self.user_ids, times)

    def padded(self) -> PaddedBatch:
        """The same histories in rows of equal length."""
        return PaddedBatch(
            item_ids=self.packing.pad(self.item_ids),
            lengths=self.packing.lengths,
            user_ids=self.user_ids,
            timestamps=None if self.timestamps is None else self.packing.pad(self.timestamps),
        )


@dataclass(frozen=True)
class PaddedBatch:
    """Histories of some users, right-padded with `PADDING`.

    Attributes:
        item_ids: (histories, length) int64; row i has `lengths[i]` items in time order, then padding.
        lengths: (histories,) int64, at least 1.
        user_ids: as in `Batch`.
        timestamps: (histories, length) seconds, 0 at padding; None without times.
    """

    item_ids: Tensor
    lengths: Tensor
    user_ids: Tensor | None = None
    timestamps: Tensor | None = None


@dataclass(frozen=True, kw_only=True)
class TrainingBatch(Batch):
    """Histories with targets.

    Attributes:
        rows: (targets,) int64 the tokens that are trained, in ascending order.
        targets: (targets,) int64 the item that each of them is to predict. In a causal model it is the next item, in
            cloze training the item that is masked there.
    """

    rows: Tensor
    targets: Tensor
