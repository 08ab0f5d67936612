"""The models by name.

Nothing heavy is imported here: the schema when a model is looked up, the code of a model when it is built.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, cast

from actsr_cli.errors import ConfigError, nearest
from actsr_cli.plugins import SEE_TRACEBACK, check_own_options, import_class, in_words, registered

if TYPE_CHECKING:
    from actsr_cli.config import (
        Calibration,
        CalibrationOptions,
        Choices,
        CustomOptions,
        ModelOptions,
        RunConfig,
    )
    from actsr_cli.models.base import CountingModel, SequentialModel

    Trainable = SequentialModel | CountingModel

CALIBRATED_PREFIX = "ac-"


def _models() -> Choices[ModelOptions]:
    """The options classes by name."""
    from actsr_cli.config import MODELS

    return MODELS


def all_models() -> dict[str, type[ModelOptions]]:
    """Every built-in model by its name, in the order in which they are listed."""
    return dict(_models().by_name)


def registered_names() -> list[str]:
    """Names of the models that installed packages register; no class is imported."""
    return list(_models().points())


def hidden_names() -> list[str]:
    """Names of registered models that cannot be chosen, because built-in models have the same names."""
    return _models().hidden()


def names_of(name: str, model: type[ModelOptions]) -> tuple[str, ...]:
    """A model's names on the command line: the plain one, and that for full calibration if it can be calibrated."""
    return (name, f"{CALIBRATED_PREFIX}{name}") if model.calibrated else (name,)


def model_names() -> list[str]:
    """Every name that `--model` takes except `package.module:Class`; no class is imported."""
    from actsr_cli.config import CustomOptions

    built_in = [name for plain, model in all_models().items() for name in names_of(plain, model)]
    return built_in + [name for plain in registered_names() for name in names_of(plain, CustomOptions)]


def find_model(name: str) -> type[ModelOptions]:
    """The options class of the model called `name`: built-in, registered, or `package.module:Class`.

    Raises:
        ConfigError: there is no such model (the message suggests a name), or its class cannot be imported.
    """
    try:
        options = _models().find(name)
    except ValueError:
        raise ConfigError(f"unknown model '{name}'; {nearest(name, model_names())}") from None
    return _described(name) if options is _models().own else options


def parse_name(name: str) -> tuple[str, Calibration]:
    """Model and calibration of a name on the command line: `ac-sasrec` is (sasrec, full)."""
    plain = name.removeprefix(CALIBRATED_PREFIX)
    if name in model_names() or ":" in name:
        exact = name in all_models() or name in registered_names()
        return (name, "none") if exact or plain == name else (plain, "full")
    raise ConfigError(
        f"unknown model '{name}'; {nearest(name, model_names())}",
        hint="List all models: actsr models. Use your own class: --model package.module:Class",
    )


def model_settings(name: str | None, calibration: str | None = None, overrides: Sequence[str] = ()) -> dict[str, str]:
    """The settings that choose the model called `name`, see `parse_name`.

    The calibration of the name gives way to `calibration`, and to one that the `--set` texts in `overrides` choose.
    """
    if name is None:
        return {}
    from actsr_cli.config.reading import override_keys

    backbone, implied = parse_name(name)
    chosen = {"model.name": backbone}
    if calibration is None and {"calibration", "calibration.kind"} & override_keys(overrides):
        return chosen
    return chosen | {"calibration.kind": calibration or implied}


def display_name(config: RunConfig) -> str:
    """The short name of a configured model: sasrec, ac-sasrec, sasrec-spatial, sasrec-adversarial."""
    return short_name(config.model.name, config.calibration.kind)


def short_name(model: str, calibration: str) -> str:
    """The short name of a model with its calibration, see `display_name`."""
    name = model.rpartition(":")[2]
    if calibration == "none":
        return name
    return f"{CALIBRATED_PREFIX}{name}" if calibration == "full" else f"{name}-{calibration}"


def check_model(options: ModelOptions, calibration: CalibrationOptions) -> type[ModelOptions]:
    """Check the settings of a model, and return its options class.

    Raises:
        ConfigError: there is no such model, it has no attention to calibrate, or it does not read a key of
            `model.options`.
    """
    from actsr_cli.config import CustomOptions

    model = find_model(options.name)
    if calibration.kind != "none" and not model.calibrated:
        others = ", ".join(name for name, other in all_models().items() if other.calibrated)
        raise ConfigError(
            f"{model.title} has no attention to calibrate: calibration.kind must be none, not {calibration.kind}",
            hint=f"Models that can be calibrated: {others}.",
        )
    if isinstance(options, CustomOptions):
        check_own_options("model", options.options, cast("type[CustomOptions]", model).own, model.title)
    return model


def build_model(options: ModelOptions, calibration: CalibrationOptions, n_items: int, n_users: int = 0) -> Trainable:
    """Build a model with initial weights.

    Args:
        options: the model's settings.
        calibration: how its attention is calibrated.
        n_items: items of the catalogue, padding not counted.
        n_users: users of the data set.

    Raises:
        ConfigError: see `check_model`; or a custom class fails.
    """
    from actsr_cli.config import CustomOptions

    chosen = _class_of(check_model(options, calibration).target)
    if not isinstance(options, CustomOptions):
        return chosen(options, calibration, n_items, n_users)
    try:
        return chosen(options, calibration, n_items, n_users)
    except Exception as error:
        raise ConfigError(f"model '{options.name}' cannot be built: {in_words(error)}", hint=SEE_TRACEBACK) from error


def model_size(options: ModelOptions, calibration: CalibrationOptions, n_items: int, n_users: int) -> int:
    """Number of values that a model learns: its parameters, or the counts of a counting model. Allocates nothing."""
    import torch

    from actsr_cli.models.unfilled import Unfilled

    with torch.device("meta"), Unfilled():
        model = build_model(options, calibration, n_items, n_users)
    return sum(tensor.numel() for tensor in (list(model.parameters()) or model.buffers()))


def _described(name: str) -> type[CustomOptions]:
    """The options class of a custom model, with what its class says about itself."""
    from actsr_cli.config import CustomOptions
    from actsr_cli.models.base import SequentialModel

    target = registered(name, _models().points())
    found = _class_of(target)
    facts = {
        "__module__": __name__,
        "title": found.__name__,
        "paper": found.paper,
        "target": target,
        "own": found.options,
        "needs_users": found.needs_users,
        "needs_timestamps": found.needs_timestamps,
        "causal": getattr(found, "causal", False),
        "calibrated": found.calibrated,
        "trained": issubclass(found, SequentialModel),
    }
    return type(found.__name__, (CustomOptions,), facts)


def _class_of(target: str) -> type[Trainable]:
    """The class at `module:Class`."""
    from actsr_cli.models.base import CountingModel, SequentialModel

    return import_class(
        target,
        (SequentialModel, CountingModel),
        what="model",
        hint="A model is a subclass of actsr_cli.models.base.CustomModel, see docs/your-own-model.md.",
    )
