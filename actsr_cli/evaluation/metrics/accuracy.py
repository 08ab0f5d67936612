"""Metrics of accuracy: each is its expected value over random orders of items with equal scores.

McSherry and Najork, Computing Information Retrieval Performance Measures Efficiently in the Presence of Tied Scores,
ECIR 2008. Each target is ranked from its own history, so a list has one relevant item. A user with several targets
counts with their mean.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from actsr_cli.evaluation.metrics.registry import Metric, register

if TYPE_CHECKING:
    from actsr_cli.evaluation.metrics.registry import Values
    from actsr_cli.evaluation.ranker import Ranking

    Gain = Callable[[Values], Values]
    """The gain of a target at some ranks, which count from 1."""


def expected_gain(ranking: Ranking, k: int, gain: Gain) -> Values:
    """(rows,) mean gain over the ranks that a target can have among equal scores; there is no gain after rank k."""
    import numpy as np

    k = min(k, ranking.n_items)  # a target that counts as a miss is behind the whole catalogue
    first = ranking.better
    last = first + ranking.equal
    gains = gain(np.arange(1, k + 1, dtype=np.float64))
    total = np.concatenate([[0.0], np.cumsum(gains)])
    of_ties = (total[np.minimum(last + 1, k)] - total[np.minimum(first, k)]) / (last - first + 1)
    alone = np.append(gains, 0.0)[np.minimum(first, k)]  # the same without the rounding of a sum
    return np.where(first == last, alone, of_ties)


def hit(ranking: Ranking, k: int) -> Values:
    """(rows,) probability that the target is within the first k. With one relevant item it equals recall."""
    import numpy as np

    return expected_gain(ranking, k, np.ones_like)


def ndcg(ranking: Ranking, k: int) -> Values:
    """(rows,) normalised discounted cumulative gain: 1 / log2(1 + rank) within the first k."""
    import numpy as np

    return expected_gain(ranking, k, lambda places: 1 / np.log2(1 + places))


def mrr(ranking: Ranking, k: int) -> Values:
    """(rows,) reciprocal rank within the first k. With one relevant item it equals average precision."""
    return expected_gain(ranking, k, lambda places: 1 / places)


def precision(ranking: Ranking, k: int) -> Values:
    """(rows,) expected share of the first k that is the target."""
    return hit(ranking, k) / k


def _register(name: str, label: str, compute: Callable[[Ranking, int], Values], about: str) -> None:
    register(Metric(name, label, "higher", lambda judged, k: compute(judged.ranking, k), about))


_register("hit", "Hit", hit, "Share of targets within the first K.")
_register("ndcg", "NDCG", ndcg, "Normalised discounted cumulative gain: 1 / log2(1 + rank) within the first K, else 0.")
_register("mrr", "MRR", mrr, "Reciprocal rank of the target within the first K, else 0.")
_register("precision", "Precision", precision, "Share of the first K that is a target: Hit / K.")
_register("recall", "Recall", hit, "Share of a user's targets within the first K: equals Hit.")
_register("map", "MAP", mrr, "Average precision within the first K: equals MRR.")
register(
    Metric(
        "rank",
        "Rank",
        "lower",
        lambda judged, _: judged.ranking.ranks,
        "Mean rank of the target.",
        cutoff=False,
        decimals=1,
    )
)
