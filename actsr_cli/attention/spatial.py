"""The spatial calibrator: attention that learns the order of items and their distance (AC-TSR)."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn


class PairAffine(nn.Linear):
    """An affine map of every concatenated pair [query; key] to one number, as the outer sum of two vectors.

    The pairs themselves, (queries, keys, 2 × width), are never built.
    """

    def __init__(self, width: int) -> None:
        super().__init__(2 * width, 1)

    def forward(self, queries: Tensor, keys: Tensor) -> Tensor:  # type: ignore[override]
        """(batch, heads, queries, width) and (batch, heads, keys, width) to (batch, heads, queries, keys)."""
        query_weight, key_weight = self.weight[0].chunk(2)
        per_query = rearrange(queries @ query_weight + self.bias, "b h q -> b h q 1")
        per_key = rearrange(keys @ key_weight, "b h k -> b h 1 k")
        return per_query + per_key


class SpatialCalibrator(nn.Module):
    """Adds to each attention score how well order and distance of the pair can be told from its query and key.

    With z and p affine in the pair (i, j) and t = log(|i - j| + 1):
    order term log σ(z) where j > i and log(1 - σ(z)) elsewhere; distance term -(t - p)² s² / 2.

    Args:
        head_width: width of a query or key of one head.
        use_order: add the order term.
        use_distance: add the distance term.
        saturating: compute log(1 - σ(z)) as it is written, as the published code does: in float32 it loses digits as z
            grows, and ends at log(1e-24) with no gradient from z = 17 on.
    """

    def __init__(
        self, head_width: int, *, use_order: bool = True, use_distance: bool = True, saturating: bool = False
    ) -> None:
        super().__init__()
        self.saturating = saturating
        self.order = PairAffine(head_width) if use_order else None
        self.distance = PairAffine(head_width) if use_distance else None
        self.sharpness = nn.Parameter(torch.randn(1)) if use_distance else None  # the scalar s

    def forward(self, scores: Tensor, queries: Tensor, keys: Tensor, query_positions: Tensor) -> Tensor:
        """Calibrated scores, before the division by the square root of the width.

        Args:
            scores: (batch, heads, queries, keys) products q·k.
            queries: (batch, heads, queries, width).
            keys: (batch, heads, keys, width), keys[j] at position j.
            query_positions: (batch or 1, queries) position of each query.

        Returns:
            (batch, heads, queries, keys).
        """
        key_positions = torch.arange(keys.shape[-2], device=keys.device)
        offset = key_positions - rearrange(query_positions, "b q -> b 1 q 1")  # j - i
        if self.order is not None:
            scores = scores + self._log_likelihood(self.order(queries, keys), offset > 0)
        if self.distance is not None and self.sharpness is not None:
            log_distance = torch.log1p(offset.abs().to(scores.dtype))
            error = log_distance - self.distance(queries, keys)
            scores = scores - error.square() * (self.sharpness.square() / 2)
        return scores

    def _log_likelihood(self, logit: Tensor, later: Tensor) -> Tensor:
        """log σ(z) where the key is later than the query, log(1 - σ(z)) elsewhere; z (batch, heads, queries, keys)."""
        if not self.saturating:
            return F.logsigmoid(torch.where(later, logit, -logit))
        probability = torch.sigmoid(logit)
        return torch.log(torch.where(later, probability, 1 - probability) + 1e-24)
