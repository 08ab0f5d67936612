"""Checks before a training starts."""

from __future__ import annotations

from actsr_cli.config import CustomOptions, RunConfig
from actsr_cli.data.sequences import SequenceData
from actsr_cli.errors import ConfigError, DataError
from actsr_cli.evaluation.judging import check_measures, configured_measures, nothing_held_out
from actsr_cli.models.registry import all_models, check_model, model_size
from actsr_cli.training.device import choose_device
from actsr_cli.training.losses import check_loss


def check_trainable(config: RunConfig, data: SequenceData) -> None:
    """Raise the errors that would end a training at its start, before a run is created.

    Args:
        config: the settings of the training.
        data: its prepared data.

    Raises:
        ConfigError: the device is not available, or the model and its settings do not fit together.
        DataError: there is no training data, no validation data, or no timestamps although the model needs them.
    """
    choose_device(config.training.device)
    model = check_model(config.model, config.calibration)
    if model.made_by:
        raise ConfigError(f"{config.model.name} cannot be trained", hint=f"It is made of trained runs: {model.made_by}")
    if config.training.log_attention and not (model.calibrated or isinstance(config.model, CustomOptions)):
        raise ConfigError(f"training.log_attention must be 0: {model.title} has no attention")
    check_loss(config.loss)
    if model.needs_timestamps and data.timestamps is None:
        others = ", ".join(name for name, other in all_models().items() if not other.needs_timestamps)
        raise DataError(
            f"{model.title} needs timestamps, and '{data.name}' has none",
            hint=f"Prepare the data from a file with timestamps, or choose another model: {others}.",
        )
    starts, ends = data.training_spans()
    if not isinstance(config.model, CustomOptions):  # building a custom model without memory may fail
        model_size(config.model, config.calibration, data.n_items, data.n_users)
    if not (ends - starts > 1).any():
        raise DataError(f"'{data.name}' has no training targets: no user has two training interactions")
    if config.split.by == "none":
        return
    if not len(data.held_out("valid")):
        raise DataError(f"there are no users to validate on: {nothing_held_out(data)}")
    check_measures(configured_measures(config.evaluation, config.training.monitor), data)
