"""Checkpoints of SASRec and BERT4Rec that RecBole 1.2.1 has trained: their settings and weights under our names."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from actsr_cli.errors import DataError
from actsr_cli.models.pickles import StandIn, mentions, read_pickled
from actsr_cli.models.reference import read_published
from actsr_cli.words import shortened

_MODELS = {"SASRec": "sasrec", "BERT4Rec": "bert4rec"}
_SETTINGS = {
    "max_length": "MAX_ITEM_LIST_LENGTH",
    "hidden_size": "hidden_size",
    "inner_size": "inner_size",
    "layers": "n_layers",
    "heads": "n_heads",
    "hidden_dropout": "hidden_dropout_prob",
    "attention_dropout": "attn_dropout_prob",
    "activation": "hidden_act",
    "layer_norm_eps": "layer_norm_eps",
    "initializer_range": "initializer_range",
}
"""Our keys of the section `model`, and RecBole's."""
_OF_ITEMS = ("item_embedding.weight", "output_bias")
_OF_USERS = "user_embedding.weight"


@dataclass(frozen=True)
class Weights:
    """Weights that were trained by another program.

    Attributes:
        file: where they are from.
        parameters: the weights under the names that RecBole and the published code give them.
        settings: our settings by dotted key; empty if the file does not have them.
        epoch: the epoch that they are from; 0 if unknown.
    """

    file: Path
    parameters: dict[str, Tensor]
    settings: dict[str, Any]
    epoch: int = 0

    def in_order(self, name: str, order: Tensor) -> Tensor:
        """The rows of a parameter in another order; rows behind those of `order` (a mask's) stay last.

        Raises:
            DataError: it has fewer rows.
        """
        if self.n_rows(name) < len(order):
            raise DataError(f"{self.file}: {name} has {self.n_rows(name)} rows, not {len(order)}")
        rows = self.parameters[name]
        return torch.cat([rows[order], rows[len(order) :]])

    def n_rows(self, name: str) -> int:
        """Number of rows of a parameter.

        Raises:
            DataError: there is no such parameter.
        """
        if name not in self.parameters or not self.parameters[name].dim():
            raise DataError(f"{self.file} has no table {name}")
        return len(self.parameters[name])


def read_weights(path: Path) -> Weights:
    """The weights in a checkpoint of RecBole, or in a `.pth` or `.npz` file of the published code.

    Raises:
        DataError: the file is missing or damaged, holds more than tensors and settings, or is of a model that cannot be
            imported.
    """
    if not mentions(path, "recbole.config.configurator"):
        return Weights(path, _checked(path, read_published(path)), {})
    content = read_pickled(path)
    config = content.get("config") if isinstance(content, dict) else None
    state = config.state if isinstance(config, StandIn) else None
    values = state.get("final_config_dict") if isinstance(state, dict) else None
    if not isinstance(values, dict):
        raise DataError(f"{path} is no checkpoint of RecBole: it has no settings")
    settings = _settings(path, values)
    parameters = _checked(path, content.get("state_dict"))
    if settings["model.name"] == "bert4rec":  # our table has one more place, which no history of RecBole reaches
        places = parameters.get("position_embedding.weight")
        if places is not None and places.dim() == 2:
            parameters["position_embedding.weight"] = torch.cat([places, places.new_zeros(1, places.shape[1])])
    epoch = content.get("epoch")
    return Weights(path, parameters, settings, epoch + 1 if isinstance(epoch, int) and epoch >= 0 else 0)


def reordered(weights: Weights, items: Tensor, users: Tensor | None) -> dict[str, Tensor]:
    """The parameters with the rows of items and users in our order.

    Args:
        weights: the weights.
        items: (n_items + 1,) for each of our item ids its row in the file; 0 is padding in both.
        users: (n_users + 1,) the same for users, or None if the model has no users.
    """
    changed = {name: weights.in_order(name, items) for name in _OF_ITEMS if name in weights.parameters}
    if users is not None:
        changed[_OF_USERS] = weights.in_order(_OF_USERS, users)
    return {**weights.parameters, **changed}


def _settings(path: Path, values: Mapping[str, Any]) -> dict[str, Any]:
    """Our settings for those of RecBole.

    Raises:
        DataError: the model is another one, or a setting is missing.
    """
    model = values.get("model")
    if model not in _MODELS:
        raise DataError(
            f"{path} is a {shortened(str(model))} of RecBole; only {' and '.join(_MODELS)} can be imported",
            hint="Of a model of the published AC-TSR code, save only its state_dict, where it was made: "
            "torch.save(checkpoint['state_dict'], 'weights.pth')",
        )
    keys = _SETTINGS if model == "SASRec" else {**_SETTINGS, "mask_ratio": "mask_ratio"}
    if missing := [key for key in keys.values() if key not in values]:
        raise DataError(f"the settings in {path} lack {', '.join(missing)}")
    own = {"output_layer": True, "without_oldest": True} if model == "BERT4Rec" else {}
    chosen = {"name": _MODELS[model], **{ours: values[key] for ours, key in keys.items()}, **own}
    return {f"model.{key}": value for key, value in {**chosen, "position_embedding": True}.items()}


def _checked(path: Path, parameters: object) -> dict[str, Tensor]:
    """Parameters that are tensors of finite numbers.

    Raises:
        DataError: they are something else.
    """
    if not isinstance(parameters, dict) or not parameters:
        raise DataError(f"{path} holds no weights")
    for name, values in parameters.items():
        if not isinstance(name, str) or not isinstance(values, Tensor):
            raise DataError(f"{path} holds something else than tensors: {shortened(str(name))}")
        if not bool(torch.isfinite(values).all()):
            raise DataError(f"{path}: {shortened(name)} has values that are no finite numbers")
    return dict(parameters)
