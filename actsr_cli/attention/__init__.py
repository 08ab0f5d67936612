"""Calibrated attention (Zhou et al., CIKM 2023): it depends on tensors only, not on the rest of actsr."""

from actsr_cli.attention.adversarial import AdversarialCalibrator
from actsr_cli.attention.calibrated import CalibratedSelfAttention, attending_with, calibrated_self_attention
from actsr_cli.attention.dropout import Dropout, dropout
from actsr_cli.attention.intervals import Relations, time_intervals
from actsr_cli.attention.masks import allowed_pairs
from actsr_cli.attention.multihead import CalibratedAttention, calibration_losses, recorded
from actsr_cli.attention.objective import Losses, ParameterSplit, split_parameters
from actsr_cli.attention.packed import PackedOutput, attend_packed, reads_forbidden_keys, reads_padding
from actsr_cli.attention.pairs import Pairs
from actsr_cli.attention.spatial import SpatialCalibrator
from actsr_cli.attention.stages import READINGS, STAGES, AttentionOutput, AttentionStages

__all__ = [
    "READINGS",
    "STAGES",
    "AdversarialCalibrator",
    "AttentionOutput",
    "AttentionStages",
    "CalibratedAttention",
    "CalibratedSelfAttention",
    "Dropout",
    "Losses",
    "PackedOutput",
    "Pairs",
    "ParameterSplit",
    "Relations",
    "SpatialCalibrator",
    "allowed_pairs",
    "attend_packed",
    "attending_with",
    "calibrated_self_attention",
    "calibration_losses",
    "dropout",
    "reads_forbidden_keys",
    "reads_padding",
    "recorded",
    "split_parameters",
    "time_intervals",
]
