"""The spatial calibrator: attention that learns the order of items and their distance (AC-TSR)."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn


class PairAffine(nn.Linear):
    """An affine map of every concatenated pair [query; key] to one number, computed as the outer sum of two vectors.

    The pairs themselves, (queries, keys, 2 × width), are never built.
    """

    def __init__(self, width: int) -> None:
        super().__init__(2 * width, 1)

    def forward(self, queries: Tensor, keys: Tensor) -> Tensor:  # type: ignore[override]
        """Map (batch, heads, queries, width) and (batch, heads, keys, width) to (batch, heads, queries, keys)."""
        per_query, per_key = self.addends(queries, keys)
        return per_query + per_key

    def addends(self, queries: Tensor, keys: Tensor) -> tuple[Tensor, Tensor]:
        """The two addends of the map: (batch, heads, queries, 1) and (batch, heads, 1, keys)."""
        query_weight, key_weight = self.weight[0].chunk(2)
        per_query = rearrange(queries @ query_weight + self.bias, "b h q -> b h q 1")
        return per_query, rearrange(keys @ key_weight, "b h k -> b h 1 k")


class SpatialCalibrator(nn.Module):
    """Adds to each attention score how well query and key predict the order and the distance of the pair.

    z and p are affine maps of the pair (i, j), t is log(|i - j| + 1), and s is a learned scalar. The order term is
    log σ(z) if j > i and log(1 - σ(z)) otherwise. The distance term is -(t - p)² s² / 2.

    Args:
        head_width: width of a query or key of one head.
        use_order: add the order term.
        use_distance: add the distance term.
        saturating: compute log(1 - σ(z)) literally, as the published code does. In float32 it loses digits as z grows,
            and from z = 17 on it is log(1e-24) without a gradient.
    """

    def __init__(
        self, head_width: int, *, use_order: bool = True, use_distance: bool = True, saturating: bool = False
    ) -> None:
        super().__init__()
        self.saturating = saturating
        self.order = PairAffine(head_width) if use_order else None
        self.distance = PairAffine(head_width) if use_distance else None
        self.sharpness = nn.Parameter(torch.randn(1)) if use_distance else None  # the scalar s

    def forward(self, scores: Tensor, queries: Tensor, keys: Tensor, scale: float) -> Tensor:
        """Compute the calibrated scores.

        Args:
            scores: (batch, heads, length, length) products q·k, times `scale`.
            queries: (batch, heads, length, width), queries[i] at position i.
            keys: (batch, heads, length, width), keys[j] at position j.
            scale: factor of the two terms, the same as that of the scores: one over the square root of the width.

        Returns:
            (batch, heads, length, length).
        """
        positions = torch.arange(keys.shape[-2], device=keys.device)
        offset = positions - rearrange(positions, "q -> q 1")  # j - i
        if self.order is not None:
            scores = torch.sub(scores, self._surprise(self.order(queries, keys), offset > 0), alpha=scale)
        if self.distance is not None and self.sharpness is not None:
            log_distance = torch.log1p(offset.abs().to(scores.dtype))
            sharpness = self.sharpness * math.sqrt(scale / 2)
            per_query, per_key = self.distance.addends(queries, keys)  # scaling these is cheaper than scaling the error
            error = (log_distance - per_query) * sharpness - per_key * sharpness
            scores = torch.addcmul(scores, error, error, value=-1)
        return scores

    def readings(self, queries: Tensor, keys: Tensor) -> tuple[Tensor | None, Tensor | None]:
        """What the two terms predict for each pair: the probability that the key is later, and log(|i - j| + 1).

        Args:
            queries: (batch, heads, queries, width).
            keys: (batch, heads, keys, width).

        Returns:
            Both (batch, heads, queries, keys); None for a term that is off.
        """
        order = None if self.order is None else torch.sigmoid(self.order(queries, keys))
        return order, None if self.distance is None else self.distance(queries, keys)

    def _surprise(self, logit: Tensor, later: Tensor) -> Tensor:
        """-log σ(z) if the key is later than the query, else -log(1 - σ(z)); (batch, heads, queries, keys)."""
        if not self.saturating:
            return F.softplus(logit * torch.where(later, -1.0, 1.0).to(logit.dtype))
        probability = torch.sigmoid(logit)
        return -torch.log(torch.where(later, probability, 1 - probability) + 1e-24)
