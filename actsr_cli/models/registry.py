"""The models by name. Classes are imported when one is built, so that listing them costs nothing."""

from __future__ import annotations

from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING

from actsr_cli.config import Calibration, ModelConfig
from actsr_cli.errors import ConfigError, nearest

if TYPE_CHECKING:
    from actsr_cli.models.base import SequentialModel

CALIBRATED_PREFIX = "ac-"


@dataclass(frozen=True)
class ModelSpec:
    """A backbone that can be trained.

    Attributes:
        name: its name in a config.
        title: its name in the literature.
        paper: where it was published.
        target: `module:Class` of the implementation.
        needs_users: whether it learns a vector per user.
        needs_timestamps: whether it reads the times of interactions.
        calibrated: whether its attention can be calibrated.
    """

    name: str
    title: str
    paper: str
    target: str
    needs_users: bool = False
    needs_timestamps: bool = False
    calibrated: bool = True

    @property
    def names(self) -> tuple[str, ...]:
        """Its names on the command line: plain, and short for full calibration."""
        return (self.name, f"{CALIBRATED_PREFIX}{self.name}") if self.calibrated else (self.name,)


_MODELS = (
    ModelSpec(
        name="sasrec",
        title="SASRec",
        paper="Kang and McAuley, Self-Attentive Sequential Recommendation, ICDM 2018",
        target="actsr_cli.models.sasrec:SASRec",
    ),
)


def all_models() -> tuple[ModelSpec, ...]:
    """Every backbone, in the order in which they are listed."""
    return _MODELS


def model_names() -> list[str]:
    """Every name that `--model` takes."""
    return [name for spec in _MODELS for name in spec.names]


def find_model(name: str) -> ModelSpec:
    """The backbone called `name`; raises ConfigError naming the nearest one."""
    for spec in _MODELS:
        if spec.name == name:
            return spec
    raise ConfigError(f"unknown model '{name}'; {nearest(name, model_names())}")


def parse_name(name: str) -> tuple[str, Calibration]:
    """Backbone and calibration behind a name on the command line: `ac-sasrec` is (sasrec, full)."""
    for spec in _MODELS:
        if name in spec.names:
            return spec.name, "none" if name == spec.name else "full"
    raise ConfigError(f"unknown model '{name}'; {nearest(name, model_names())}")


def display_name(config: ModelConfig) -> str:
    """The short name of a configured model: sasrec, ac-sasrec, sasrec-spatial, sasrec-adversarial."""
    if config.calibration == "none":
        return config.name
    if config.calibration == "full":
        return f"{CALIBRATED_PREFIX}{config.name}"
    return f"{config.name}-{config.calibration}"


def build_model(config: ModelConfig, n_items: int) -> SequentialModel:
    """A freshly initialised model.

    Args:
        config: the architecture.
        n_items: items of the catalogue, padding not counted.
    """
    module, _, class_name = find_model(config.name).target.partition(":")
    model: SequentialModel = getattr(import_module(module), class_name)(config, n_items)
    return model
