"""Converts parameters and settings of the published AC-TSR implementation to our models."""

from __future__ import annotations

import pickle
import re
import zlib
from collections.abc import Mapping
from pathlib import Path
from tokenize import TokenError
from typing import Any
from zipfile import BadZipFile

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from actsr_cli.config import MODELS, RunConfig
from actsr_cli.errors import DataError
from actsr_cli.models.base import SequentialModel
from actsr_cli.words import shortened

_LAYER = re.compile(r"(?:ti_)?trm_encoder\.layer\.(\d+)\.(.+)")
_TOP = {
    "LayerNorm": "norm",
    "absolute_pos_K_embedding": "key_positions",
    "absolute_pos_V_embedding": "value_positions",
    "time_matrix_emb_K_embedding": "key_intervals",
    "time_matrix_emb_V_embedding": "value_intervals",
    "output_ffn": "output_layer.affine",
    "output_ln": "output_layer.norm",
    "output_bias": "output_layer.bias",
}
_IN_LAYER = {
    "gate": "attention.adversarial.gate",
    "rich_calibrated_combine_ratio": "attention.adversarial_share",
    "feed_forward.dense_1": "feed_forward.inner",
    "feed_forward.dense_2": "feed_forward.outer",
    "feed_forward.LayerNorm": "feed_forward.norm",
}
_IN_ATTENTION = {
    "query": "attention.query",
    "key": "attention.key",
    "value": "attention.value",
    "dense": "attention.output",
    "LayerNorm": "norm",
    "scalar": "attention.spatial.sharpness",
    "order_affine": "attention.spatial.order",
    "distance_affine": "attention.spatial.distance",
    "attack_query_transform": "attention.adversarial.adversary.query",
    "attack_key_transform": "attention.adversarial.adversary.key",
}
_IN_LAYER |= {
    f"{block}.{published}": ours
    for block in ("attack_attention", "multi_head_attention")
    for published, ours in _IN_ATTENTION.items()
}
_NOT_LEARNED = frozenset({"mask_loss_weight", "user_test_embedding.weight"})
"""Parameters of the published code that never get a gradient: our `calibration.mask_weight`, and a constant per user
that SSE-PT adds to all its scores."""
_NOT_RENORMALISED = frozenset({"sse-pt", "tisasrec"})


def our_name(published: str) -> str:
    """Our name for a parameter that the published code calls `published`."""
    layer = _LAYER.fullmatch(published)
    prefix, rest, names = (
        ("", published, _TOP) if layer is None else (f"encoder.layers.{layer[1]}.", layer[2], _IN_LAYER)
    )
    if rest in names:
        return prefix + names[rest]
    block, _, leaf = rest.rpartition(".")
    return f"{prefix}{names.get(block, block)}.{leaf}" if block else prefix + leaf


def load_published(model: SequentialModel, parameters: Mapping[str, Tensor | NDArray[Any]]) -> None:
    """Copy published parameters into a model of the same architecture.

    Args:
        model: the model to fill.
        parameters: arrays under their published names.

    Raises:
        DataError: a parameter is missing, unknown, or of another shape.
    """
    ours = dict(model.named_parameters())
    renamed = {our_name(name): torch.as_tensor(value) for name, value in parameters.items() if name not in _NOT_LEARNED}
    if missing := sorted(ours.keys() - renamed.keys()):
        raise DataError(f"published parameters lack {', '.join(missing)}")
    if extra := sorted(renamed.keys() - ours.keys()):
        raise DataError(f"published parameters are unknown to this model: {', '.join(extra)}")
    for name, value in renamed.items():
        if _lacks_the_mask_slot(name, value, ours[name]):
            renamed[name] = torch.cat([value, value.new_zeros(1, *value.shape[1:])])
        elif ours[name].shape != value.shape:
            raise DataError(f"shape of {name} is {tuple(value.shape)}, this model has {tuple(ours[name].shape)}")
    with torch.no_grad():
        for name, value in renamed.items():
            ours[name].copy_(value)


def _lacks_the_mask_slot(name: str, value: Tensor, ours: Tensor) -> bool:
    """Whether this is AC-BERT4Rec's gate: it has no slot for the mask after a full history, and crashes there."""
    return ".gate." in name and len(value) == len(ours) - 1 and value.shape[1:] == ours.shape[1:]


