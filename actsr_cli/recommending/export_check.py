"""Compares an exported graph, run by its runtime, with the model itself."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from actsr_cli.data.histories import Histories
from actsr_cli.errors import RunError
from actsr_cli.recommending.choice import Choice
from actsr_cli.recommending.histories import KnownHistories
from actsr_cli.recommending.recommender import Recommender

_TOLERANCE = 1e-4
"""Largest difference of a score, and its share in the score: runtimes add numbers up in other orders."""
_TOGETHER = 200
"""Longest history of the check that is run together with others: padded attention takes memory."""

Arrays = dict[str, NDArray[Any]]
Runtime = Callable[[Arrays], list[NDArray[Any]]]
"""Runs an exported graph: inputs by name to outputs."""


@dataclass(frozen=True)
class _Expected:
    """The model's own scores of some histories.

    Attributes:
        histories: the histories.
        scores: (histories, n_items + 1) the scores of all items; -inf for those of the history, and for 0.
    """

    histories: Histories
    scores: NDArray[np.float32]

    def gap(self, rows: slice, found: list[NDArray[Any]]) -> float:
        """The largest difference of a score in a graph's outputs for some histories; infinite if it is no rounding."""
        expected = self.scores[rows]
        if len(found) == 1:
            return _gap(found[0], expected)
        items, scores = found
        best = np.sort(expected, axis=1)[:, ::-1][:, : scores.shape[1]]
        of_items = np.where(items > 0, np.take_along_axis(expected, items, axis=1), -np.inf)
        return max(_gap(scores, best), _gap(scores, of_items))


def _gap(found: NDArray[Any], expected: NDArray[Any]) -> float:
    if not np.allclose(found, expected, rtol=_TOLERANCE, atol=_TOLERANCE):  # -inf equals -inf alone
        return float("inf")
    finite = np.isfinite(expected)
    return float(np.abs(found[finite] - expected[finite]).max(initial=0))


def compared(recommender: Recommender, run: Runtime) -> dict[str, Any]:
    """Compare an exported graph with the model, one history at a time and several at once.

    Args:
        recommender: the model.
        run: the graph.

    Returns:
        `checked` and `histories` of the manifest.

    Raises:
        RunError: they differ.
    """
    expected = _expected(recommender)
    n, lengths = len(expected.histories.starts), expected.histories.lengths
    first_of_many = int((lengths > _TOGETHER).sum())  # the longest come first
    worst = 0.0
    for rows in (*(slice(row, row + 1) for row in range(n)), slice(first_of_many, n)):
        worst = max(worst, expected.gap(rows, run(_inputs_of(recommender, expected.histories, rows))))
    if not np.isfinite(worst):
        raise RunError("the exported graph does not give the model's scores")
    return {"checked": worst, "histories": n}


def _expected(recommender: Recommender) -> _Expected:
    histories, n_items = _some_histories(recommender), recommender.vocabulary.n_items
    n = len(histories.starts)
    lists = recommender.lists(KnownHistories([""] * n, histories, [()] * n), Choice(n_items, "exclude"))
    scores = np.full((n, n_items + 1), -np.inf, dtype=np.float32)
    np.put_along_axis(scores, lists.item_ids, lists.scores, axis=1)
    scores[:, 0] = -np.inf
    return _Expected(histories, scores)


def _some_histories(recommender: Recommender) -> Histories:
    """Histories for the check, the longest first: of many lengths, one empty, one of a single item again and again."""
    draw, longest = np.random.default_rng(0), recommender.model.max_length
    n_items = recommender.vocabulary.n_items
    drawn = draw.integers(1, min(longest, _TOGETHER) + 1, 12)
    items = [draw.integers(1, n_items + 1, n) for n in (longest, max(1, longest - 1), 1, min(2, longest), 0, *drawn)]
    items.append(np.ones(min(3, longest), dtype=np.int64))
    times = [np.cumsum(draw.integers(0, 10**6, len(each))).astype(np.float64) for each in items]
    users = draw.integers(-1, len(recommender.vocabulary.user_names or ()), len(items))
    return Histories.of(items, users=users.tolist(), timestamps=times if recommender.model.needs_timestamps else None)


def _inputs_of(recommender: Recommender, histories: Histories, rows: slice) -> Arrays:
    """The inputs of a graph for some histories."""
    spans = list(zip(histories.starts[rows], histories.ends[rows], strict=True))
    width = max(1, *(int(end - start) for start, end in spans))

    def padded(values: NDArray[Any], kind: type[np.generic]) -> NDArray[Any]:
        return np.array([np.pad(values[start:end], (0, width - (end - start))) for start, end in spans], dtype=kind)

    inputs: Arrays = {"history": padded(histories.items, np.int64)}
    inputs["without"] = inputs["history"]
    if histories.timestamps is not None:
        inputs["timestamps"] = padded(histories.timestamps, np.float64)
    if recommender.model.needs_users:
        inputs["user"] = histories.users[rows]
    return inputs
