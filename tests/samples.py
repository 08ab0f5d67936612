"""Small data sets, settings, models and losses used by several tests."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from actsr_cli.config import CALIBRATIONS, LOSSES, RunConfig
from actsr_cli.data.sequences import SequenceData
from actsr_cli.models.base import Model
from actsr_cli.models.registry import build_model
from actsr_cli.training.losses import PredictionLoss, build_loss


def sequence_data(
    users: Sequence[Sequence[int]], *, n_items: int | None = None, timestamps: bool = False
) -> SequenceData:
    """Prepared data in memory: one list of item ids per user; times have gaps of all sizes and some ties."""
    items = np.array([item for user in users for item in user], dtype=np.int32)
    catalogue = n_items or int(items.max(initial=0))
    return SequenceData(
        name="sample",
        fingerprint="0" * 16,
        items=items,
        offsets=np.concatenate([[0], np.cumsum([len(user) for user in users])]).astype(np.int64),
        timestamps=1e9 + np.cumsum(np.arange(len(items)) ** 2 % 7, dtype=np.float64) if timestamps else None,
        user_names=tuple(f"u{index}" for index in range(len(users))),
        item_names=("", *(f"i{item}" for item in range(1, catalogue + 1))),
    )


def run_config(name: str = "sasrec", calibration: str = "none", **keys: Any) -> RunConfig:
    """A configuration with a model, a calibration and some keys, each in the section that has it."""
    of_calibration = {key: keys.pop(key) for key in list(keys) if key in CALIBRATIONS.find(calibration).model_fields}
    return RunConfig.model_validate(
        {"model": {"name": name, **keys}, "calibration": {"kind": calibration, **of_calibration}}
    )


def built(config: RunConfig, n_items: int, n_users: int = 0) -> Model:
    """The model of a configuration."""
    return build_model(config.model, config.calibration, n_items, n_users)


def listed(names: Sequence[str]) -> str:
    """Names in the form of messages."""
    return f"{', '.join(names[:-1])} and {names[-1]}" if len(names) > 1 else names[0]


def prediction_loss(name: str = "ce", n_items: int = 9, **options: Any) -> PredictionLoss:
    """A loss over items that each have one training interaction."""
    counts = torch.ones(n_items + 1, dtype=torch.int64)
    counts[0] = 0
    return build_loss(LOSSES.find(name).model_validate({"name": name, **options}), n_items, counts)
