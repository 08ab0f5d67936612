"""Models and their settings, by the names of `actsr train --model`."""

from __future__ import annotations

from collections.abc import Mapping

import typer

from actsr_cli.config import RunConfig
from actsr_cli.errors import ConfigError
from actsr_cli.models.base import SequentialModel
from actsr_cli.models.registry import build_model, parse_name
from actsr_cli.presets import resolve

_MASK_WEIGHT = 0.03
"""The value of the presets."""


def configured(model: str, settings: Mapping[str, object]) -> RunConfig:
    """The default configuration with a model and settings by dotted key.

    Raises:
        typer.BadParameter: the model or a value is not valid.
    """
    try:
        name, calibration = parse_name(model)
        weight = {} if calibration == "none" else {"calibration.mask_weight": _MASK_WEIGHT}
        options = {"model.name": name, "calibration.kind": calibration, **weight, **settings}
        return resolve(options=options).config
    except ConfigError as error:
        raise typer.BadParameter(str(error)) from error


def built(config: RunConfig, n_items: int, n_users: int = 0) -> SequentialModel:
    """A newly initialised model.

    Raises:
        typer.BadParameter: the model is not trained by gradients.
    """
    model = build_model(config.model, config.calibration, n_items, n_users)
    if not isinstance(model, SequentialModel):
        raise typer.BadParameter(f"{config.model.name} is not trained by gradients")
    return model
