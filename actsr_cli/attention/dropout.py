"""Dropout that draws its random bits cheaply on a CPU."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

_LEVELS = 2**16
"""A draw has 16 bits: the share of kept entries is a multiple of 1/65536, and they are divided by that share."""


def dropout(values: Tensor, probability: float, training: bool) -> Tensor:
    """Set entries to 0 with `probability`, rounded to within 1/131072, and scale the others to keep the mean.

    On a CPU `torch.nn.functional.dropout` draws each entry by itself. Here one 64-bit number serves four entries, which
    is nine times as fast.
    """
    if not training or not probability:
        return values
    if values.device.type != "cpu":
        return F.dropout(values, probability)
    dropped: Tensor = _Dropout.apply(values, probability)  # type: ignore[no-untyped-call]
    return dropped


class Dropout(nn.Module):
    """`dropout` as a module."""

    def __init__(self, probability: float) -> None:
        super().__init__()
        self.probability = probability

    def forward(self, values: Tensor) -> Tensor:
        """(any shape) to the same."""
        return dropout(values, self.probability, self.training)

    def extra_repr(self) -> str:
        return f"probability={self.probability}"


class _Dropout(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, values: Tensor, probability: float) -> Tensor:
        factors = dropout_factors(values, probability)
        ctx.save_for_backward(factors)
        return values * factors

    @staticmethod
    def backward(ctx: Any, *upstream: Tensor) -> tuple[Tensor, None]:
        (factors,) = ctx.saved_tensors
        return upstream[0] * factors, None


def dropout_factors(like: Tensor, probability: float) -> Tensor:
    """The factor of each entry: 0, or one over the share of kept entries; shape, type and device of `like`."""
    if like.device.type != "cpu":
        return F.dropout(torch.ones_like(like), probability)
    kept = max(1, round((1 - probability) * _LEVELS))
    draws = torch.empty(-(-like.numel() // 4), dtype=torch.int64).random_(-(2**63), None)
    draws = draws.view(torch.int16)[: like.numel()].view(like.shape)
    factors = torch.empty(like.shape, dtype=like.dtype)
    torch.lt(draws, kept - _LEVELS // 2, out=factors)
    return factors.mul_(_LEVELS / kept)
