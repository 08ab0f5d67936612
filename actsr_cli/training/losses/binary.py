"""Binary cross-entropy of each target against sampled items, plain and generalised."""

from __future__ import annotations

import math

import torch.nn.functional as F
from torch import Tensor

from actsr_cli.config.losses import BCEOptions, GBCEOptions
from actsr_cli.models.repeats import Repeats
from actsr_cli.training.losses.base import PredictionLoss
from actsr_cli.training.losses.negatives import NegativeSampler, drawn, hits, sampled_logits


class BCE(PredictionLoss):
    """Binary cross-entropy with uniform negatives: `gbce` without its calibration."""

    def __init__(self, options: BCEOptions | GBCEOptions, n_items: int, item_counts: Tensor) -> None:
        super().__init__(options, n_items, item_counts)
        self.calibration = 0.0
        self.sampler = NegativeSampler("uniform", options.negatives, item_counts)

    def draw(self, targets: Tensor) -> Tensor:
        return self.sampler.draw(targets)

    def __call__(self, hidden: Tensor, items: Tensor, targets: Tensor, negatives: Tensor | None) -> Tensor:
        return gbce(hidden, items, targets, drawn(negatives), self.calibration)

    def raised(
        self, hidden: Tensor, items: Tensor, targets: Tensor, negatives: Tensor | None, repeats: Repeats
    ) -> Tensor:
        return gbce(hidden, items, targets, drawn(negatives), self.calibration, repeats)


class GBCE(BCE):
    """`gbce` with the options' calibration."""

    def __init__(self, options: GBCEOptions, n_items: int, item_counts: Tensor) -> None:
        super().__init__(options, n_items, item_counts)
        self.calibration = options.calibration


def gbce(
    hidden: Tensor,
    items: Tensor,
    targets: Tensor,
    negatives: Tensor,
    calibration: float,
    repeats: Repeats | None = None,
) -> Tensor:
    """Mean generalised binary cross-entropy with uniform negatives (Petrov and Macdonald, RecSys 2023, equation 12).

    The positive's probability is raised to β = α·(t·(1 - 1/α) + 1/α), where α is the share of the items that are drawn.
    This corrects the overconfidence that few negatives cause. At t = 0 it is plain binary cross-entropy.

    Logits are lowered by log(negatives / β). This changes no ranking, and gives positives and negatives the same weight
    from the first step on. Without it the model first learns from the many negatives that no item is likely, and hidden
    states collapse to one direction (prior initialisation: Lin et al., ICCV 2017, section 3.3).

    Args:
        hidden: (targets, width).
        items: (n_items + 1, width) item vectors.
        targets: (targets,) int64.
        negatives: (negatives,) int64 items that all rows share; a row ignores its own target among them.
        calibration: the paper's t, from 0 to 1.
        repeats: items whose logits get a bonus, or None.
    """
    positive, negative = sampled_logits(hidden, items, targets, negatives, repeats)
    share = min(1.0, len(negatives) / max(1, len(items) - 2))
    power = share * (calibration * (1 - 1 / share) + 1 / share)
    prior = math.log(len(negatives) / power)
    surprise = F.softplus(negative - prior).masked_fill(hits(targets, negatives), 0.0).sum(dim=1)
    return ((surprise - power * F.logsigmoid(positive - prior)) / (len(negatives) + 1)).mean()
