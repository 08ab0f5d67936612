"""Checkpoints: the full state of a training in one safetensors file, which is written atomically.

Nothing of a file is used before all of it is checked: an optimizer reads memory behind a tensor that is too small.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from pydantic import TypeAdapter, ValidationError
from torch import Tensor, nn

from actsr_cli.errors import RunError
from actsr_cli.models.base import Model
from actsr_cli.tensors import damaged, load_tensors, save_tensors
from actsr_cli.training.trainer import Trainer, TrainingState
from actsr_cli.words import counted, shortened

_PREFIXES = ("model.", "average.", "optimizer.", "touched.", "random.")
_MODEL, _AVERAGE, _OPTIMIZER, _TOUCHED, _RANDOM = _PREFIXES

Form = tuple[torch.Size, torch.dtype]
"""Shape and kind of a tensor."""


def save_model(path: Path, model: Model, epoch: int) -> None:
    """Write a model's parameters and buffers, and the epoch they are from."""
    save_tensors(path, model.state_dict(), {"epoch": str(epoch)})


def load_model(path: Path, model: Model) -> int:
    """Load a model from `path`, and return the epoch that the parameters are from.

    Raises:
        RunError: the file is missing, damaged, or of another architecture.
    """
    tensors, metadata = load_tensors(path)
    epoch = metadata.get("epoch", "0")
    if not epoch.isdecimal() or len(epoch) > 9:
        raise damaged(path, f"its epoch is {shortened(epoch)!r}")
    _check_weights(tensors, model, path)
    model.load_state_dict(tensors)
    return int(epoch)


def save_checkpoint(path: Path, trainer: Trainer) -> None:
    """Write everything that `load_checkpoint` needs to continue exactly."""
    tensors = {f"{_MODEL}{name}": tensor for name, tensor in trainer.model.state_dict().items()}
    if trainer.average is not None:
        tensors |= {f"{_AVERAGE}{name}": tensor for name, tensor in trainer.average.state_dict().items()}
    for name, parameter in _optimised(trainer).items():
        moments = trainer.optimizer.moments.get(parameter, {})
        tensors |= {f"{_OPTIMIZER}{key}.{name}": tensor for key, tensor in moments.items()}
    tensors |= {f"{_TOUCHED}{name}": tensor for name, tensor in trainer.touched.state().items()}
    tensors |= {f"{_RANDOM}{name}": state for name, state in _random_states(trainer).items()}
    save_tensors(path, tensors, {"state": json.dumps(trainer.state.to_dict())})


def load_checkpoint(path: Path, trainer: Trainer) -> None:
    """Restore a new trainer to the state that `save_checkpoint` wrote.

    Raises:
        RunError: the file is missing, damaged, or of another architecture; the trainer is then as it was.
    """
    tensors, metadata = load_tensors(path)
    state = _state_of(metadata, path)
    weights, average = _under(_MODEL, tensors), _under(_AVERAGE, tensors)
    _check_weights(weights, trainer.model, path)
    if trainer.average is not None:
        _check_weights(average, trainer.average, path)
    parameters = _optimised(trainer)
    moments = _moments_of(_under(_OPTIMIZER, tensors), parameters, path)
    touched = _under(_TOUCHED, tensors)
    _check_forms(touched, trainer.touched.forms(touched), path, "touched rows")
    _check_numbers(touched, path)
    if not trainer.touched.follows(touched):
        raise damaged(path, "the steps of touched rows do not follow one another")
    random = _generators_of(_under(_RANDOM, tensors), trainer, path)
    if unknown := [name for name in tensors if not name.startswith(_PREFIXES)]:
        raise _misfit(path, f"it has an unknown tensor, {shortened(unknown[0])}")
    trainer.model.load_state_dict(weights)
    if trainer.average is not None:
        trainer.average.load_state_dict(average)
    trainer.optimizer.restore({parameters[name]: values for name, values in moments.items()})
    trainer.touched.restore(touched)
    try:
        trainer.generator.set_state(random.pop("batches"))
        _set_random_states(random)
    except RuntimeError as error:
        raise damaged(path, error) from error
    trainer.state = state


def saved_state(path: Path) -> TrainingState:
    """The state of the loop in a checkpoint, without the tensors.

    Raises:
        RunError: the file is missing or damaged.
    """
    return _state_of(load_tensors(path)[1], path)


