"""Metrics of the recommended lists, without regard to targets: coverage, popularity, novelty, diversity."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from actsr_cli.evaluation.metrics.registry import Better, Catalogue, Judged, Metric, register

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from actsr_cli.evaluation.metrics.registry import Values

HEAD = 0.8
"""Items of the head have this share of the training interactions; all less popular ones are the tail."""
_PAIRS_AT_A_TIME = 2**24


def _coverage(judged: Judged, k: int) -> Values:
    import numpy as np

    listed = judged.lists(k)
    return np.array(len(np.unique(listed[listed > 0])) / judged.catalogue.n_items)


def _gini(judged: Judged, k: int) -> Values:
    """From 0 (every item is listed equally often) to nearly 1 (everybody gets the same few items)."""
    import numpy as np

    times = np.sort(np.bincount(judged.lists(k).ravel(), minlength=judged.catalogue.n_items + 1)[1:])
    n = len(times)
    if not times[-1]:
        return np.array(np.nan)
    return np.array(2 * (np.arange(1, n + 1) * times).sum() / (n * times.sum()) - (n + 1) / n)


def _popularity(judged: Judged, k: int) -> Values:
    import numpy as np

    return _mean_over_lists(judged.lists(k), judged.catalogue.counts.astype(np.float64))


def _novelty(judged: Judged, k: int) -> Values:
    """Self-information in bits (Zhou et al., PNAS 2010); an item that was never trained counts as trained once."""
    import numpy as np

    counts = np.maximum(judged.catalogue.counts, 1)
    return _mean_over_lists(judged.lists(k), -np.log2(counts / judged.catalogue.counts.sum()))


def _tail(judged: Judged, k: int) -> Values:
    import numpy as np

    return _mean_over_lists(judged.lists(k), in_tail(judged.catalogue).astype(np.float64))


def _diversity(judged: Judged, k: int) -> Values:
    """Mean of 1 - Jaccard similarity of categories over all pairs of a list (Ziegler et al., WWW 2005)."""
    import numpy as np

    listed = judged.lists(k)
    marks = judged.catalogue.category_marks
    at_a_time = max(1, _PAIRS_AT_A_TIME // max(1, listed.shape[1] * max(listed.shape[1], marks.shape[1])))
    parts = [_varied(listed[start : start + at_a_time], judged.catalogue) for start in range(0, len(listed), at_a_time)]
    return np.concatenate(parts)


def in_tail(catalogue: Catalogue) -> NDArray[np.bool_]:
    """(n_items + 1,) whether each item is in the tail: all but the most popular ones with 80 % of the interactions."""
    import numpy as np

    order = np.argsort(-catalogue.counts, kind="stable")
    before = np.cumsum(catalogue.counts[order]) - catalogue.counts[order]
    tail = np.zeros(len(catalogue.counts), dtype=bool)
    tail[order] = before >= HEAD * catalogue.counts.sum()
    tail[0] = False
    return tail


def _varied(listed: NDArray[np.int64], catalogue: Catalogue) -> Values:
    """(rows,) diversity of some lists; NaN if no two items of a list have known categories."""
    import numpy as np

    rows, k = listed.shape
    marks = catalogue.category_marks[listed.ravel()].toarray().reshape(rows, k, -1)
    common = marks @ marks.transpose(0, 2, 1)  # (rows, k, k) categories that two items share
    sizes = marks.sum(axis=2)
    union = sizes[:, :, None] + sizes[:, None, :] - common
    known = (sizes[:, :, None] > 0) & (sizes[:, None, :] > 0) & ~np.eye(k, dtype=bool)
    apart = np.where(known, 1 - common / np.maximum(union, 1), 0.0).sum(axis=(1, 2))
    pairs = known.sum(axis=(1, 2))
    return _divided(apart, pairs)


def _mean_over_lists(listed: NDArray[np.int64], worth: Values) -> Values:
    """(rows,) mean worth of the items of each list; NaN for an empty one."""
    import numpy as np

    real = listed > 0
    return _divided(np.where(real, worth[listed], 0.0).sum(axis=1), real.sum(axis=1))


def _divided(sums: Values, counts: NDArray[np.int64]) -> Values:
    """(rows,) means; NaN if the count is 0."""
    import numpy as np

    means: Values = np.divide(sums, counts, out=np.full(len(sums), np.nan), where=counts > 0)
    return means


def _register(
    name: str,
    compute: Callable[[Judged, int], Values],
    better: Better,
    about: str,
    *needs: str,
    of_catalogue: bool = False,
    smallest: int = 1,
) -> None:
    every = frozenset({"lists", *needs})
    metric = Metric(
        name, name.capitalize(), better, compute, about, every, of_catalogue=of_catalogue, smallest=smallest
    )
    register(metric)


_register("coverage", _coverage, "higher", "Share of the catalogue that is in any list of K.", of_catalogue=True)
_register("gini", _gini, "lower", "Gini index of how often each item is in a list of K: 0 is even.", of_catalogue=True)
_register("popularity", _popularity, "lower", "Mean number of training interactions of the items in a list of K.")
_register("novelty", _novelty, "higher", "Mean -log2 of the listed items' share of the training interactions.")
_register(
    "tail", _tail, "higher", "Share of a list of K that is outside the head, the items with 80 % of the interactions."
)
_register(
    "diversity",
    _diversity,
    "higher",
    "Mean Jaccard distance between the categories of two items in a list of K.",
    "categories",
    smallest=2,
)
