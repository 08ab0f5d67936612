"""Cross-entropy with the sum over the catalogue estimated from sampled items."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from actsr_cli.config.losses import SampledOptions
from actsr_cli.models.repeats import Repeats
from actsr_cli.training.losses.base import PredictionLoss
from actsr_cli.training.losses.negatives import NegativeSampler, drawn, hits, sampled_logits


class SampledCrossEntropy(PredictionLoss):
    """`sampled_cross_entropy` with the negative sampling of the options."""

    def __init__(self, options: SampledOptions, n_items: int, item_counts: Tensor) -> None:
        super().__init__(options, n_items, item_counts)
        self.sampler = NegativeSampler(options.negative_sampling, options.negatives, item_counts)
        self.draws_targets = options.negative_sampling == "in-batch"

    def draw(self, targets: Tensor) -> Tensor:
        return self.sampler.draw(targets)

    def __call__(self, hidden: Tensor, items: Tensor, targets: Tensor, negatives: Tensor | None) -> Tensor:
        return sampled_cross_entropy(hidden, items, targets, drawn(negatives), self.sampler.log_q)

    def raised(
        self, hidden: Tensor, items: Tensor, targets: Tensor, negatives: Tensor | None, repeats: Repeats
    ) -> Tensor:
        return sampled_cross_entropy(hidden, items, targets, drawn(negatives), self.sampler.log_q, repeats)


def sampled_cross_entropy(
    hidden: Tensor,
    items: Tensor,
    targets: Tensor,
    negatives: Tensor,
    log_q: Tensor,
    repeats: Repeats | None = None,
) -> Tensor:
    """Mean cross-entropy of the next item, with the sum over the catalogue estimated from sampled items.

    The logit of each negative is lowered by the log of its expected number of draws (importance sampling, Bengio and
    Senécal, 2008; the log-Q correction of Yi et al., RecSys 2019). With more negatives the loss approaches
    `cross_entropy` without padding. A negative that is a row's target does not count in that row.

    Args:
        hidden: (targets, width).
        items: (n_items + 1, width) item vectors.
        targets: (targets,) int64.
        negatives: (negatives,) int64 items that all rows share.
        log_q: (n_items + 1,) log of the probability that a draw is this item.
        repeats: items whose logits get a bonus, or None.
    """
    positive, negative = sampled_logits(hidden, items, targets, negatives, repeats)
    expected = log_q[negatives] + math.log(len(negatives))
    negative = (negative - expected).masked_fill(hits(targets, negatives), -torch.inf)
    return (torch.logsumexp(torch.cat([positive.unsqueeze(1), negative], dim=1), dim=1) - positive).mean()
