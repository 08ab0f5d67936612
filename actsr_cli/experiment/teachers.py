"""Finds the trained runs that teach a training, see `loss.teachers`."""

from __future__ import annotations

import re
from pathlib import Path
from typing import cast

import torch

from actsr_cli.config import RunConfig
from actsr_cli.config.losses import CrossEntropyOptions
from actsr_cli.data.sequences import SequenceData
from actsr_cli.errors import ConfigError, RunError
from actsr_cli.experiment.model import open_model
from actsr_cli.experiment.place import is_run
from actsr_cli.experiment.run import Run, open_run
from actsr_cli.experiment.series import find_group
from actsr_cli.models.base import SequentialModel
from actsr_cli.models.registry import check_model
from actsr_cli.sealed import file_checksum
from actsr_cli.training.teachers import Teachers

_PINNED = re.compile(r"(.+)@([0-9a-f]{8})")
"""A teacher in the settings of a run: its path below the root of the runs, and the checksum of its model."""
_RESTORE = "Restore it from a copy, or train a new run with other loss.teachers."


def pin_teachers(config: RunConfig, data: SequenceData, runs_dir: Path) -> RunConfig:
    """The settings of a training whose `loss.teachers` name each run as DATASET/MODEL/NAME@CHECKSUM.

    A new run keeps them: what teaches it stays the same when it is resumed or refitted, also if there are other runs of
    such names by then.

    Raises:
        ConfigError, RunError: see `find_teachers`.
    """
    runs = find_teachers(config, data, runs_dir)
    if not runs:
        return config
    root = runs_dir.resolve()
    places = [run.path.relative_to(root) if run.path.is_relative_to(root) else run.path for run in runs]
    pinned = tuple(
        f"{place.as_posix()}@{file_checksum(run.model_file)}" for place, run in zip(places, runs, strict=True)
    )
    return config.model_copy(update={"loss": config.loss.model_copy(update={"teachers": pinned})})


def find_teachers(config: RunConfig, data: SequenceData, runs_dir: Path) -> list[Run]:
    """The runs that teach a training with `config`, each once; those of a series one after another.

    Raises:
        ConfigError: the model that is trained cannot learn from others.
        RunError: there is no such run, it is not finished, it has changed, or it cannot teach this training.
    """
    if not (isinstance(config.loss, CrossEntropyOptions) and config.loss.teachers):
        return []
    if not check_model(config.model, config.calibration).causal:
        raise ConfigError(f"loss.teachers needs a model that predicts each next item, and {config.model.name} does not")
    found = {run.path: run for name in config.loss.teachers for run in _called(name, runs_dir)}
    for run in found.values():
        if problem := _unfit(run, config, data):
            raise RunError(f"{run.name} cannot be a teacher: {problem}", hint="Change loss.teachers.")
    return list(found.values())


def open_teachers(
    config: RunConfig, data: SequenceData, runs_dir: Path | None, device: torch.device
) -> Teachers | None:
    """The teachers of a training, on its device; None if it has none.

    Args:
        config: its settings.
        data: its prepared data.
        runs_dir: root of the runs. A training without teachers needs none.
        device: where it computes.

    Raises:
        ConfigError, RunError: see `find_teachers`.
    """
    loss = config.loss
    if not (isinstance(loss, CrossEntropyOptions) and loss.teachers):
        return None
    if runs_dir is None:
        raise ValueError("a training with teachers needs runs_dir")
    runs = find_teachers(config, data, runs_dir)
    with torch.random.fork_rng(devices=[]):  # building a model draws random numbers, which its training would miss
        models = [cast(SequentialModel, open_model(run)[0]).to(device) for run in runs]
    return Teachers(models, loss.teacher_share)


def _called(name: str, runs_dir: Path) -> tuple[Run, ...]:
    """The runs of a name in `loss.teachers`."""
    pinned = _PINNED.fullmatch(name)
    if pinned is None:
        return find_group(runs_dir, name).runs
    place, checksum = pinned.groups()
    path = runs_dir / place
    if not is_run(path):
        raise RunError(f"there is no teacher {place} in {runs_dir}", hint=_RESTORE)
    run = open_run(path)
    if run.model_file.exists() and file_checksum(run.model_file) != checksum:
        raise RunError(
            f"the teacher {place} has changed: its model does not have the checksum {checksum}", hint=_RESTORE
        )
    return (run,)


def _unfit(teacher: Run, config: RunConfig, data: SequenceData) -> str | None:
    """Why a run cannot teach a training with `config`, or None."""
    model = teacher.config.model
    if not check_model(model, teacher.config.calibration).causal:
        return f"{model.name} does not predict each next item"
    if not teacher.record.finished:
        return f"it is {teacher.status}, not finished"
    if not teacher.model_file.exists():
        return f"its {teacher.model_file.name} is missing"
    if teacher.record.fingerprint != data.fingerprint:
        return "it was trained on other data"
    if config.split.by != "none" and teacher.config.split != config.split:
        return "its split is another one, so it may know the items that are held out here"
    if model.max_length < config.model.max_length:
        return f"it reads {model.max_length} items, fewer than model.max_length ({config.model.max_length})"
    return None
