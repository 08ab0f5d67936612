"""Cross-entropy of the next item over the whole catalogue."""

from __future__ import annotations

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
_SMALLEST_SUM, _LARGEST_SUM = 1e-26, 1e32
"""Between them a sum of exponentials is exact: none of its parts was too large, and what was too small is nothing."""


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
    """

    @staticmethod
    def forward(
        ctx: Any, hidden: Tensor, items: Tensor, targets: Tensor, products: torch.dtype, smoothing: float
    ) -> Tensor:
        catalogue = _Catalogue(hidden, items, targets, products, smoothing, items_learn=ctx.needs_input_grad[1])
        for first in range(0, len(targets), catalogue.at_a_time):
            rows = slice(first, first + catalogue.at_a_time)
            if not (catalogue.in_blocks and catalogue.add_by_exponentials(rows)):
                catalogue.add_by_softmax(rows)
        ctx.n_targets = len(targets)
        ctx.hidden_dtype = hidden.dtype
        ctx.save_for_backward(catalogue.of_hidden, catalogue.of_items)
        return catalogue.losses.mean()

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


class _Catalogue:
    """Losses and gradients of rows of hidden states, in buffers that all chunks of rows share.

    Args:
        hidden, items, targets, products, smoothing: see `cross_entropy`; `products` is the type of the products.
        items_learn: also compute the gradient by the item vectors.

    Attributes:
        losses: (targets,) the loss of each row.
        of_hidden: (targets, width) gradient of their sum by the hidden states.
        of_items: (columns, width) its gradient by the item vectors, or None.
        at_a_time: rows of a chunk.
        in_blocks: whether `add_by_exponentials` may be tried. It needs sums and products of one type. On a GPU it
            would make the host wait.
    """

    def __init__(
        self,
        hidden: Tensor,
        items: Tensor,
        targets: Tensor,
        products: torch.dtype,
        smoothing: float,
        *,
        items_learn: bool,
    ) -> None:
        self.hidden, self.items = hidden.to(products), items.to(products)
        self.targets, self.smoothing = targets, smoothing
        self.losses = items.new_empty(len(targets))
        self.of_hidden = torch.empty_like(hidden, dtype=items.dtype)
        self.of_items = torch.zeros_like(items) if items_learn else None
        self.in_blocks = hidden.device.type == "cpu" and products == items.dtype
        logits = _LOGITS_AT_A_TIME.get(hidden.device.type, 2**24) * items.element_size() // self.items.element_size()
        self.at_a_time = min(len(targets), max(_ROWS_AT_LEAST, logits // len(items)))
        self._buffer = self.items.new_empty(self.at_a_time * len(items))
        self._mean_item = items.mean(dim=0) if smoothing else None

    def add_by_exponentials(self, rows: slice) -> bool:
        """Add a chunk by its exponentials, without its largest logits; False, and nothing is added, if they are needed.

        The exponentials are divided by their sums after they were multiplied with the items. The gradient by the logits
        is the softmax minus the wanted distribution, whose product with the items is one vector for each row.
        """
        hidden, targets, smoothing = self.hidden[rows], self.targets[rows], self.smoothing
        sums = hidden.new_zeros(len(hidden))
        vectors = torch.zeros_like(hidden)  # Σ exp(logit) · item vector
        blocks = [slice(first, first + _ITEMS_AT_A_TIME) for first in range(0, len(self.items), _ITEMS_AT_A_TIME)]
        kept = []
        for block in blocks:
            items = self.items[block]
            weights = self._block(len(hidden), block.start if self.of_items is not None else 0, len(items))
            torch.mm(hidden, items.T, out=weights)
            add_exponentials(weights, sums)
            vectors.addmm_(weights, items)
            kept.append(weights)
        if not bool(((sums > _SMALLEST_SUM) & (sums < _LARGEST_SUM)).all()):
            return False
        wanted = (1 - smoothing) * self.items[targets]
        if self._mean_item is not None:
            wanted += smoothing * self._mean_item
        self.losses[rows] = sums.log() - (hidden * wanted).sum(dim=1)
        self.of_hidden[rows] = vectors / sums.unsqueeze(1) - wanted
        if self.of_items is not None:
            shares = hidden / sums.unsqueeze(1)
            for block, weights in zip(blocks, kept, strict=True):
                self.of_items[block].addmm_(weights.T, shares)
            self.of_items.index_add_(0, targets, hidden, alpha=smoothing - 1)
            if smoothing:
                self.of_items -= smoothing / len(self.items) * hidden.sum(dim=0)
        return True

    def add_by_softmax(self, rows: slice) -> None:
        """Add a chunk by the softmax of its logits."""
        hidden = self.hidden[rows]
        logits = self._block(len(hidden), 0, len(self.items))
        torch.mm(hidden, self.items.T, out=logits)
        self.losses[rows], slope = _losses_and_slope(logits, self.targets[rows], self.smoothing)
        self.of_hidden[rows] = (slope @ self.items).to(self.of_hidden.dtype)
        if self.of_items is not None and slope.dtype == self.of_items.dtype:
            self.of_items.addmm_(slope.T, hidden)
        elif self.of_items is not None:  # sums in full precision
            self.of_items += slope.T @ hidden

    def _block(self, rows: int, first: int, columns: int) -> Tensor:
        """(rows, columns) memory for the logits of the items from `first` on."""
        start = self.at_a_time * first
        return self._buffer[start : start + rows * columns].view(rows, columns)


def _losses_and_slope(logits: Tensor, targets: Tensor, smoothing: float) -> tuple[Tensor, Tensor]:
    """The cross-entropy of each row, (rows,), and its gradient by the logits, which takes their place.

    Args:
        logits: (rows, columns).
        targets: (rows,) int64.
        smoothing: see `cross_entropy`.
    """
    columns = targets.unsqueeze(1)
    exact = torch.promote_types(logits.dtype, torch.float32)
    of_target = logits.gather(1, columns).squeeze(1).to(exact)
    mean = logits.mean(dim=1, dtype=exact) if smoothing else of_target
    largest = logits.amax(dim=1).to(exact)
    weights = torch.softmax(logits, dim=1, out=logits)
    # log Σ exp(logits), from the largest logit and its weight, which cannot underflow
    normaliser = largest - weights.amax(dim=1).to(exact).log()
    weights.scatter_add_(1, columns, torch.full_like(columns, smoothing - 1, dtype=weights.dtype))
    if smoothing:
        weights -= smoothing / logits.shape[1]
    return normaliser - (1 - smoothing) * of_target - smoothing * mean, weights
