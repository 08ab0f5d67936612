"""The prediction losses: next-item cross-entropy over the catalogue, and what approximates it by sampled items."""

from __future__ import annotations

import math
from typing import Any

import torch
import torch.nn.functional as F
from einops import einsum
from torch import Tensor

_LOGITS_AT_A_TIME = {"cpu": 2**19, "cuda": 2**27}
"""Logits per chunk: on the CPU a chunk should stay in the cache, on CUDA it should fill the device."""
_ROWS_AT_LEAST = 32
"""Of a large catalogue, whose vectors are read once per chunk, so many rows share a reading."""


def cross_entropy(hidden: Tensor, items: Tensor, targets: Tensor, smoothing: float = 0.0) -> Tensor:
    """Mean cross-entropy of the next item over the whole catalogue; matrix products follow autocast.

    Args:
        hidden: (targets, width).
        items: (n_items + 1, width) item vectors; padding takes part as an item, as in the published code. Detached
            vectors get no gradient, and none is computed for them.
        targets: (targets,) int64.
        smoothing: the share of the target's probability that all columns have in equal parts.
    """
    device = hidden.device.type
    products = torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else items.dtype
    loss: Tensor = _CatalogueCrossEntropy.apply(hidden, items, targets, products, smoothing)  # type: ignore[no-untyped-call]
    return loss


