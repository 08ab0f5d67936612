"""Calibrated attention (Zhou et al., CIKM 2023): tensors in, tensors out, nothing else known."""

from actsr_cli.attention.adversarial import AdversarialCalibrator
from actsr_cli.attention.calibrated import AttentionOutput, AttentionStages, CalibratedAttention
from actsr_cli.attention.masks import allowed_pairs
from actsr_cli.attention.spatial import SpatialCalibrator

__all__ = [
    "AdversarialCalibrator",
    "AttentionOutput",
    "AttentionStages",
    "CalibratedAttention",
    "SpatialCalibrator",
    "allowed_pairs",
]
