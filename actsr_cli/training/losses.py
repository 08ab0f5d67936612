"""The losses: next-item cross-entropy and BPR, and the penalty that keeps adversarial masks open."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from einops import einsum, rearrange
from torch import Tensor


def cross_entropy(hidden: Tensor, items: Tensor, targets: Tensor) -> Tensor:
    """Mean cross-entropy of the next item over the whole catalogue.

    Args:
        hidden: (targets, width).
        items: (n_items + 1, width) item vectors; padding takes part as an item, as in the published code.
        targets: (targets,) int64.
    """
    return F.linear_cross_entropy(hidden, items, targets)


def bpr(hidden: Tensor, items: Tensor, targets: Tensor, negatives: Tensor) -> Tensor:
    """Mean Bayesian personalised ranking loss, -log σ(positive - negative) (Rendle et al., UAI 2009).

    Args:
        hidden: (targets, width).
        items: (n_items + 1, width) item vectors.
        targets: (targets,) int64 the items that came next.
        negatives: (targets,) int64 one item each that did not.
    """
    margin = einsum(hidden, items[targets] - items[negatives], "t d, t d -> t")
    return -F.logsigmoid(margin).mean()


def prefix_counts(trained: Tensor) -> Tensor:
    """How many training prefixes contain each row, when one pass trains several prefixes of a sequence.

    Args:
        trained: (batch, length) bool, rows that predict a target; each is the end of one prefix.

    Returns:
        (batch, length) int64: trained rows at or behind each row; 0 at padding.
    """
    return trained.flip(1).cumsum(dim=1).flip(1)


def mask_penalty(masks: Sequence[Tensor], row_counts: Tensor, n_prefixes: int, max_length: int) -> Tensor:
    """Mean over layers of ‖1 - M‖₂, as the padded batch of all prefixes would have it (AC-TSR's mask penalty).

    That batch has n_prefixes × heads × max_length² entries. A real row contributes its (1 - M)² once for each prefix
    that contains it, every other entry contributes 1; so the square is that total plus M² - 2M over the real rows.

    Args:
        masks: one (batch, heads, length, length) adversarial mask per layer, 0 at forbidden keys.
        row_counts: (batch, length) how often each row counts, see `prefix_counts`.
        n_prefixes: training prefixes in the batch.
        max_length: length that each prefix would be padded to.

    Returns:
        A scalar in float32.
    """
    counts = rearrange(row_counts, "b q -> b 1 q 1").float()
    heads = masks[0].shape[1]
    total = n_prefixes * heads * max_length**2
    norms = [(total + (counts * mask.float() * (mask.float() - 2)).sum()).sqrt() for mask in masks]
    return torch.stack(norms).mean()
