"""Negative sampling for the sampled losses."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from einops import einsum
from torch import Tensor

from actsr_cli.config.losses import NegativeSampling
from actsr_cli.models.repeats import Repeats


class NegativeSampler:
    """Draws items, with replacement, for all targets of a batch together.

    Args:
        sampling: `uniform` draws all items with equal probability; `log-uniform` draws the item at popularity rank r,
            from 0, with probability log((r + 2) / (r + 1)) / log(n_items + 1); `in-batch` takes the targets themselves.
        negatives: number of draws; with `in-batch` it is the number of targets instead.
        item_counts: (n_items + 1,) how often each item can be a target in training; padding never is.

    Attributes:
        log_q: (n_items + 1,) log of the probability that a draw is this item.
    """

    def __init__(self, sampling: NegativeSampling, negatives: int, item_counts: Tensor) -> None:
        self.sampling = sampling
        self.negatives = negatives
        self.n_items = len(item_counts) - 1
        self.by_popularity = item_counts[1:].argsort(descending=True, stable=True) + 1
        self.log_q = self._log_shares(item_counts)

    def draw(self, targets: Tensor) -> Tensor:
        """(negatives,) int64 item ids, on the device of `targets`, (targets,)."""
        if self.sampling == "in-batch":
            return targets
        if self.sampling == "uniform":
            return torch.randint(1, self.n_items + 1, (self.negatives,), device=targets.device)
        drawn = torch.rand(self.negatives, dtype=torch.float64, device=targets.device)
        ranks = torch.exp(drawn * math.log(self.n_items + 1)).long() - 1
        return self.by_popularity[ranks.clamp_max(self.n_items - 1)]

    def _log_shares(self, item_counts: Tensor) -> Tensor:
        if self.sampling == "in-batch":  # an item without a count is never drawn
            return (item_counts.clamp_min(1).double() / item_counts.sum()).log().float()
        shares = torch.full((self.n_items + 1,), 1 / self.n_items, dtype=torch.float64, device=item_counts.device)
        if self.sampling == "log-uniform":
            ranks = torch.arange(self.n_items, dtype=torch.float64, device=item_counts.device)
            shares[self.by_popularity] = torch.log1p(1 / (ranks + 1)) / math.log(self.n_items + 1)
        return shares.log().float()


def drawn(negatives: Tensor | None) -> Tensor:
    """The negatives of a loss that always draws some.

    Raises:
        ValueError: there are none.
    """
    if negatives is None:
        raise ValueError("this loss needs negatives: pass what its draw returned")
    return negatives


def sampled_logits(
    hidden: Tensor, items: Tensor, targets: Tensor, negatives: Tensor, repeats: Repeats | None = None
) -> tuple[Tensor, Tensor]:
    """(targets,) logits of the targets and (targets, negatives) of the negatives, in float32 or better."""
    positive = einsum(hidden, F.embedding(targets, items), "t d, t d -> t")
    negative = hidden @ F.embedding(negatives, items).T
    exact = torch.promote_types(hidden.dtype, torch.float32)
    positive, negative = positive.to(exact), negative.to(exact)
    if repeats is None:
        return positive, negative
    return positive + repeats.of(targets), negative + repeats.of_all(negatives)


def hits(targets: Tensor, negatives: Tensor) -> Tensor:
    """(targets, negatives) bool: whether a negative is the target itself."""
    return targets.unsqueeze(1) == negatives
