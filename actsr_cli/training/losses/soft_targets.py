"""Knowledge distillation (Hinton et al., 2015): a share of each target goes to the items that teachers expect."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from actsr_cli.batch import PADDING
from actsr_cli.threads import run_single_threaded
from actsr_cli.training.losses.rows import row_parts, rows_at_a_time


@dataclass(frozen=True)
class SoftTargets:
    """What teachers expect after each trained row: softmax(hidden · itemsᵀ) over the catalogue.

    Attributes:
        hidden: (targets, width) the teachers' hidden states; their width may be another one than the model's.
        items: (n_items + 1, width) the teachers' item vectors; row 0 is padding, which they never expect.
    """

    hidden: Tensor
    items: Tensor


def soft_target_loss(hidden: Tensor, items: Tensor, targets: Tensor, soft: SoftTargets) -> Tensor:
    """By how much the mean cross-entropy grows if all of each target's probability moves to the items of `soft`.

    The cross-entropy is linear in the wanted probabilities, so `share` times this moves a share of them. The scores of
    all rows, (targets, n_items + 1), never exist at once. Products use the type of autocast.

    Args:
        hidden: (targets, width) the hidden state that predicts each target.
        items: (n_items + 1, width) item vectors.
        targets: (targets,) int64.
        soft: what the teachers expect.
    """
    device = hidden.device.type
    products = torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else items.dtype
    operands = (hidden, items, targets, soft.hidden, soft.items, products)
    loss: Tensor = _Moved.apply(*operands)  # type: ignore[no-untyped-call]
    return loss


class _Moved(torch.autograd.Function):
    """The mean of hidden · (item vector of the target - mean item vector by the teachers), some rows at a time."""

    @staticmethod
    def forward(
        ctx: Any,
        hidden: Tensor,
        items: Tensor,
        targets: Tensor,
        soft_hidden: Tensor,
        soft_items: Tensor,
        products: torch.dtype,
    ) -> Tensor:
        own, soft = (hidden.to(products), items.to(products)), (soft_hidden.to(products), soft_items.to(products))
        parts = [_Part(rows, own, targets, soft) for rows in row_parts(len(targets), hidden.device)]
        run_single_threaded([part.fill for part in parts])
        of_items = parts[0].of_items
        for other in parts[1:]:
            of_items += other.of_items
        of_hidden = torch.cat([part.of_hidden for part in parts])
        ctx.n_targets = len(targets)
        ctx.dtypes = hidden.dtype, items.dtype
        ctx.save_for_backward(of_hidden, of_items)
        return (hidden * of_hidden).sum(dim=1).mean()

    @staticmethod
    def backward(ctx: Any, *upstream: Tensor) -> tuple[Tensor | None, ...]:
        scale = upstream[0] / ctx.n_targets
        of_hidden, of_items = (
            (each * scale).to(dtype) for each, dtype in zip(ctx.saved_tensors, ctx.dtypes, strict=True)
        )
        return of_hidden, of_items, *(None, None, None, None)


class _Part:
    """The gradients of the rows of one thread.

    Attributes:
        of_hidden: (rows, width) by the hidden states.
        of_items: (n_items + 1, width) by the item vectors.
    """

    def __init__(self, rows: slice, own: tuple[Tensor, Tensor], targets: Tensor, soft: tuple[Tensor, Tensor]) -> None:
        (hidden, self.items), (soft_hidden, self.soft_items) = own, soft
        self.hidden, self.targets, self.soft_hidden = hidden[rows], targets[rows], soft_hidden[rows]
        exact = torch.promote_types(hidden.dtype, torch.float32)
        self.of_hidden = torch.empty_like(self.hidden, dtype=exact)
        self.of_items = torch.zeros_like(self.items, dtype=exact)

    def fill(self) -> None:
        at_a_time = rows_at_a_time(len(self.targets), self.items)
        scores = self.items.new_empty(at_a_time, len(self.items))
        for first in range(0, len(self.targets), at_a_time):
            rows = slice(first, first + at_a_time)
            hidden, targets = self.hidden[rows], self.targets[rows]
            weights = torch.mm(self.soft_hidden[rows], self.soft_items.T, out=scores[: len(hidden)])
            weights[:, PADDING] = -math.inf
            weights = torch.softmax(weights, dim=1, out=weights)
            self.of_hidden[rows] = self.items[targets] - weights @ self.items
            if weights.dtype == self.of_items.dtype:
                self.of_items.addmm_(weights.T, hidden, alpha=-1)
            else:  # sums in full precision
                self.of_items -= weights.T @ hidden
            self.of_items.index_add_(0, targets, hidden.to(self.of_items.dtype))
