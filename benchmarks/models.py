"""Models and their settings, by the names that `actsr train --model` takes."""

from __future__ import annotations

from collections.abc import Mapping

import torch
import typer

from actsr_cli.config import RunConfig
from actsr_cli.data.sequences import SequenceData
from actsr_cli.errors import ConfigError
from actsr_cli.models.base import SequentialModel
from actsr_cli.models.registry import build_model, parse_name
from actsr_cli.presets import resolve

_MASK_WEIGHT = 0.03
"""As in the presets."""


def configured(model: str, settings: Mapping[str, object]) -> RunConfig:
    """The defaults with a model and settings by dotted key.

    Raises:
        typer.BadParameter: the model or one of the values is refused.
    """
    try:
        name, calibration = parse_name(model)
        weight = {} if calibration == "none" else {"calibration.mask_weight": _MASK_WEIGHT}
        options = {"model.name": name, "calibration.kind": calibration, **weight, **settings}
        return resolve(options=options).config
    except ConfigError as error:
        raise typer.BadParameter(str(error)) from error


def built(config: RunConfig, n_items: int, n_users: int = 0) -> SequentialModel:
    """A freshly initialised model.

    Raises:
        typer.BadParameter: it is not trained by gradients.
    """
    model = build_model(config.model, config.calibration, n_items, n_users)
    if not isinstance(model, SequentialModel):
        raise typer.BadParameter(f"{config.model.name} is not trained by gradients")
    return model


def item_counts(data: SequenceData, device: torch.device) -> torch.Tensor:
    """(n_items + 1,) training interactions of each item, as losses take them."""
    return torch.from_numpy(data.item_counts).to(device)
