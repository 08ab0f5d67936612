"""Ranking by popularity: the floor under every model."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from actsr_cli.batch import Batch
from actsr_cli.data.sequences import SequenceData


def popularity_scorer(data: SequenceData) -> Callable[[Batch], Tensor]:
    """Scores every item by its number of training interactions, the same for everybody.

    Held-out items do not count, for neither split, so that one floor serves both.
    """
    starts, ends = data.training_spans()
    trained = np.zeros(data.n_interactions + 1, dtype=np.int64)
    np.add.at(trained, starts, 1)
    np.add.at(trained, ends, -1)
    items = data.items[np.cumsum(trained[:-1]) > 0]
    counts = torch.from_numpy(np.bincount(items, minlength=data.n_items + 1).astype(np.float32))

    def score(batch: Batch) -> Tensor:
        return counts.to(batch.item_ids.device).expand(len(batch.lengths), -1)

    return score
