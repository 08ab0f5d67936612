"""Ranking metrics with one relevant item per user, from ranks counted from 1.

Ranks may be fractional: a tie with the target counts half, see `ranking.doubled_ranks`. Each function returns one value
per user; `summarize` averages them.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Ranks = NDArray[np.float64]


def hit(ranks: Ranks, k: int) -> Ranks:
    """(users,) 1 where the target is among the first k. With one relevant item it equals recall."""
    return (ranks <= k).astype(np.float64)


def ndcg(ranks: Ranks, k: int) -> Ranks:
    """(users,) normalised discounted cumulative gain: 1 / log₂(1 + rank) within the first k."""
    return np.where(ranks <= k, 1.0 / np.log2(1.0 + ranks), 0.0)


def mrr(ranks: Ranks, k: int) -> Ranks:
    """(users,) reciprocal rank within the first k."""
    return np.where(ranks <= k, 1.0 / ranks, 0.0)


METRICS = {"hit": hit, "ndcg": ndcg, "mrr": mrr}


def summarize(ranks: Ranks, ks: Sequence[int]) -> dict[str, float]:
    """Mean of every metric at every cut-off, such as {"hit@10": 0.08}.

    Raises:
        ValueError: there are no ranks.
    """
    if not len(ranks):
        raise ValueError("no ranks to average")
    return {f"{name}@{k}": float(metric(ranks, k).mean()) for name, metric in METRICS.items() for k in ks}