class _CatalogueCrossEntropy(torch.autograd.Function):
    """Cross-entropy of softmax(hidden · itemsᵀ), some rows at a time.

    The logits of all rows together, (targets, n_items + 1), never exist: each chunk is turned into its share of the
    gradients while it lies in the cache, in buffers that all chunks share. Nothing is kept for the backward pass but
    the gradients themselves.
    """

    @staticmethod
    def forward(
        ctx: Any, hidden: Tensor, items: Tensor, targets: Tensor, products: torch.dtype, smoothing: float
    ) -> Tensor:
        needs_hidden, needs_items, *_ = ctx.needs_input_grad
        hidden_gradient = torch.empty_like(hidden, dtype=items.dtype) if needs_hidden else None
        items_gradient = torch.zeros_like(items) if needs_items else None
        total = torch.zeros((), dtype=items.dtype, device=items.device)
        rows_here, table = hidden.to(products), items.to(products)
        at_a_time = _LOGITS_AT_A_TIME.get(hidden.device.type, 2**24) * items.element_size() // table.element_size()
        chunk = min(len(targets), max(_ROWS_AT_LEAST, at_a_time // len(items)))
        buffers = table.new_empty(2, chunk, len(items))
        for start in range(0, len(targets), chunk):
            rows = slice(start, start + chunk)
            loss, slope = _loss_and_slope(rows_here[rows], table, targets[rows], *buffers, smoothing=smoothing)
            total += loss
            if hidden_gradient is not None:
                hidden_gradient[rows] = slope @ table
            if items_gradient is not None and products == items.dtype:
                items_gradient.addmm_(slope.T, rows_here[rows])
            elif items_gradient is not None:  # sums in full precision
                items_gradient += slope.T @ rows_here[rows]
        ctx.n_targets = len(targets)
        ctx.hidden_dtype = hidden.dtype
        ctx.save_for_backward(hidden_gradient, items_gradient)
        return total / len(targets)

    @staticmethod
    def backward(ctx: Any, *upstream: Tensor) -> tuple[Tensor | None, Tensor | None, None, None, None]:
        scale = upstream[0] / ctx.n_targets
        hidden_gradient, items_gradient = ctx.saved_tensors
        return (
            None if hidden_gradient is None else (hidden_gradient * scale).to(ctx.hidden_dtype),
            None if items_gradient is None else items_gradient * scale,
            None,
            None,
            None,
        )


def _loss_and_slope(
    hidden: Tensor, items: Tensor, targets: Tensor, logits: Tensor, weights: Tensor, *, smoothing: float
) -> tuple[Tensor, Tensor]:
    """Summed cross-entropy of some rows and its gradient by their logits, (rows, n_items + 1), in the last buffer."""
    logits, weights = logits[: len(targets)], weights[: len(targets)]
    torch.mm(hidden, items.T, out=logits)
    torch.softmax(logits, dim=1, out=weights)
    columns = targets.unsqueeze(1)
    exact = torch.promote_types(logits.dtype, torch.float32)
    of_target = logits.gather(1, columns).squeeze(1).to(exact)
    # log Σ exp(logits), from the largest logit and its weight, which cannot underflow
    normaliser = logits.amax(dim=1).to(exact) - weights.amax(dim=1).to(exact).log()
    weights.scatter_add_(1, columns, torch.full_like(columns, smoothing - 1, dtype=weights.dtype))
    if not smoothing:
        return (normaliser - of_target).sum(), weights
    weights.sub_(smoothing / len(items))
    wanted = (1 - smoothing) * of_target + smoothing * logits.mean(dim=1, dtype=exact)
    return (normaliser - wanted).sum(), weights


def sampled_cross_entropy(hidden: Tensor, items: Tensor, targets: Tensor, negatives: Tensor, log_q: Tensor) -> Tensor:
    """Mean cross-entropy of the next item, its sum over the catalogue estimated from sampled items.

    Each negative stands for as many items as its share among draws is small: its logit is lessened by the log of how
    often it is expected among them (importance sampling, Bengio and Senécal, 2008; the log-Q correction of Yi et al.,
    RecSys 2019). With more and more negatives the loss approaches `cross_entropy` without padding. A negative that is a
    row's target does not count in that row.

    Args:
        hidden: (targets, width).
        items: (n_items + 1, width) item vectors.
        targets: (targets,) int64.
        negatives: (negatives,) int64 items that all rows share.
        log_q: (n_items + 1,) log of the share of each item among draws.
    """
    positive, negative = _sampled_logits(hidden, items, targets, negatives)
    expected = log_q[negatives] + math.log(len(negatives))
    negative = (negative - expected).masked_fill(_hits(targets, negatives), -torch.inf)
    return (torch.logsumexp(torch.cat([positive.unsqueeze(1), negative], dim=1), dim=1) - positive).mean()


def gbce(hidden: Tensor, items: Tensor, targets: Tensor, negatives: Tensor, calibration: float) -> Tensor:
    """Mean generalised binary cross-entropy with uniform negatives (Petrov and Macdonald, RecSys 2023, equation 12).

    The positive's probability is raised to β = α·(t·(1 - 1/α) + 1/α), α being the share of the items that are drawn,
    which takes back the overconfidence that few negatives bring. At t = 0 it is plain binary cross-entropy.

    Logits are lowered by log(negatives / β), which changes no ranking: positives and negatives then weigh the same from
    the first step on. Without it the many negatives teach the model first that nothing is likely, and hidden states
    collapse to one direction (prior initialisation: Lin et al., ICCV 2017, section 3.3).

    Args:
        hidden: (targets, width).
        items: (n_items + 1, width) item vectors.
        targets: (targets,) int64.
        negatives: (negatives,) int64 items that all rows share; not counted where they are the row's target.
        calibration: the paper's t, from 0 to 1.
    """
    positive, negative = _sampled_logits(hidden, items, targets, negatives)
    share = min(1.0, len(negatives) / max(1, len(items) - 2))
    power = share * (calibration * (1 - 1 / share) + 1 / share)
    prior = math.log(len(negatives) / power)
    surprise = F.softplus(negative - prior).masked_fill(_hits(targets, negatives), 0.0).sum(dim=1)
    return ((surprise - power * F.logsigmoid(positive - prior)) / (len(negatives) + 1)).mean()


def _sampled_logits(hidden: Tensor, items: Tensor, targets: Tensor, negatives: Tensor) -> tuple[Tensor, Tensor]:
    """(targets,) logits of the targets and (targets, negatives) of the negatives, in float32 or better."""
    positive = einsum(hidden, F.embedding(targets, items), "t d, t d -> t")
    negative = hidden @ F.embedding(negatives, items).T
    exact = torch.promote_types(hidden.dtype, torch.float32)
    return positive.to(exact), negative.to(exact)


def _hits(targets: Tensor, negatives: Tensor) -> Tensor:
    """(targets, negatives) bool: where a negative is the target itself."""
    return targets.unsqueeze(1) == negatives


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
