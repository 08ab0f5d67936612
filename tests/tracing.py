"""A few histories, and small models with attention of some sharpness to trace."""

from __future__ import annotations

import torch

from actsr_cli.batch import Batch
from actsr_cli.config import ModelConfig
from actsr_cli.models.base import SequentialModel
from actsr_cli.models.registry import build_model

HISTORIES = Batch(
    item_ids=torch.tensor([[3, 1, 4, 1, 5], [9, 2, 6, 0, 0], [7, 0, 0, 0, 0]]),
    lengths=torch.tensor([5, 3, 1]),
    user_ids=torch.tensor([0, 1, 2]),
    timestamps=torch.tensor([[1.0, 5, 6, 20, 21], [2, 3, 9, 0, 0], [4, 0, 0, 0, 0]], dtype=torch.float64),
)


def model(name: str = "sasrec", calibration: str = "full", **settings: object) -> SequentialModel:
    torch.manual_seed(0)
    small = {"hidden_size": 8, "inner_size": 8, "max_length": 6, "initializer_range": 0.3}
    config = ModelConfig.model_validate({"name": name, "calibration": calibration} | small | settings)
    built = build_model(config, n_items=10, n_users=3)
    assert isinstance(built, SequentialModel)
    return built
