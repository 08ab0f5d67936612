"""Orders of scores: how many are better than a target's, and the best of a row."""

from __future__ import annotations

import torch
from torch import Tensor

from actsr_cli.batch import PADDING


def places(scores: Tensor, targets: Tensor, seen: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """Number of items that score higher than each target, and of other items with an equal score.

    Args:
        scores: (batch, n_items + 1); column 0 is padding and never counts.
        targets: (batch,) item ids.
        seen: (batch, any) item ids to leave out, padded with 0; the target is never left out. None ranks every item.

    Returns:
        Two (batch,) int64.
    """
    columns = targets.unsqueeze(1)
    of_target = scores.gather(1, columns)
    # Comparisons are stored as float32: sums of bool are not vectorised. float32 counts exactly up to 2²⁴.
    exact = torch.float32 if scores.shape[1] <= 2**24 else torch.float64
    marks = torch.empty_like(scores, dtype=exact)
    counts = []
    for compare in (torch.gt, torch.ge):
        compare(scores, of_target, out=marks)
        if seen is not None:
            marks.scatter_(1, seen, 0.0)
        marks[:, PADDING] = 0.0
        marks.scatter_(1, columns, 0.0)
        counts.append(marks.sum(dim=1).long())
    better, not_worse = counts
    return better, not_worse - better


def places_among(scores: Tensor, targets: Tensor, candidates: Tensor) -> tuple[Tensor, Tensor]:
    """Like `places`, but only among (batch, any) candidates, padded with 0 and without the target."""
    of_target = scores.gather(1, targets.unsqueeze(1))
    of_candidates = scores.gather(1, candidates)
    real = candidates != PADDING
    return ((of_candidates > of_target) & real).sum(dim=1), ((of_candidates == of_target) & real).sum(dim=1)


def best_items(scores: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """The best items of each row; of equal scores the lowest id comes first.

    Args:
        scores: (batch, n_items + 1) float32; -inf marks items that must not be listed, including padding.
        k: length of the lists, at most the number of columns.

    Returns:
        (batch, k) int64 item ids, 0 after the last allowed item, and (batch, k) scores, -inf there.
    """
    best, items = scores.topk(min(k + 1, scores.shape[1]), dim=1)
    # If several items tie for the last place, topk takes any of them: these rows are ranked again, exactly.
    tied = torch.nonzero((best[:, k - 1] == best[:, -1]) & (best[:, -1] > -torch.inf)).squeeze(1)
    items = items[:, :k]
    if best.shape[1] > k and len(tied):
        items[tied] = _lowest_ids_first(scores[tied], k)
    items = items.sort(dim=1).values
    best, order = scores.gather(1, items).sort(dim=1, descending=True, stable=True)
    return items.gather(1, order).masked_fill(best == -torch.inf, PADDING), best


def _lowest_ids_first(scores: Tensor, k: int) -> Tensor:
    """(batch, k) ids of the best items; of equal scores those with the lowest ids."""
    bits = (scores + 0.0).view(torch.int32).long()  # + 0.0 turns -0 into 0
    ordered = torch.where(bits < 0, bits ^ 0x7FFFFFFF, bits)  # whole numbers in the order of the scores
    keys = (ordered << 32) - torch.arange(scores.shape[1], device=scores.device)
    return keys.topk(k, dim=1).indices
