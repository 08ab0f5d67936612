"""Prediction losses: each owns its options and draws its own negatives."""

from actsr_cli.training.losses.base import PredictionLoss
from actsr_cli.training.losses.registry import build_loss, check_loss

__all__ = ["PredictionLoss", "build_loss", "check_loss"]
