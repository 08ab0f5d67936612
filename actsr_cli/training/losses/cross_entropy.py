"""Cross-entropy of the next item over the whole catalogue."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from actsr_cli.attention.kernels.exponentials import add_exponentials
from actsr_cli.config.losses import CrossEntropyOptions
from actsr_cli.training.losses.base import PredictionLoss

_LOGITS_AT_A_TIME = {"cpu": 2**21, "cuda": 2**27}
"""Logits per chunk: on the CPU a chunk should stay in the cache, on CUDA it should fill the device."""
_ROWS_AT_LEAST = 32
"""Smallest number of rows per chunk: each chunk reads all item vectors, which is slow for a large catalogue."""
_ITEMS_AT_A_TIME = 1024
"""Items per block on a CPU: what one product writes is still in the cache when it is read."""
_SAFE_LOGIT = 60.0
"""No sum of exponentials of logits between minus this and this overflows or vanishes."""


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
    the gradients while it is in the cache. Only the gradients are kept for the backward pass.

    The gradient by the logits is the softmax minus the wanted distribution. The exponentials are divided by their sums
    after they were multiplied with the items; the wanted distribution is one number for all items and another one for
    the target, whose products need no logits.
    """

    @staticmethod
    def forward(
        ctx: Any, hidden: Tensor, items: Tensor, targets: Tensor, products: torch.dtype, smoothing: float
    ) -> Tensor:
        needs_items = ctx.needs_input_grad[1]
        wanted = _Wanted(hidden.to(items.dtype), items, targets, smoothing)
        of_hidden, of_items = wanted.hidden_gradient(), wanted.items_gradient() if needs_items else None
        catalogue = _Catalogue(hidden.to(products), items.to(products), keep=needs_items)
        loss = -wanted.logits()
        for rows in catalogue.chunks():
            loss[rows] += catalogue.add_chunk(rows, of_hidden[rows], of_items)
        ctx.n_targets = len(targets)
        ctx.hidden_dtype = hidden.dtype
        ctx.save_for_backward(of_hidden, of_items)
        return loss.mean()

    @staticmethod
    def backward(ctx: Any, *upstream: Tensor) -> tuple[Tensor | None, Tensor | None, None, None, None]:
        scale = upstream[0] / ctx.n_targets
        of_hidden, of_items = ctx.saved_tensors
        return (
            (of_hidden * scale).to(ctx.hidden_dtype),
            None if of_items is None else of_items * scale,
            None,
            None,
            None,
        )


@dataclass(frozen=True)
class _Wanted:
    """The wanted distribution: smoothing / columns for each item, and the rest for the target.

    Attributes:
        hidden: (targets, width).
        items: (columns, width).
        targets: (targets,) int64.
        smoothing: see `cross_entropy`.
    """

    hidden: Tensor
    items: Tensor
    targets: Tensor
    smoothing: float

    def vectors(self) -> Tensor:
        """(targets, width) the expected item vector of each target."""
        vectors = (1 - self.smoothing) * self.items[self.targets]
        return vectors + self.smoothing * self.items.mean(dim=0) if self.smoothing else vectors

    def logits(self) -> Tensor:
        """(targets,) the expected logit of each target."""
        return (self.hidden * self.vectors()).sum(dim=1)

    def hidden_gradient(self) -> Tensor:
        """(targets, width) its part of the gradient by the hidden states."""
        return -self.vectors()

    def items_gradient(self) -> Tensor:
        """(columns, width) its part of the gradient by the item vectors."""
        parts = (self.smoothing - 1) * self.hidden
        gradient: Tensor = torch.ops.aten.embedding_dense_backward(parts, self.targets, len(self.items), -1, False)
        if self.smoothing:
            gradient -= self.smoothing / len(self.items) * self.hidden.sum(dim=0)
        return gradient


class _Catalogue:
    """Exponentials of the logits of all items for some rows, in buffers that all chunks share.

    Args:
        hidden: (targets, width), in the type of the products.
        items: (columns, width), likewise.
        keep: keep the exponentials of a chunk until their sums are known, for the gradient by the items.
    """

    def __init__(self, hidden: Tensor, items: Tensor, *, keep: bool) -> None:
        self.hidden, self.items, self.keep = hidden, items, keep
        self.safe = _is_safe(hidden, items)
        at_a_time = min(_ITEMS_AT_A_TIME, len(items)) if self.safe else len(items)
        self.blocks = [slice(first, min(first + at_a_time, len(items))) for first in range(0, len(items), at_a_time)]
        logits = _LOGITS_AT_A_TIME.get(hidden.device.type, 2**24) * 4 // items.element_size()
        self.rows = min(len(hidden), max(_ROWS_AT_LEAST, logits // len(items)))
        n_kept = len(self.blocks) if keep else 1
        self.buffers = [items.new_empty(self.rows * at_a_time) for _ in range(n_kept)]

    def chunks(self) -> Iterator[slice]:
        """The rows of each chunk."""
        return (slice(first, first + self.rows) for first in range(0, len(self.hidden), self.rows))

    def add_chunk(self, rows: slice, of_hidden: Tensor, of_items: Tensor | None) -> Tensor:
        """Add a chunk's part of the gradients, and return log Σ exp(logits) of each row, (rows,).

        Args:
            rows: the rows of the chunk.
            of_hidden: (rows, width) the gradient by their hidden states.
            of_items: (columns, width) the gradient by the item vectors; None if it is not needed.
        """
        hidden = self.hidden[rows]
        sums, logs = of_hidden.new_zeros(len(hidden)), None
        vectors = torch.zeros_like(of_hidden)  # Σ exp(logit) · item vector
        kept = []
        for number, block in enumerate(self.blocks):
            items = self.items[block]
            weights = self.buffers[number if self.keep else 0][: len(hidden) * len(items)].view(len(hidden), -1)
            torch.mm(hidden, items.T, out=weights)
            if self.safe:
                add_exponentials(weights, sums)
            else:  # all items are one block
                logs = _softmax(weights, sums)
            _add_product(vectors, weights, items)
            kept.append(weights)
        of_hidden += vectors / sums.unsqueeze(1)
        if of_items is not None:
            shares = (hidden / sums.unsqueeze(1)).to(hidden.dtype)
            for block, weights in zip(self.blocks, kept, strict=True):
                _add_product(of_items[block], weights.T, shares)
        return sums.log() if logs is None else logs


def _is_safe(hidden: Tensor, items: Tensor) -> bool:
    """Whether the lengths of the vectors keep all logits within `_SAFE_LOGIT`; on a GPU asking would make it wait."""
    if hidden.device.type != "cpu":
        return False
    longest = [torch.linalg.vector_norm(each, dim=1).max() for each in (hidden, items)]
    return bool(longest[0] * longest[1] < _SAFE_LOGIT)


def _softmax(logits: Tensor, sums: Tensor) -> Tensor:
    """Softmax of each row in place, whose sum is 1; returns (rows,) log Σ exp(logits)."""
    largest = logits.amax(dim=1).to(sums.dtype)
    torch.softmax(logits, dim=1, out=logits)
    sums.fill_(1.0)
    return largest - logits.amax(dim=1).to(sums.dtype).log()  # of the largest logit, whose weight cannot vanish


def _add_product(total: Tensor, left: Tensor, right: Tensor) -> None:
    """total += left @ right; sums in the type of the total."""
    if total.dtype == left.dtype:
        total.addmm_(left, right)
    else:
        total += left @ right
