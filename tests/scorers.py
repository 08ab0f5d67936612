"""Scorers without a model, for tests with known rankings."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from actsr_cli.batch import Batch
from actsr_cli.data.histories import Histories
from actsr_cli.evaluation.metrics import Catalogue, Judged
from actsr_cli.evaluation.ranker import Ranking

CPU = torch.device("cpu")


@dataclass(frozen=True)
class By:
    """Scores histories by a function of the batch."""

    function: Callable[[Batch], Tensor]
    n_items: int
    max_length: int = 50

    def score(self, batch: Batch) -> Tensor:
        return self.function(batch)


def fixed(scores: list[float]) -> By:
    """The same scores for all users; the first is the score of padding."""
    return By(lambda batch: torch.tensor(scores).expand(len(batch.lengths), -1), len(scores) - 1)


def ranking(
    better: list[int],
    equal: list[int] | None = None,
    *,
    users: list[int] | None = None,
    top: list[list[int]] | None = None,
    n_items: int = 1000,
) -> Ranking:
    """A ranking given by the numbers of items better than each target and equal to it."""
    rows = len(better)
    histories = Histories.of([np.array([1])] * rows, targets=[1] * rows, users=users or list(range(rows)))
    lists = np.array(top, dtype=np.int64) if top is not None else np.zeros((rows, 0), dtype=np.int64)
    return Ranking(
        histories=histories,
        n_items=n_items,
        better=np.array(better),
        equal=np.array(equal or [0] * rows),
        top_items=lists,
        top_scores=np.zeros(lists.shape, dtype=np.float32),
        log_total=np.zeros(rows, dtype=np.float32),
        target_scores=np.zeros(rows, dtype=np.float32),
    )


def judged(found: Ranking, counts: list[int] | None = None, categories: list[list[str]] | None = None) -> Judged:
    """A ranking with counts and categories of the items, from item 1 on."""
    return Judged(
        found,
        Catalogue(
            np.array([0, *(counts or [1])]),
            None if categories is None else ((), *(tuple(names) for names in categories)),
        ),
    )
