"""An approximate index of item vectors: lists of a large catalogue without the score of every item."""

from __future__ import annotations

from importlib.util import find_spec
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from actsr_cli.batch import PADDING, Batch
from actsr_cli.data.batches import history_batches
from actsr_cli.data.histories import Histories
from actsr_cli.errors import ConfigError, RunError
from actsr_cli.evaluation.ranker import Ranker, ScoreError
from actsr_cli.models.base import Model, SequentialModel
from actsr_cli.models.repeats import Repeats
from actsr_cli.recommending.choice import Choice
from actsr_cli.threads import run_on_each

SEARCH = 128
"""Number of items that a search compares a history with at least, see `ItemIndex`."""
_CONNECTIVITY, _CARE = 16, 40
"""Neighbours of an item in the graph, and how many items are compared to find them."""
_MORE_IF_FILTERED = 4
"""How many times as many items are found if lists may not contain all items."""
_LARGEST_SHARE = 0.1
"""Longer lists, in items of the catalogue, are all ranked exactly: a search would go through most of the graph."""
_CHUNK = 50_000
"""Items that are added to the graph at a time."""


class ItemIndex:
    """A graph of item vectors in memory (HNSW: Malkov and Yashunin, TPAMI 2020), searched for the largest dot products.

    The items that a search finds are scored exactly, so a listed item has the score of the exact ranking; but an item
    that belongs in the list may be missing. A list that becomes too short by `seen` or by the choice of items is ranked
    exactly instead, and counted.

    Args:
        model: a model whose scores are dot products of hidden states and item vectors.
        search: the more items a search compares, the better and slower it is.

    Attributes:
        lists: number of lists made.
        exact: number of them that were ranked exactly.

    Raises:
        RunError: the model scores items in another way.
        ConfigError: usearch is not installed.
    """

    def __init__(self, model: Model, search: int = SEARCH) -> None:
        self.model = indexable(model)
        if find_spec("usearch") is None:
            raise ConfigError("an index of items needs usearch", hint="Install it: pip install 'actsr[index]'")
        from usearch.index import Index

        self.search = search
        self.lists = self.exact = 0
        with torch.inference_mode():
            self._vectors = self.model.compared(self.model.item_vectors()).detach().float().cpu()
        self._graph = Index(
            ndim=self._vectors.shape[1], metric="ip", dtype="f32", connectivity=_CONNECTIVITY, expansion_add=_CARE
        )
        vectors = self._vectors.numpy()
        for first in range(1, len(vectors), _CHUNK):
            ids = np.arange(first, min(first + _CHUNK, len(vectors)))
            self._graph.add(ids, vectors[ids], threads=torch.get_num_threads())

    def best(
        self, exact: Ranker, histories: Histories, k: int, choice: Choice
    ) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        """The lists of some histories.

        Args:
            exact: ranks all items, for lists that would be too short.
            histories: histories of any length, at least one item each.
            k: length of the lists.
            choice: the items that lists may contain.

        Returns:
            (histories, k) item ids, 0 where a list is shorter, and (histories, k) scores, -inf there.

        Raises:
            RunError: a score is not a number.
        """
        setattr(self._graph, "expansion_search", self.search)  # noqa: B010  (its types say that it is read-only)
        items = np.zeros((len(histories), k), dtype=np.int64)
        scores = np.full((len(histories), k), -np.inf, dtype=np.float32)

        def fill(taken: tuple[NDArray[np.int64], Batch]) -> None:
            rows, batch = taken
            found, of_found = self._of_batch(
                batch, torch.from_numpy(histories.padded(rows)), k, choice, threads // workers
            )
            items[rows], scores[rows] = found.numpy(), of_found.numpy()

        threads = torch.get_num_threads() if exact.device.type == "cpu" else 1
        workers = min(threads, -(-len(histories) // exact.batch_size))
        batches = history_batches(histories, self.model.max_length, exact.batch_size, exact.device)
        if k <= self.model.n_items * _LARGEST_SHARE:
            run_on_each(fill, batches, workers)
        short = np.flatnonzero(items[:, -1] == PADDING)
        if len(short):
            ranking = exact.rank(histories.take(short), top=k)
            items[short], scores[short] = ranking.top_items, ranking.top_scores
        self.lists += len(histories)
        self.exact += len(short)
        return items, scores

    def _of_batch(self, batch: Batch, seen: Tensor, k: int, choice: Choice, threads: int) -> tuple[Tensor, Tensor]:
        """(rows, k) items, 0 where there are too few, and their scores; the search has so many threads."""
        batch = batch.latest(self.model.config.max_length)
        with torch.inference_mode():
            hidden = self.model.compared(self.model.represent(batch)).float().cpu()
            bonus = self.model.repeat_bonus
            repeats: Repeats | None = None if bonus is None else bonus.of_histories(batch, self.model.n_items)
            if not torch.isfinite(hidden).all():
                raise ScoreError
            wanted = k * (1 if choice.listed is None else _MORE_IF_FILTERED) + seen.shape[1]
            items = self._nearest(hidden, min(wanted, self.model.n_items), threads)
            if repeats is not None and choice.seen == "rank":  # a bonus may lift any item of the history into the list
                items = torch.cat([items, seen], dim=1)
            items = items.sort(dim=1).values  # of equal scores the lowest id comes first
            scores = torch.einsum("rw,riw->ri", hidden, self._vectors[items])
            if repeats is not None:
                scores = scores + repeats.bonus.cpu() * self._inside(items, repeats.items.cpu())
            refused = (items == PADDING) | (items == F.pad(items, (1, -1), value=-1))
            if choice.seen == "exclude":
                refused |= self._inside(items, seen)
            if choice.listed is not None:
                refused |= ~torch.from_numpy(choice.listed)[items]
            scores, order = scores.masked_fill(refused, -torch.inf).sort(dim=1, descending=True, stable=True)
            items = items.gather(1, order).masked_fill(scores == -torch.inf, PADDING)
            missing = max(0, k - items.shape[1])
            return (
                F.pad(items[:, :k], (0, missing)),
                F.pad(scores[:, :k], (0, missing), value=-torch.inf),
            )

    def _nearest(self, hidden: Tensor, count: int, threads: int) -> Tensor:
        """(rows, count) the items that a search finds, in any order; padded with 0 where it finds fewer."""
        found: Any = self._graph.search(hidden.numpy(), count, threads=threads)
        counts = [len(found)] if len(hidden) == 1 else found.counts  # usearch answers a single row in another form
        items = np.zeros((len(hidden), count), dtype=np.int64)
        for row, (keys, number) in enumerate(zip(np.atleast_2d(found.keys), counts, strict=True)):
            items[row, :number] = keys[:number]
        return torch.from_numpy(items)

    def _inside(self, items: Tensor, others: Tensor) -> Tensor:
        """(rows, any) bool: whether each item is among the items of the same row of `others`, (rows, any)."""
        first = torch.arange(len(items)).unsqueeze(1) * (self.model.n_items + 1)
        return torch.isin(items + first, others + first)


def indexable(model: Model) -> SequentialModel:
    """The model, whose scores are dot products of hidden states and item vectors.

    Raises:
        RunError: they are not.
    """
    own = ("score", "scores_after", "item_scores")
    if isinstance(model, SequentialModel) and not any(
        getattr(type(model), name) is not getattr(SequentialModel, name) for name in own
    ):
        return model
    raise RunError(
        f"{type(model).__name__} does not score items by vectors of its own: an index of them cannot find its lists",
        hint="Leave the index out.",
    )
