"""What can be said before a training begins."""

from __future__ import annotations

from actsr_cli.config import CustomOptions, RunConfig
from actsr_cli.data.sequences import SequenceData
from actsr_cli.errors import DataError
from actsr_cli.evaluation.judging import check_measures, configured_measures, nothing_held_out
from actsr_cli.models.registry import all_models, check_model, model_size
from actsr_cli.training.device import choose_device
from actsr_cli.training.losses import check_loss


def check_trainable(config: RunConfig, data: SequenceData) -> None:
    """Raise what a training would end with at once, so that no run is made for it.

    Raises:
        ConfigError: the device is not there, or the model and its settings do not go together.
        DataError: there is nothing to train on, nobody to validate with, or no timestamps where the model needs them.
    """
    choose_device(config.training.device)
    model = check_model(config.model, config.calibration)
    check_loss(config.loss)
    if model.needs_timestamps and data.timestamps is None:
        others = ", ".join(name for name, other in all_models().items() if not other.needs_timestamps)
        raise DataError(
            f"{model.title} reads the times of interactions, and '{data.name}' has none",
            hint=f"Prepare it from a file with timestamps, or take another model: {others}.",
        )
    starts, ends = data.training_spans()
    if not isinstance(config.model, CustomOptions):  # it may not be made to be built without memory
        model_size(config.model, config.calibration, data.n_items, data.n_users)
    if not (ends - starts > 1).any():
        raise DataError(f"'{data.name}' has nothing to train on: no user has two training interactions")
    if config.split.by == "none":
        return
    if not len(data.held_out("valid")):
        raise DataError(f"there is nobody to validate with: {nothing_held_out(data)}")
    check_measures(configured_measures(config.evaluation, config.training.monitor), data)
