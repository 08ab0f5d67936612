"""Checkpoints: the full state of a training in one safetensors file, which is written atomically."""

from __future__ import annotations

import errno
import json
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from actsr_cli.errors import RunError
from actsr_cli.files import replacing
from actsr_cli.models.base import Model
from actsr_cli.training.trainer import Trainer, TrainingState

_SYSTEM_ERROR = re.compile(r"os error (\d+)")
_MODEL, _AVERAGE, _OPTIMIZER, _RANDOM = "model.", "average.", "optimizer.", "random."


def save_tensors(path: Path, tensors: Mapping[str, Tensor], metadata: Mapping[str, str]) -> None:
    """Write tensors to `path` atomically; tied tensors are stored once under each name.

    Raises:
        DiskError: the file cannot be written.
    """
    own: dict[str, Tensor] = {}
    storages: set[int] = set()
    for name, tensor in tensors.items():
        here = tensor.detach().contiguous().cpu()
        storage = here.untyped_storage().data_ptr()
        own[name] = here.clone() if storage in storages else here
        storages.add(storage)
    with replacing(path) as partial:
        try:
            save_file(own, partial, dict(metadata))
        except SafetensorError as error:  # it wraps the system's error, whose number is in the text alone
            number = int(found[1]) if (found := _SYSTEM_ERROR.search(str(error))) else errno.EIO
            raise OSError(number, os.strerror(number), str(partial)) from error


def load_tensors(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Tensors and metadata of a safetensors file.

    Raises:
        RunError: the file is missing or damaged.
    """
    if not path.is_file():
        raise RunError(f"no file {path}")
    try:
        with safe_open(path, framework="pt") as opened:
            return {name: opened.get_tensor(name) for name in opened.keys()}, opened.metadata() or {}  # noqa: SIM118
    except SafetensorError as error:
        raise RunError(f"{path} is damaged: {error}") from error


def save_model(path: Path, model: Model, epoch: int) -> None:
    """Write a model's parameters and buffers, and the epoch they are from."""
    save_tensors(path, model.state_dict(), {"epoch": str(epoch)})


def load_model(path: Path, model: Model) -> int:
    """Load a model from `path`, and return the epoch that the parameters are from.

    Raises:
        RunError: the file is missing, damaged, or of another architecture.
    """
    tensors, metadata = load_tensors(path)
    _fill(model, tensors, path)
    return int(metadata.get("epoch", 0))


def save_checkpoint(path: Path, trainer: Trainer) -> None:
    """Write everything that `load_checkpoint` needs to continue exactly."""
    names = [name for name, _ in trainer.model.named_parameters()]
    moments = trainer.optimizer.state_dict()["state"]
    tensors = {f"{_MODEL}{name}": tensor for name, tensor in trainer.model.state_dict().items()}
    if trainer.average is not None:
        tensors |= {f"{_AVERAGE}{name}": tensor for name, tensor in trainer.average.state_dict().items()}
    for index, values in moments.items():
        tensors |= {f"{_OPTIMIZER}{key}.{names[index]}": tensor for key, tensor in values.items()}
    tensors[f"{_RANDOM}batches"] = trainer.generator.get_state()
    tensors |= {f"{_RANDOM}{name}": state for name, state in _random_states().items()}
    save_tensors(path, tensors, {"state": json.dumps(trainer.state.to_dict())})


def load_checkpoint(path: Path, trainer: Trainer) -> None:
    """Restore a new trainer to the state that `save_checkpoint` wrote.

    Raises:
        RunError: the file is missing, damaged, or of another architecture.
    """
    tensors, metadata = load_tensors(path)
    _fill(trainer.model, _under(_MODEL, tensors), path)
    if trainer.average is not None:
        _fill(trainer.average, _under(_AVERAGE, tensors), path)
    names = [name for name, _ in trainer.model.named_parameters()]
    moments: dict[int, dict[str, Tensor]] = {index: {} for index in range(len(names))}
    for key, tensor in _under(_OPTIMIZER, tensors).items():
        moment, _, name = key.partition(".")
        moments[names.index(name)][moment] = tensor
    groups = trainer.optimizer.state_dict()["param_groups"]
    state = {index: values for index, values in moments.items() if values}
    trainer.optimizer.load_state_dict({"state": state, "param_groups": groups})
    random = _under(_RANDOM, tensors)
    trainer.generator.set_state(random.pop("batches"))
    _set_random_states(random)
    trainer.state = TrainingState.from_dict(json.loads(metadata["state"]))


def _fill(model: nn.Module, tensors: Mapping[str, Tensor], path: Path) -> None:
    try:
        model.load_state_dict(tensors)
    except RuntimeError as error:
        raise RunError(f"{path} does not fit the model of this run: {str(error).splitlines()[-1].strip()}") from error


def _under(prefix: str, tensors: Mapping[str, Tensor]) -> dict[str, Any]:
    return {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}


def _random_states() -> dict[str, Tensor]:
    """States of the generators that dropout and noise draw from."""
    states = {"cpu": torch.get_rng_state()}
    states |= {f"cuda{index}": torch.cuda.get_rng_state(index) for index in range(torch.cuda.device_count())}
    if torch.backends.mps.is_available():
        states["mps"] = torch.mps.get_rng_state()
    return states


def _set_random_states(states: Mapping[str, Tensor]) -> None:
    torch.set_rng_state(states["cpu"])
    if "mps" in states and torch.backends.mps.is_available():
        torch.mps.set_rng_state(states["mps"])
    for index in range(torch.cuda.device_count()):
        if f"cuda{index}" in states:
            torch.cuda.set_rng_state(states[f"cuda{index}"], index)
