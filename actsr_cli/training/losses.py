"""The prediction losses: next-item cross-entropy over the catalogue, and BPR."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from einops import einsum
from torch import Tensor

_LOGITS_AT_A_TIME = {False: 2**20, True: 2**27}
"""Logits per chunk on the CPU, where a chunk should stay in the cache, and on CUDA, where it should fill the device."""


def cross_entropy(hidden: Tensor, items: Tensor, targets: Tensor) -> Tensor:
    """Mean cross-entropy of the next item over the whole catalogue.

    Args:
        hidden: (targets, width).
        items: (n_items + 1, width) item vectors; padding takes part as an item, as in the published code. Detached
            vectors get no gradient, and none is computed for them.
        targets: (targets,) int64.
    """
    loss: Tensor = _CatalogueCrossEntropy.apply(hidden, items, targets)  # type: ignore[no-untyped-call]
    return loss


class _CatalogueCrossEntropy(torch.autograd.Function):
    """Cross-entropy of softmax(hidden · itemsᵀ), some rows at a time.

    The logits of all rows together, (targets, n_items + 1), never exist: each chunk is turned into its share of the
    gradients while it lies in the cache. Nothing is kept for the backward pass but the gradients themselves.
    """

    @staticmethod
    def forward(ctx: Any, hidden: Tensor, items: Tensor, targets: Tensor) -> Tensor:
        chunk = max(1, _LOGITS_AT_A_TIME[hidden.is_cuda] // len(items))
        needs_hidden, needs_items, _ = ctx.needs_input_grad
        hidden_gradient = torch.empty_like(hidden) if needs_hidden else None
        items_gradient = torch.zeros_like(items) if needs_items else None
        total = torch.zeros((), dtype=items.dtype, device=items.device)
        for start in range(0, len(targets), chunk):
            rows = slice(start, start + chunk)
            loss, slope = _loss_and_slope(hidden[rows], items, targets[rows])
            total += loss
            if hidden_gradient is not None:
                hidden_gradient[rows] = slope @ items
            if items_gradient is not None:
                items_gradient += slope.T @ hidden[rows]
        ctx.n_targets = len(targets)
        ctx.save_for_backward(hidden_gradient, items_gradient)
        return total / len(targets)

    @staticmethod
    def backward(ctx: Any, *upstream: Tensor) -> tuple[Tensor | None, Tensor | None, None]:
        scale = upstream[0] / ctx.n_targets
        hidden_gradient, items_gradient = ctx.saved_tensors
        return (
            None if hidden_gradient is None else hidden_gradient * scale,
            None if items_gradient is None else items_gradient * scale,
            None,
        )


def _loss_and_slope(hidden: Tensor, items: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
    """Summed cross-entropy of some rows and its gradient by their logits, (rows, n_items + 1)."""
    logits = hidden @ items.T
    logits = logits.to(torch.promote_types(logits.dtype, torch.float32))  # from bfloat16 under autocast
    columns = targets.unsqueeze(1)
    of_target = logits.gather(1, columns)
    highest = logits.amax(dim=1, keepdim=True)
    weights = logits.sub_(highest).exp_()
    sums = weights.sum(dim=1, keepdim=True)
    loss = (sums.log() + highest - of_target).sum()
    slope = weights.div_(sums)
    slope[torch.arange(len(targets), device=targets.device), targets] -= 1.0
    return loss, slope


def bpr(hidden: Tensor, items: Tensor, targets: Tensor, negatives: Tensor) -> Tensor:
    """Mean Bayesian personalised ranking loss, -log σ(positive - negative) (Rendle et al., UAI 2009).

    Args:
        hidden: (targets, width).
        items: (n_items + 1, width) item vectors.
        targets: (targets,) int64 the items that came next.
        negatives: (targets,) int64 one item each that did not.
    """
    margin = einsum(hidden, items[targets] - items[negatives], "t d, t d -> t")
    return -F.logsigmoid(margin.float()).mean()
