"""A few histories, and small models with sufficiently sharp attention for traces."""

from __future__ import annotations

import torch
from flat import batch_of
from samples import built, run_config

from actsr_cli.models.base import SequentialModel

HISTORIES = batch_of([[3, 1, 4, 1, 5], [9, 2, 6], [7]], users=[0, 1, 2], times=[[1.0, 5, 6, 20, 21], [2, 3, 9], [4]])


def model(name: str = "sasrec", calibration: str = "full", **settings: object) -> SequentialModel:
    torch.manual_seed(0)
    small = {"hidden_size": 8, "inner_size": 8, "max_length": 6, "initializer_range": 0.3}
    made = built(run_config(name, calibration, **small | settings), n_items=10, n_users=3)
    assert isinstance(made, SequentialModel)
    return made