def _state_of(metadata: Mapping[str, str], path: Path) -> TrainingState:
    """The state of the loop that a checkpoint holds.

    Raises:
        RunError: it is not of the right form.
    """
    try:
        state = TypeAdapter(TrainingState).validate_json(metadata.get("state", ""))
    except ValidationError as error:
        first = error.errors()[0]
        raise damaged(path, f"state {'.'.join(map(str, first['loc']))}: {first['msg'].lower()}") from error
    epochs = [record.epoch for record in state.history]
    if epochs != list(range(1, len(epochs) + 1)) or state.best_epoch not in (0, *epochs) or state.stale_validations < 0:
        raise damaged(path, "state: its epochs do not follow one another")
    return state


def _optimised(trainer: Trainer) -> dict[str, nn.Parameter]:
    """The parameters of the optimizer by their names, in its order."""
    names = {id(parameter): name for name, parameter in trainer.model.named_parameters()}
    return {names[id(each)]: each for each in trainer.optimizer.parameters}


def _moments_of(
    tensors: Mapping[str, Tensor], parameters: Mapping[str, Tensor], path: Path
) -> dict[str, dict[str, Tensor]]:
    """The optimizer's moments of each parameter that has been trained.

    Raises:
        RunError: a moment is missing, unknown, or of another shape or kind than the optimizer reads.
    """
    found: dict[str, dict[str, Tensor]] = {}
    for key, tensor in tensors.items():
        moment, _, name = key.partition(".")
        found.setdefault(name, {})[moment] = tensor
    for name, values in found.items():
        if name not in parameters:
            raise _misfit(path, f"the optimizer has '{shortened(name)}', which the model has not")
        of_parameter = (parameters[name].shape, parameters[name].dtype)
        scalar = (torch.Size(), torch.float32)
        _check_forms(values, {"step": scalar, "exp_avg": of_parameter, "exp_avg_sq": of_parameter}, path, name)
        _check_numbers(values, path)
    return found


def _generators_of(tensors: Mapping[str, Tensor], trainer: Trainer, path: Path) -> dict[str, Tensor]:
    """The states of the random generators that this machine has, of those that a checkpoint holds.

    Raises:
        RunError: one is missing or of another size.
    """
    here = _random_states(trainer)
    wanted = {name: (state.shape, state.dtype) for name, state in here.items() if name in tensors}
    found = {name: state for name, state in tensors.items() if name in wanted}
    _check_forms(found, wanted, path)
    if missing := {"batches", "cpu"} - found.keys():
        raise damaged(path, f"the state of the generator '{min(missing)}' is missing")
    return found


def _check_weights(tensors: Mapping[str, Tensor], model: nn.Module, path: Path) -> None:
    """Raise RunError unless tensors fit a model and their values are numbers."""
    own = model.state_dict()
    _check_forms(tensors, {name: (tensor.shape, tensor.dtype) for name, tensor in own.items()}, path)
    _check_numbers(tensors, path)


def _check_forms(tensors: Mapping[str, Tensor], wanted: Mapping[str, Form], path: Path, of: str = "") -> None:
    """Raise RunError unless tensors have exactly the wanted names, shapes and kinds."""
    inside = f" of {of}" if of else ""
    if missing := sorted(wanted.keys() - tensors.keys()):
        raise _misfit(path, f"it lacks {counted(len(missing), 'tensor')}, such as {missing[0]}{inside}")
    if extra := sorted(tensors.keys() - wanted.keys()):
        raise _misfit(path, f"it has {counted(len(extra), 'unknown tensor')}, such as {shortened(extra[0])}{inside}")
    for name, tensor in tensors.items():
        shape, kind = wanted[name]
        if tensor.shape != shape or tensor.dtype != kind:
            there, here = _in_words(tensor.shape, tensor.dtype), _in_words(shape, kind)
            raise _misfit(path, f"{name}{inside} has the shape {there}, not {here}")


def _in_words(shape: torch.Size, kind: torch.dtype) -> str:
    return f"{tuple(shape)} of {str(kind).removeprefix('torch.')}"


def _check_numbers(tensors: Mapping[str, Tensor], path: Path) -> None:
    """Raise RunError if a value is not a finite number."""
    for name, tensor in tensors.items():
        if tensor.is_floating_point() and not torch.isfinite(tensor.sum()) and not torch.isfinite(tensor).all():
            raise damaged(path, f"{name} has values that are no finite numbers")


def _misfit(path: Path, problem: str) -> RunError:
    return RunError(f"{path} does not fit the model of this run: {problem}")


def _under(prefix: str, tensors: Mapping[str, Tensor]) -> dict[str, Any]:
    return {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}


def _random_states(trainer: Trainer) -> dict[str, Tensor]:
    """States of the generators that batches, dropout and noise draw from."""
    states = {"batches": trainer.generator.get_state(), "cpu": torch.get_rng_state()}
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