def read_published(path: Path) -> dict[str, Tensor]:
    """Parameters under their published names, from an `.npz` (keys may start with `weight.`) or a `.pth` file.

    No pickled object is ever loaded: a `.pth` is opened with `weights_only=True`.

    Raises:
        DataError: the file is missing, has another format, or holds more than tensors.
    """
    if not path.is_file():
        raise DataError(f"no file {path}")
    if path.suffix == ".npz":
        return _read_arrays(path)
    try:
        loaded = torch.load(path, map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, EOFError, ValueError, TypeError, KeyError, AttributeError) as error:
        raise DataError(
            f"{path} cannot be opened without running code from it",
            hint="Save only its state_dict, where it was made: torch.save(checkpoint['state_dict'], 'weights.pth')",
        ) from error
    state = loaded.get("state_dict", loaded) if isinstance(loaded, dict) else None
    if not isinstance(state, dict) or not all(isinstance(value, Tensor) for value in state.values()):
        raise DataError(f"{path} holds no state_dict of tensors")
    return state


def _read_arrays(path: Path) -> dict[str, Tensor]:
    """The arrays of an `.npz`.

    Raises:
        DataError: it is damaged, or holds pickled objects.
    """
    try:
        with np.load(path, allow_pickle=False) as arrays:
            found = {name: torch.from_numpy(arrays[name]) for name in arrays.files}
    except (
        OSError,
        EOFError,
        OverflowError,
        ValueError,
        TypeError,
        KeyError,
        TokenError,
        BadZipFile,
        zlib.error,
    ) as error:
        raise DataError(f"{path} holds no arrays: {shortened(' '.join(str(error).split()))}") from error
    weights = {name.removeprefix("weight."): value for name, value in found.items() if name.startswith("weight.")}
    return weights or found


def published_config(settings: Mapping[str, Any], *, model: str, max_length: int) -> RunConfig:
    """The configuration of our model for settings under their published names.

    Args:
        settings: published hyper-parameters (`n_layers`, `hidden_size`, `combine_option` …).
        model: published model name in our spelling, such as `sasrec` or `ac_sse_pt`.
        max_length: the published `MAX_ITEM_LIST_LENGTH`.
    """
    calibrated = model.startswith("ac_")
    name = model.removeprefix("ac_").replace("_", "-")
    options = {
        "name": name,
        "max_length": max_length,
        "hidden_size": settings["hidden_size"],
        "inner_size": settings["inner_size"],
        "layers": settings["n_layers"],
        "heads": settings["n_heads"],
        "hidden_dropout": settings["hidden_dropout_prob"],
        "attention_dropout": settings["attn_dropout_prob"],
        "activation": settings["hidden_act"],
        "layer_norm_eps": settings["layer_norm_eps"],
        "initializer_range": settings["initializer_range"],
        "position_embedding": settings["use_position_embedding"] if calibrated else True,
        "mask_ratio": settings["mask_ratio"],
        "user_size": settings.get("user_hidden_size"),
        "time_span": settings["time_span"],
        "interval_scale": "raw",
        "reproduce_published_faults": True,
    }
    read = MODELS.find(name).model_fields  # published settings include those of other models
    return RunConfig.model_validate(
        {
            "model": {key: value for key, value in options.items() if key in read},
            "calibration": _published_calibration(settings, name) if calibrated else "none",
        }
    )


def _published_calibration(settings: Mapping[str, Any], name: str) -> dict[str, Any]:
    two_level = settings["two_level"]
    # the published learnable weight starts at 0.3 and never moves
    mask_weight = 0.3 if settings["trainable_mask_loss_weight"] else float(settings["mask_loss_weight"])
    return {
        "kind": "full",
        "use_order": settings["use_order"],
        "use_distance": settings["use_distance"],
        "combine": settings["combine_option"],
        "two_level": two_level,
        "rich_combine": "fixed" if two_level else settings["rich_calibrated_combine"],
        "renorm": "none" if name in _NOT_RENORMALISED else "softmax",
        "mask_weight": mask_weight,
    }
