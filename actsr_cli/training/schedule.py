"""Learning rate schedules."""

from __future__ import annotations

import math

from actsr_cli.config import TrainingConfig

_END = 0.01
"""The share of the peak learning rate that a decaying schedule ends with."""


def learning_rate(config: TrainingConfig, step: int, steps_per_epoch: int) -> float:
    """The learning rate of a step: a linear warm-up, then constant, or decaying to a hundredth by the last epoch.

    Args:
        config: uses `learning_rate`, `warmup`, `schedule`, and `epochs`, over which a schedule decays.
        step: optimiser steps before this one.
        steps_per_epoch: optimiser steps in an epoch.
    """
    warm = config.warmup * steps_per_epoch
    if step < warm:
        return config.learning_rate * (step + 1) / (warm + 1)
    done = (step - warm) / max(1.0, config.epochs * steps_per_epoch - warm)
    done = min(done, 1.0)  # a shuffled epoch may have some batches more
    left = {"constant": 1.0, "linear": 1 - done, "cosine": (1 + math.cos(math.pi * done)) / 2}[config.schedule]
    return config.learning_rate * (left + (1 - left) * _END)
