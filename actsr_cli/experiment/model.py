"""Opens the trained model of a run, without the run's data."""

from __future__ import annotations

from actsr_cli.config import CustomOptions
from actsr_cli.errors import RunError
from actsr_cli.experiment.run import Run
from actsr_cli.models.base import Model
from actsr_cli.models.registry import build_model, model_size
from actsr_cli.training.checkpoint import load_model
from actsr_cli.words import command


def open_model(run: Run) -> tuple[Model, int]:
    """The best model of a run, in evaluation mode on the CPU, and its epoch.

    Raises:
        RunError: the run has no model, or its file is damaged or does not fit.
    """
    if not run.model_file.exists():
        raise RunError(f"{run.name} has no trained model yet")
    record = run.record
    if not isinstance(run.config.model, CustomOptions):  # building a custom model without memory may fail
        values = model_size(run.config.model, run.config.calibration, record.items, record.users)
        if values > run.model_file.stat().st_size:  # so no memory is taken for what no file can fill
            raise RunError(f"{run.model_file} does not fit the model of this run: it has {values:,} values")
    model = build_model(run.config.model, run.config.calibration, record.items, record.users)
    epoch = load_model(run.model_file, model)
    return model.eval(), epoch


def check_held_out(run: Run) -> None:
    """Check that a run has held-out items to evaluate it on.

    Raises:
        RunError: the run was trained on all data.
    """
    if run.config.split.by == "none":
        source = run.record.source
        raise RunError(
            f"{run.name} was trained on all data: it has no held-out items to evaluate it on",
            hint=None if source is None else f"Evaluate the original run: {command('evaluate', source)}",
        )
