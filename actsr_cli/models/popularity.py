"""Popularity: the simplest baseline."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from actsr_cli.batch import Batch
from actsr_cli.config import CalibrationOptions
from actsr_cli.config.models import PopularityOptions
from actsr_cli.models.base import CountingModel


class Popularity(CountingModel):
    """Scores every item by its number of training interactions, the same for every user."""

    config: PopularityOptions

    def __init__(
        self, options: PopularityOptions, calibration: CalibrationOptions, n_items: int, n_users: int = 0
    ) -> None:
        super().__init__(options, calibration, n_items, n_users)
        self.counts: Tensor
        self.register_buffer("counts", torch.zeros(n_items + 1))

    def fit(self, items: NDArray[np.int64], offsets: NDArray[np.int64]) -> None:
        self.counts.copy_(torch.from_numpy(np.bincount(items, minlength=self.n_items + 1)))

    def score(self, batch: Batch) -> Tensor:
        return self.counts.expand(batch.lengths.shape[0], -1)
