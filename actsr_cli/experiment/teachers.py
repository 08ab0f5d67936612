"""Finds the trained runs that teach a training, see `loss.teachers`."""

from __future__ import annotations

from pathlib import Path
from typing import cast

import torch

from actsr_cli.config import RunConfig
from actsr_cli.config.losses import CrossEntropyOptions
from actsr_cli.data.sequences import SequenceData
from actsr_cli.errors import ConfigError, RunError
from actsr_cli.experiment.model import open_model
from actsr_cli.experiment.run import Run
from actsr_cli.experiment.series import find_runs
from actsr_cli.models.base import SequentialModel
from actsr_cli.models.registry import check_model
from actsr_cli.sealed import file_checksum
from actsr_cli.training.teachers import Teachers


def find_teachers(config: RunConfig, data: SequenceData, runs_dir: Path) -> list[Run]:
    """The runs that teach a training with `config`, those of a series one after another.

    Raises:
        ConfigError: the model that is trained cannot learn from others.
        RunError: there is no such run, it is not finished, or it cannot teach this training.
    """
    if not (isinstance(config.loss, CrossEntropyOptions) and config.loss.teachers):
        return []
    if not check_model(config.model, config.calibration).causal:
        raise ConfigError(f"loss.teachers needs a model that predicts each next item, and {config.model.name} does not")
    found = find_runs(runs_dir, config.loss.teachers)
    for run in found:
        if problem := _unfit(run, config, data):
            raise RunError(f"{run.name} cannot be a teacher: {problem}", hint="Change loss.teachers.")
    return found


def open_teachers(run: Run, data: SequenceData, device: torch.device) -> Teachers | None:
    """The teachers of a run's training, on its device; None if it has none.

    A training that is resumed must find the same models as before: their checksums are in its record.

    Raises:
        ConfigError, RunError: see `find_teachers`; or a teacher has changed since the training began.
    """
    loss, before = run.config.loss, run.record.teachers
    found = find_teachers(run.config, data, runs_dir=run.path.parents[2])
    if not found or not isinstance(loss, CrossEntropyOptions):
        return None
    checksums = {teacher.name: file_checksum(teacher.model_file) for teacher in found}
    if before is not None and before != checksums:
        changed = ", ".join(sorted({name for name, _ in before.items() ^ checksums.items()}))
        raise RunError(f"{run.name} cannot go on: its teachers have changed since it began ({changed})")
    with torch.random.fork_rng(devices=[]):  # building a model draws random numbers, which its training would miss
        models = [cast(SequentialModel, open_model(teacher)[0]).to(device) for teacher in found]
    return Teachers(models, loss.teacher_share, checksums)


def _unfit(teacher: Run, config: RunConfig, data: SequenceData) -> str | None:
    """Why a run cannot teach a training with `config`, or None."""
    model = teacher.config.model
    if not check_model(model, teacher.config.calibration).causal:
        return f"{model.name} does not predict each next item"
    if not teacher.record.finished:
        return f"it is {teacher.status}, not finished"
    if teacher.record.fingerprint != data.fingerprint:
        return "it was trained on other data"
    if config.split.by != "none" and teacher.config.split != config.split:
        return "its split is another one, so it may know the items that are held out here"
    if model.max_length < config.model.max_length:
        return f"it reads {model.max_length} items, fewer than model.max_length ({config.model.max_length})"
    return None
