"""Item-based neighbours (Sarwar et al., WWW 2001) that use order, distance and recency."""

from __future__ import annotations

import numpy as np
import torch
from einops import rearrange
from numpy.typing import NDArray
from scipy import sparse
from torch import Tensor

from actsr_cli.batch import PADDING, Batch
from actsr_cli.config import CalibrationOptions
from actsr_cli.config.models import ItemKNNOptions
from actsr_cli.models.base import CountingModel


class ItemKNN(CountingModel):
    """Scores an item by how often it followed the items of a history.

    Each time that another item b comes at most `neighbour_reach` positions after a in a history, the strength of b
    after a grows by 1 / distance. The sum is divided by √((n_a + s)(n_b + s)), where n counts an item's interactions
    and s is `neighbour_shrinkage`. The strongest `neighbours` of each item are kept. The scores of a history sum those
    of its items; the item k steps before the last has the weight `neighbour_decay`ᵏ.
    """

    config: ItemKNNOptions

    def __init__(
        self, options: ItemKNNOptions, calibration: CalibrationOptions, n_items: int, n_users: int = 0
    ) -> None:
        super().__init__(options, calibration, n_items, n_users)
        kept = min(options.neighbours, n_items)
        self.neighbours: Tensor
        self.strengths: Tensor
        self.register_buffer("neighbours", torch.zeros(n_items + 1, kept, dtype=torch.int32))
        self.register_buffer("strengths", torch.zeros(n_items + 1, kept))

    def fit(self, items: NDArray[np.int64], offsets: NDArray[np.int64]) -> None:
        followers = self._followers(items, offsets)
        counts = np.bincount(items, minlength=self.n_items + 1) + self.config.neighbour_shrinkage
        scale = sparse.diags_array(1.0 / np.sqrt(np.maximum(counts, 1.0)))
        strengths = sparse.csr_array(scale @ followers @ scale)
        self.neighbours.zero_()
        self.strengths.zero_()
        for item in range(1, self.n_items + 1):
            row = slice(strengths.indptr[item], strengths.indptr[item + 1])
            best = np.argsort(-strengths.data[row], kind="stable")[: self.neighbours.shape[1]]
            self.neighbours[item, : len(best)] = torch.from_numpy(strengths.indices[row][best])
            self.strengths[item, : len(best)] = torch.from_numpy(strengths.data[row][best])

    def score(self, batch: Batch) -> Tensor:
        history = batch.latest(self.config.max_length)
        packing = history.packing
        back = packing.lengths[packing.sequences] - 1 - packing.positions  # steps before the last item
        weights = (self.config.neighbour_decay ** back.clamp_min(0)).to(self.strengths.dtype)
        gained = self.strengths[history.item_ids] * rearrange(weights, "t -> t 1")
        scores = self.strengths.new_zeros(history.lengths.shape[0], self.n_items + 1)
        histories = rearrange(packing.sequences, "t -> t 1").expand_as(gained)
        scores.index_put_((histories, self.neighbours[history.item_ids].long()), gained, accumulate=True)
        scores[:, PADDING] = 0.0
        return scores

    def item_similarities(self, items: Tensor) -> Tensor:
        """(items, n_items + 1) how strongly each item follows some items; -inf for items that are no neighbours."""
        strengths = self.strengths[items]
        found = self.strengths.new_full((len(items), self.n_items + 1), -torch.inf)
        return found.scatter_(1, self.neighbours[items].long(), strengths.where(strengths > 0, -torch.inf))

    def _followers(self, items: NDArray[np.int64], offsets: NDArray[np.int64]) -> sparse.csr_array[np.float64]:
        """(n_items + 1, n_items + 1) sum of 1 / distance over all pairs where column came after row."""
        users = np.repeat(np.arange(len(offsets) - 1), np.diff(offsets))
        size = self.n_items + 1
        before, behind, weights = [], [], []
        for distance in range(1, self.config.neighbour_reach + 1):
            pairs = (users[:-distance] == users[distance:]) & (items[:-distance] != items[distance:])
            before.append(items[:-distance][pairs])
            behind.append(items[distance:][pairs])
            weights.append(np.full(int(pairs.sum()), 1.0 / distance))
        places = np.concatenate(before), np.concatenate(behind)
        return sparse.csr_array((np.concatenate(weights), places), shape=(size, size))  # sums duplicates
