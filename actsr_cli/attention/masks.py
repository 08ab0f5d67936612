"""Which keys a query may attend to, and normalisations over these keys."""

from __future__ import annotations

from typing import Any, Literal

import torch
from einops import rearrange
from torch import Tensor

Renorm = Literal["softmax", "sum", "none"]

_SMALLEST_SUM = 1e-9
"""Smallest divisor: a row whose weights were all dropped out has the sum 0 and stays 0."""


def allowed_pairs(lengths: Tensor, length: int, *, causal: bool) -> Tensor:
    """Pairs (query, key) that attention may use: no padding, and no later key in a causal model.

    Args:
        lengths: (batch,) number of real positions of each right-padded sequence, at least 1.
        length: number of positions with padding.
        causal: forbid keys after the query.

    Returns:
        (batch, 1, length, length) bool; every row allows at least one key, key 0.
    """
    positions = torch.arange(length, device=lengths.device)
    real = rearrange(positions < rearrange(lengths, "b -> b 1"), "b k -> b 1 1 k")
    if not causal:
        return real.expand(-1, -1, length, -1)
    return real & (positions <= rearrange(positions, "q -> q 1"))


def masked_softmax(logits: Tensor, allowed: Tensor) -> Tensor:
    """Softmax over the allowed keys of each row; 0 elsewhere. Both (batch, heads or 1, queries, keys)."""
    barred = torch.zeros((), dtype=logits.dtype, device=logits.device)
    barred = barred.where(allowed, torch.finfo(logits.dtype).min)  # an added mask needs no backward pass
    return (logits + barred).softmax(dim=-1)


def renormalise(weights: Tensor, allowed: Tensor, renorm: Renorm, *, noisy: bool = False) -> Tensor:
    """Make weights a distribution over the allowed keys again.

    Args:
        weights: (batch, heads, queries, keys) attention-like weights.
        allowed: (batch, 1, queries, keys) bool.
        renorm: `softmax`, the published way, is one more softmax over numbers between 0 and 1: no two weights then
            differ by more than a factor e. `sum` sets negative weights to 0 and divides by the sum, which keeps the
            attention as sharp as it was. `none` only removes forbidden keys.
        noisy: forbidden keys may have weights, and weights may be negative.

    Returns:
        (batch, heads, queries, keys), 0 at forbidden keys.
    """
    if renorm == "softmax":
        return masked_softmax(weights, allowed)
    if noisy:
        weights = weights * allowed
    if renorm == "none":
        return weights
    if noisy:
        weights = weights.clamp_min(0.0)
    normalised: Tensor = _DividedBySum.apply(weights)  # type: ignore[no-untyped-call]
    return normalised


class _DividedBySum(torch.autograd.Function):
    """w / Σw along the last axis, with a short backward pass: (g - Σ g·y) / Σw."""

    @staticmethod
    def forward(ctx: Any, weights: Tensor) -> Tensor:
        sums = weights.sum(dim=-1, keepdim=True).clamp_min_(_SMALLEST_SUM)
        normalised = weights / sums
        ctx.save_for_backward(normalised, sums)
        return normalised

    @staticmethod
    def backward(ctx: Any, *upstream: Tensor) -> Tensor:
        normalised, sums = ctx.saved_tensors
        mean = (upstream[0] * normalised).sum(dim=-1, keepdim=True)
        gradient: Tensor = (upstream[0] - mean).div_(sums)
        return gradient
