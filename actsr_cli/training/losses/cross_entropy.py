"""Cross-entropy of the next item over the whole catalogue."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from actsr_cli.config.losses import CrossEntropyOptions
from actsr_cli.training.losses.base import PredictionLoss

_LOGITS_AT_A_TIME = {"cpu": 2**21, "cuda": 2**27}
"""Logits per chunk: on the CPU a chunk should stay in the cache, on CUDA it should fill the device."""
_ROWS_AT_LEAST = 32
"""Smallest number of rows per chunk: each chunk reads all item vectors, which is slow for a large catalogue."""
_ITEMS_AT_A_TIME = 2048
"""Columns of logits that one product makes on a CPU: wide thin products are slow."""
_COLUMNS = 64
"""Rows of logits begin at a multiple of so many numbers: products write much faster there."""


class CrossEntropy(PredictionLoss):
    """`cross_entropy` with the options' label smoothing."""

    options: CrossEntropyOptions

    def __call__(self, hidden: Tensor, items: Tensor, targets: Tensor, negatives: Tensor | None) -> Tensor:
        return cross_entropy(hidden, items, targets, self.options.label_smoothing)


def cross_entropy(hidden: Tensor, items: Tensor, targets: Tensor, smoothing: float = 0.0) -> Tensor:
    """Mean cross-entropy of the next item over the whole catalogue; matrix products use the type of autocast.

    Args:
        hidden: (targets, width).
        items: (n_items + 1, width) item vectors; padding takes part as an item, as in the published code. Detached
            vectors get no gradient, and none is computed for them.
        targets: (targets,) int64.
        smoothing: the share of the target's probability that is spread evenly over all columns.
    """
    device = hidden.device.type
    products = torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else items.dtype
    loss: Tensor = _CatalogueCrossEntropy.apply(hidden, items, targets, products, smoothing)  # type: ignore[no-untyped-call]
    return loss


class _CatalogueCrossEntropy(torch.autograd.Function):
    """Cross-entropy of softmax(hidden · itemsᵀ), some rows at a time.

    The logits of all rows, (targets, n_items + 1), never exist at once. Each chunk of rows is turned into its share of
    the gradients while it is in the cache, in buffers that all chunks share. Only the gradients are kept for the
    backward pass.
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
        buffer = table.new_empty(chunk, -(-len(items) // _COLUMNS) * _COLUMNS)
        for start in range(0, len(targets), chunk):
            rows = slice(start, start + chunk)
            logits = buffer[: len(targets[rows])]
            _multiply(rows_here[rows], table, logits)
            loss, slope = _loss_and_slope(logits, targets[rows], len(items), smoothing)
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


def _multiply(hidden: Tensor, items: Tensor, logits: Tensor) -> None:
    """Fill the logits, (rows, columns), of hidden states, (rows, width); columns behind the items become -inf."""
    at_a_time = _ITEMS_AT_A_TIME if hidden.device.type == "cpu" else len(items)
    for first in range(0, len(items), at_a_time):
        some = items[first : first + at_a_time]
        torch.mm(hidden, some.T, out=logits[:, first : first + len(some)])
    logits[:, len(items) :] = -torch.inf


def _loss_and_slope(logits: Tensor, targets: Tensor, n_columns: int, smoothing: float) -> tuple[Tensor, Tensor]:
    """Summed cross-entropy of some rows, and its gradient by their logits, which takes the logits' place.

    Args:
        logits: (rows, columns) of which the first `n_columns` belong to items, the others are -inf.
        targets: (rows,) int64.
        n_columns: n_items + 1.
        smoothing: see `cross_entropy`.
    """
    columns = targets.unsqueeze(1)
    exact = torch.promote_types(logits.dtype, torch.float32)
    of_target = logits.gather(1, columns).squeeze(1).to(exact)
    mean = logits[:, :n_columns].mean(dim=1, dtype=exact) if smoothing else of_target
    largest = logits.amax(dim=1).to(exact)
    weights = torch.softmax(logits, dim=1, out=logits)
    # log Σ exp(logits), from the largest logit and its weight, which cannot underflow
    normaliser = largest - weights.amax(dim=1).to(exact).log()
    weights.scatter_add_(1, columns, torch.full_like(columns, smoothing - 1, dtype=weights.dtype))
    slope = weights[:, :n_columns]
    if smoothing:
        slope -= smoothing / n_columns
    wanted = (1 - smoothing) * of_target + smoothing * mean
    return (normaliser - wanted).sum(), slope
