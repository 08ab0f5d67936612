"""The schema of a run: every key of presets, config files and `--set`, with its type, bounds and meaning.

Each section belongs to the code that reads it. `split`, `model`, `calibration` and `loss` offer choices, each with keys
of its own.
"""

from actsr_cli.config.calibration import CALIBRATIONS, Calibration, CalibrationOptions, FullCalibration, NoCalibration
from actsr_cli.config.data import DataConfig
from actsr_cli.config.evaluation import EvaluationConfig
from actsr_cli.config.losses import LOSSES, CustomLoss, LossOptions
from actsr_cli.config.models import MODELS, CustomOptions, ModelOptions, TrainedOptions, TransformerOptions
from actsr_cli.config.run import RunConfig
from actsr_cli.config.section import Choice, Choices, Section
from actsr_cli.config.split import SPLITS, FileSplit, LastSplit, Moment, NoSplit, SplitConfig, Target, TimeSplit
from actsr_cli.config.training import TrainingConfig

__all__ = [
    "CALIBRATIONS",
    "LOSSES",
    "MODELS",
    "SPLITS",
    "Calibration",
    "CalibrationOptions",
    "Choice",
    "Choices",
    "CustomLoss",
    "CustomOptions",
    "DataConfig",
    "EvaluationConfig",
    "FileSplit",
    "FullCalibration",
    "LastSplit",
    "LossOptions",
    "ModelOptions",
    "Moment",
    "NoCalibration",
    "NoSplit",
    "RunConfig",
    "Section",
    "SplitConfig",
    "Target",
    "TimeSplit",
    "TrainedOptions",
    "TrainingConfig",
    "TransformerOptions",
]
