"""Positions and time intervals as parts of keys and values (TiSASRec), without a vector for any pair."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

import torch
from einops import rearrange, repeat
from torch import Tensor

IntervalScale = Literal["user", "raw"]


def time_intervals(times: Tensor, span: int, scale: IntervalScale) -> Tensor:
    """How far apart in time each pair of a sequence is, as a row of an interval table.

    Args:
        times: (batch, length) seconds in ascending order, then padding of 0.
        span: longer intervals are clipped to it.
        scale: `user` divides by the sequence's smallest interval above 0 (TiSASRec, section 3.2). Row i takes the
            smallest up to position i, so that it never knows the future and equals the last row of its prefix. `raw`
            counts seconds, as the published AC code does.

    Returns:
        (batch, length, length) int64 from 0 to `span`.
    """
    elapsed = (rearrange(times, "b q -> b q 1") - rearrange(times, "b k -> b 1 k")).abs_()
    if scale == "user":
        elapsed /= rearrange(_smallest_gap(times), "b q -> b q 1")
    return elapsed.clamp_max_(span).long()


def _smallest_gap(times: Tensor) -> Tensor:
    """(batch, length) the smallest gap above 0 between neighbours up to each position; 1 where there is none yet."""
    gaps = times.diff(dim=1, prepend=times[:, :1])
    gaps = gaps.masked_fill(gaps <= 0, torch.inf)
    smallest = gaps.cummin(dim=1).values
    return smallest.masked_fill(smallest.isinf(), 1.0)


@dataclass(frozen=True)
class Relations:
    """What a pair's absolute positions and its time interval add to attention (Li et al., WSDM 2020, equation 7 on).

    Attributes:
        key_positions: (keys, hidden) added to the keys.
        value_positions: (keys, hidden) added to the values.
        key_intervals: (span + 1, hidden) a vector per interval, met by the query.
        value_intervals: (span + 1, hidden) a vector per interval, attended to.
        intervals: (batch, queries, keys) int64 the interval of each pair.
    """

    key_positions: Tensor
    value_positions: Tensor
    key_intervals: Tensor
    value_intervals: Tensor
    intervals: Tensor

    def rows(self, places: Tensor) -> Relations:
        """The same for one query per sequence, at `places`, (batch,)."""
        batch = torch.arange(len(places), device=places.device)
        return replace(self, intervals=self.intervals[batch, places].unsqueeze(1))

    def behind(self, first: int) -> Relations:
        """The same for the queries from `first` on."""
        return replace(self, intervals=self.intervals[:, first:])

    def scores(self, queries: Tensor) -> Tensor:
        """Products of queries with the vectors of their intervals.

        Each query meets the table once, and the products are looked up: (batch, heads, queries, span + 1) numbers in
        place of (batch, queries, keys, hidden).

        Args:
            queries: (batch, heads, queries, width).

        Returns:
            (batch, heads, queries, keys).
        """
        heads = queries.shape[1]
        products = queries @ rearrange(self.key_intervals, "s (h d) -> h d s", h=heads)
        return products.gather(-1, self._index(heads))

    def values(self, attention: Tensor) -> Tensor:
        """The interval vectors that are attended to: attention is summed per interval before it meets the table.

        Args:
            attention: (batch, heads, queries, keys).

        Returns:
            (batch, heads, queries, width).
        """
        heads = attention.shape[1]
        table = rearrange(self.value_intervals, "s (h d) -> h s d", h=heads)
        per_interval = attention.new_zeros(*attention.shape[:3], table.shape[1])
        return per_interval.scatter_add(-1, self._index(heads), attention) @ table.to(attention.dtype)

    def _index(self, heads: int) -> Tensor:
        return repeat(self.intervals, "b q k -> b h q k", h=heads)
