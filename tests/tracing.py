"""A few histories, and small models with sufficiently sharp attention for traces."""

from __future__ import annotations

import torch
from samples import built, run_config

from actsr_cli.batch import Batch
from actsr_cli.models.base import SequentialModel

HISTORIES = Batch(
    item_ids=torch.tensor([[3, 1, 4, 1, 5], [9, 2, 6, 0, 0], [7, 0, 0, 0, 0]]),
    lengths=torch.tensor([5, 3, 1]),
    user_ids=torch.tensor([0, 1, 2]),
    timestamps=torch.tensor([[1.0, 5, 6, 20, 21], [2, 3, 9, 0, 0], [4, 0, 0, 0, 0]], dtype=torch.float64),
)


def model(name: str = "sasrec", calibration: str = "full", **settings: object) -> SequentialModel:
    torch.manual_seed(0)
    small = {"hidden_size": 8, "inner_size": 8, "max_length": 6, "initializer_range": 0.3}
    made = built(run_config(name, calibration, **small | settings), n_items=10, n_users=3)
    assert isinstance(made, SequentialModel)
    return made
