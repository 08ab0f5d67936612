"""Cross-entropy of the next item over the whole catalogue."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from actsr_cli.attention.kernels.exponentials import add_exponentials
from actsr_cli.attention.kernels.ready import make_ready
from actsr_cli.batch import PADDING
from actsr_cli.config.losses import CrossEntropyOptions
from actsr_cli.models.repeats import Repeats
from actsr_cli.threads import run_single_threaded
from actsr_cli.training.losses.base import PredictionLoss
from actsr_cli.training.losses.rows import row_parts, rows_at_a_time

_ITEMS_AT_A_TIME = 1024
"""Items per block on a CPU: what one product writes is still in the cache when it is read."""
_SMALLEST_SUM, _LARGEST_SUM = 1e-26, 1e32
"""Between them a sum of exponentials is exact: none of its parts was too large, and what was too small is nothing."""


class CrossEntropy(PredictionLoss):
    """`cross_entropy` with the options' label smoothing."""

    options: CrossEntropyOptions

    def __call__(self, hidden: Tensor, items: Tensor, targets: Tensor, negatives: Tensor | None) -> Tensor:
        return cross_entropy(hidden, items, targets, self.options.label_smoothing)

    def with_repeats(
        self, hidden: Tensor, items: Tensor, targets: Tensor, negatives: Tensor | None, repeats: Repeats
    ) -> Tensor:
        return cross_entropy(hidden, items, targets, self.options.label_smoothing, repeats)


def cross_entropy(
    hidden: Tensor, items: Tensor, targets: Tensor, smoothing: float = 0.0, repeats: Repeats | None = None
) -> Tensor:
    """Mean cross-entropy of the next item over the whole catalogue; matrix products use the type of autocast.

    Args:
        hidden: (targets, width).
        items: (n_items + 1, width) item vectors; padding takes part as an item, as in the published code. Detached
            vectors get no gradient, and none is computed for them.
        targets: (targets,) int64.
        smoothing: the share of the target's probability that is spread evenly over all columns.
        repeats: what learns its bonus, see `PredictionLoss.with_repeats`, or None.
    """
    device = hidden.device.type
    products = torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else items.dtype
    seen, bonus = (None, None) if repeats is None else (repeats.items, repeats.bonus)
    operands = (hidden, items, bonus, targets, seen, products, smoothing)
    loss: Tensor = _CatalogueCrossEntropy.apply(*operands)  # type: ignore[no-untyped-call]
    return loss


class _CatalogueCrossEntropy(torch.autograd.Function):
    """Cross-entropy of softmax(hidden · itemsᵀ), some rows at a time.

    The logits of all rows, (targets, n_items + 1), never exist at once. Each chunk of rows is turned into its share of
    the gradients while it is in the cache. Only the gradients are kept for the backward pass.
    """

    @staticmethod
    def forward(
        ctx: Any,
        hidden: Tensor,
        items: Tensor,
        bonus: Tensor | None,
        targets: Tensor,
        seen: Tensor | None,
        products: torch.dtype,
        smoothing: float,
    ) -> Tensor:
        parts = [
            _Catalogue(
                hidden[rows],
                items,
                targets[rows],
                None if seen is None or bonus is None else Repeats(seen[rows], bonus),
                products,
                smoothing,
                items_learn=ctx.needs_input_grad[1],
            )
            for rows in row_parts(len(targets), hidden.device)
        ]
        if len(parts) > 1:
            make_ready()  # before several threads ask for it
        run_single_threaded([part.fill for part in parts])
        first = parts[0]
        for other in parts[1:]:
            first.of_bonus += other.of_bonus
            if first.of_items is not None and other.of_items is not None:
                first.of_items += other.of_items
        ctx.n_targets = len(targets)
        ctx.hidden_dtype = hidden.dtype
        ctx.save_for_backward(torch.cat([part.of_hidden for part in parts]), first.of_items, first.of_bonus)
        return torch.cat([part.losses for part in parts]).mean()

    @staticmethod
    def backward(ctx: Any, *upstream: Tensor) -> tuple[Tensor | None, ...]:
        scale = upstream[0] / ctx.n_targets
        of_hidden, of_items, of_bonus = ctx.saved_tensors
        return (
            (of_hidden * scale).to(ctx.hidden_dtype),
            None if of_items is None else of_items * scale,
            of_bonus * scale if ctx.needs_input_grad[2] else None,
            *(None, None, None, None),
        )


