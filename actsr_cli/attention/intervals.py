"""Positions and time intervals added to keys and values (TiSASRec), without a vector per pair."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from einops import rearrange, repeat
from torch import Tensor

IntervalScale = Literal["user", "raw"]


def time_intervals(times: Tensor, span: int, scale: IntervalScale) -> Tensor:
    """The time interval of each pair of a sequence, as a row number of an interval table.

    Args:
        times: (batch, length) seconds in ascending order, then padding of 0.
        span: longer intervals are clipped to it.
        scale: `user` divides by the sequence's smallest interval above 0 (TiSASRec, section 3.2). Row i uses the
            smallest up to position i: it depends on no later item and equals the last row of its prefix. `raw` counts
            seconds, as the published AC code does.

    Returns:
        (batch, length, length) int64 from 0 to `span`.
    """
    elapsed = (rearrange(times, "b q -> b q 1") - rearrange(times, "b k -> b 1 k")).abs_()
    if scale == "user":
        elapsed /= rearrange(_smallest_gap(times), "b q -> b q 1")
    return elapsed.clamp_max_(span).long()


def _smallest_gap(times: Tensor) -> Tensor:
    """(batch, length) the smallest gap above 0 between neighbours up to each position; 1 if there is none yet."""
    gaps = times.diff(dim=1, prepend=times[:, :1])
    gaps = gaps.masked_fill(gaps <= 0, torch.inf)
    until_here = torch.ones(gaps.shape[1], gaps.shape[1], dtype=torch.bool, device=gaps.device).tril()
    smallest = rearrange(gaps, "b k -> b 1 k").where(until_here, torch.inf).amin(dim=2)  # ONNX has no cummin
    return smallest.masked_fill(smallest.isinf(), 1.0)


@dataclass(frozen=True)
class Relations:
    """What absolute positions and time intervals of pairs add to attention (Li et al., WSDM 2020, from equation 7 on).

    Attributes:
        key_positions: (keys, hidden) added to the keys.
        value_positions: (keys, hidden) added to the values.
        key_intervals: (span + 1, hidden) a vector per interval, multiplied with the query.
        value_intervals: (span + 1, hidden) a vector per interval, weighted by the attention.
        intervals: (batch, queries, keys) int64 the interval of each pair.

    Raises:
        ValueError: an interval has no row in the tables. This is checked on a CPU; elsewhere the lookup fails.
    """

    key_positions: Tensor
    value_positions: Tensor
    key_intervals: Tensor
    value_intervals: Tensor
    intervals: Tensor

    def __post_init__(self) -> None:
        if torch.compiler.is_compiling():  # the numbers are not there yet
            return
        if self.intervals.device.type == "cpu" and self.intervals.numel():
            smallest, largest = self.intervals.aminmax()
            if smallest < 0 or largest >= min(len(self.key_intervals), len(self.value_intervals)):
                raise ValueError("a time interval has no row in the interval tables")

    def scores(self, queries: Tensor) -> Tensor:
        """Products of queries with the vectors of their intervals.

        Each query is multiplied with the whole table, and the products are looked up. This needs
        (batch, heads, queries, span + 1) numbers instead of (batch, queries, keys, hidden).

        Args:
            queries: (batch, heads, queries, width).

        Returns:
            (batch, heads, queries, keys).
        """
        heads = queries.shape[1]
        products = queries @ rearrange(self.key_intervals, "s (h d) -> h d s", h=heads)
        return products.gather(-1, self._index(heads))

    def values(self, attention: Tensor) -> Tensor:
        """Interval vectors weighted by attention: attention is summed per interval, then multiplied with the table.

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
