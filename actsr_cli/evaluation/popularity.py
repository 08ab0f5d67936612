"""Ranking by popularity: the floor under every model."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from actsr_cli.batch import Batch
from actsr_cli.config import NoCalibration
from actsr_cli.config.models import PopularityOptions
from actsr_cli.data.sequences import SequenceData
from actsr_cli.models.popularity import Popularity


def popularity_scorer(data: SequenceData, device: torch.device) -> Callable[[Batch], Tensor]:
    """Scores every item by its number of training interactions, the same for everybody.

    Held-out items do not count, for neither split, so that one floor serves both.
    """
    model = Popularity(PopularityOptions(), NoCalibration(), data.n_items)
    model.fit(*data.training_part())
    return model.to(device).score
