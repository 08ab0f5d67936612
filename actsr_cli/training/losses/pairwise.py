"""Pairwise ranking: each target against one other item."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from einops import einsum
from torch import Tensor

from actsr_cli.config import LossOptions
from actsr_cli.errors import DataError
from actsr_cli.models.repeats import Repeats
from actsr_cli.training.losses.base import PredictionLoss
from actsr_cli.training.losses.negatives import drawn


class BPR(PredictionLoss):
    """`bpr` with one negative for each target, drawn uniformly among the other items.

    Raises:
        DataError: the catalogue has a single item.
    """

    def __init__(self, options: LossOptions, n_items: int, item_counts: Tensor) -> None:
        super().__init__(options, n_items, item_counts)
        if n_items < 2:
            raise DataError("loss bpr compares each target with another item, but the catalogue has a single item")

    def draw(self, targets: Tensor) -> Tensor:
        """(targets,) one other item for each target."""
        others = torch.randint(1, self.n_items, targets.shape, device=targets.device)
        return others + (others >= targets)  # ids from the target on move up by one

    def __call__(self, hidden: Tensor, items: Tensor, targets: Tensor, negatives: Tensor | None) -> Tensor:
        return bpr(hidden, items, targets, drawn(negatives))

    def raised(
        self, hidden: Tensor, items: Tensor, targets: Tensor, negatives: Tensor | None, repeats: Repeats
    ) -> Tensor:
        return bpr(hidden, items, targets, drawn(negatives), repeats)


def bpr(hidden: Tensor, items: Tensor, targets: Tensor, negatives: Tensor, repeats: Repeats | None = None) -> Tensor:
    """Mean Bayesian personalised ranking loss, -log σ(positive - negative) (Rendle et al., UAI 2009).

    Args:
        hidden: (targets, width).
        items: (n_items + 1, width) item vectors.
        targets: (targets,) int64 the items that came next.
        negatives: (targets,) int64 another item for each target.
        repeats: items whose logits get a bonus, or None.
    """
    margin = einsum(hidden, items[targets] - items[negatives], "t d, t d -> t")
    if repeats is not None:
        margin = margin + repeats.of(targets) - repeats.of(negatives)
    return -F.logsigmoid(margin.float()).mean()