class _Catalogue:
    """Losses and gradients of rows of hidden states, in buffers that all chunks of rows share.

    Args:
        hidden, items, targets, repeats, smoothing: see `cross_entropy`.
        products: the type of the products.
        items_learn: also compute the gradient by the item vectors.

    Attributes:
        losses: (targets,) the loss of each row.
        of_hidden: (targets, width) gradient of their sum by the hidden states.
        of_items: (columns, width) its gradient by the item vectors, or None.
        of_bonus: () the gradient by the bonus of the losses with it.
        at_a_time: rows of a chunk.
        in_blocks: whether `add_by_exponentials` may be tried. It needs sums and products of one type. On a GPU it
            would make the host wait.
    """

    def __init__(
        self,
        hidden: Tensor,
        items: Tensor,
        targets: Tensor,
        repeats: Repeats | None,
        products: torch.dtype,
        smoothing: float,
        *,
        items_learn: bool,
    ) -> None:
        self.hidden, self.items = hidden.to(products), items.to(products)
        self.targets, self.repeats, self.smoothing = targets, repeats, smoothing
        self.of_bonus = items.new_zeros(())
        self.losses = items.new_empty(len(targets))
        self.of_hidden = torch.empty_like(hidden, dtype=items.dtype)
        self.of_items = torch.zeros_like(items) if items_learn else None
        self.in_blocks = hidden.device.type == "cpu" and products == items.dtype
        self.at_a_time = rows_at_a_time(len(targets), self.items)
        self._buffer = self.items.new_empty(self.at_a_time * len(items))
        self._mean_item = items.mean(dim=0) if smoothing else None

    def fill(self) -> None:
        """Compute losses and gradients of all rows."""
        for first in range(0, len(self.targets), self.at_a_time):
            rows = slice(first, first + self.at_a_time)
            if not (self.in_blocks and self.add_by_exponentials(rows)):
                self.add_by_softmax(rows)

    def add_by_exponentials(self, rows: slice) -> bool:
        """Add a chunk by its exponentials, without its largest logits; False, and nothing is added, if they are needed.

        The exponentials are divided by their sums after they were multiplied with the items. The gradient by the logits
        is the softmax minus the wanted distribution, whose product with the items is one vector for each row.
        """
        hidden, targets, smoothing = self.hidden[rows], self.targets[rows], self.smoothing
        sums = hidden.new_zeros(len(hidden))
        seen = None if self.repeats is None else _SeenPairs(self.repeats, rows, len(self.items))
        vectors = torch.zeros_like(hidden)  # Σ exp(logit) · item vector
        blocks = [slice(first, first + _ITEMS_AT_A_TIME) for first in range(0, len(self.items), _ITEMS_AT_A_TIME)]
        kept = []
        for number, block in enumerate(blocks):
            items = self.items[block]
            weights = self._block(len(hidden), block.start if self.of_items is not None else 0, len(items))
            torch.mm(hidden, items.T, out=weights)
            add_exponentials(weights, sums)
            if seen is not None:
                seen.keep(weights, number)
            vectors.addmm_(weights, items)
            kept.append(weights)
        if not bool(((sums > _SMALLEST_SUM) & (sums < _LARGEST_SUM)).all()):
            return False
        wanted = (1 - smoothing) * self.items[targets]
        if self._mean_item is not None:
            wanted += smoothing * self._mean_item
        self.losses[rows] = sums.log() - (hidden * wanted).sum(dim=1)
        if self.repeats is not None and seen is not None:
            raised = seen.weights * self.repeats.bonus.exp()
            totals = sums.index_add(0, seen.rows, raised - seen.weights)
            totals = totals.maximum(
                torch.zeros_like(sums).index_add(0, seen.rows, raised)
            )  # rounded, too, no share is above 1
            is_target = (seen.items == targets[seen.rows]).to(sums.dtype)
            of_seen = (1 - smoothing) * is_target + smoothing / len(self.items)
            self.of_bonus += (raised / totals[seen.rows] - of_seen).sum()
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
        targets = self.targets[rows]
        self.losses[rows], slope = _losses_and_slope(logits, targets, self.smoothing)
        if self.repeats is not None:
            seen, bonus = self.repeats.items[rows], self.repeats.bonus.to(self.losses.dtype)
            wanted = (1 - self.smoothing) * (seen == targets.unsqueeze(1)) + self.smoothing / len(self.items)
            weights = (slope.gather(1, seen).to(bonus.dtype) + wanted) * (seen != PADDING)
            totals = 1 + (weights * bonus.expm1()).sum(dim=1, keepdim=True)
            totals = totals.maximum(
                (weights * bonus.exp()).sum(dim=1, keepdim=True)
            )  # rounded, too, no share is above 1
            self.of_bonus += ((weights * bonus.exp() / totals - wanted) * (seen != PADDING)).sum()
        self.of_hidden[rows] = (slope @ self.items).to(self.of_hidden.dtype)
        if self.of_items is not None and slope.dtype == self.of_items.dtype:
            self.of_items.addmm_(slope.T, hidden)
        elif self.of_items is not None:  # sums in full precision
            self.of_items += slope.T @ hidden

    def _block(self, rows: int, first: int, columns: int) -> Tensor:
        """(rows, columns) memory for the logits of the items from `first` on."""
        start = self.at_a_time * first
        return self._buffer[start : start + rows * columns].view(rows, columns)


class _SeenPairs:
    """The (row, item) pairs of a chunk whose scores get the bonus, in the order of the items: a block has a range.

    Attributes:
        rows, items: (pairs,) int64; `rows` count from the first row of the chunk.
        weights: (pairs,) the exponentials of their logits, after `keep`.
    """

    def __init__(self, repeats: Repeats, rows: slice, n_columns: int) -> None:
        chunk = repeats.items[rows]
        of_row, place = (chunk != PADDING).nonzero(as_tuple=True)
        self.items, order = chunk[of_row, place].sort()
        self.rows = of_row[order]
        self.weights = repeats.bonus.new_empty(len(order))
        starts = torch.arange(0, n_columns + _ITEMS_AT_A_TIME, _ITEMS_AT_A_TIME)
        self._bounds: list[int] = torch.searchsorted(self.items, starts).tolist()

    def keep(self, weights: Tensor, block: int) -> None:
        """Keep the exponentials of a block, (rows, items of the block)."""
        pairs = slice(self._bounds[block], self._bounds[block + 1])
        self.weights[pairs] = weights[self.rows[pairs], self.items[pairs] - block * _ITEMS_AT_A_TIME]


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
