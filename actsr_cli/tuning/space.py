"""The search space of a study: which keys vary, and within what."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import Annotated, Any, Literal, get_args

import numpy as np
from optuna import Trial
from pydantic import Field, ValidationError

from actsr_cli.config import RunConfig, Section
from actsr_cli.errors import ConfigError, nearest
from actsr_cli.models.registry import unread_keys
from actsr_cli.presets import check_value, schema_field

Scalar = bool | int | float | str | None

NOT_SEARCHED = {"device", "threads", "log_attention"}
"""Training settings that change no number: a study may go on with others."""
DEFAULT_SPACE: dict[str, list[float]] = {
    "training.learning_rate": [5e-4, 1e-3, 2e-3],
    "model.hidden_dropout": [0.2, 0.35, 0.5],
}
"""What is searched where nobody says anything else."""
_COUNTED = ("item-knn", "popularity")
_SHARED = {"data", "evaluation", "dataset", "description"}
"""What all trials share: they differ in model and training alone."""
_FIXED = NOT_SEARCHED | {"monitor", "seed"}
"""Training settings that all trials share: also what they are compared by, and chance."""


class Range(Section):
    """All numbers from `low` to `high`.

    Attributes:
        log: whether each tenfold weighs the same.
        steps: how many points of it a grid has; all whole numbers where it is None.
    """

    low: float
    high: float
    log: bool = False
    steps: Annotated[int, Field(ge=2)] | None = None


@dataclass(frozen=True)
class Dimension:
    """A key that varies.

    Attributes:
        key: dotted, such as training.learning_rate.
        domain: the values it may take: each of some, or a range.
    """

    key: str
    domain: tuple[Scalar, ...] | Range

    @property
    def whole(self) -> bool:
        """Whether only whole numbers are allowed."""
        return _kind(self.key) == "whole"

    def suggest(self, trial: Trial) -> Scalar:
        """A value for a trial."""
        domain = self.domain
        if not isinstance(domain, Range):
            chosen: Scalar = trial.suggest_categorical(self.key, list(domain))
            return chosen
        if self.whole:
            return trial.suggest_int(self.key, int(domain.low), int(domain.high), log=domain.log)
        return trial.suggest_float(self.key, domain.low, domain.high, log=domain.log)

    def points(self) -> list[Scalar]:
        """Its values on a grid.

        Raises:
            ConfigError: it is a range of fractions without `steps`.
        """
        domain = self.domain
        if not isinstance(domain, Range):
            return list(domain)
        if domain.steps is None:
            if not self.whole:
                raise ConfigError(
                    f"{self.key} is a range, of which a grid has no points",
                    hint=f"Say how many, {self.key}: {{low: …, high: …, steps: 3}}, or list them; or take --tpe.",
                )
            return list(range(int(domain.low), int(domain.high) + 1))
        spaced = (np.geomspace if domain.log else np.linspace)(domain.low, domain.high, domain.steps)
        return sorted({round(value) for value in spaced}) if self.whole else [float(value) for value in spaced]


Space = tuple[Dimension, ...]


def read_space(raw: Any, origin: str) -> Space:
    """A search space from the `tune` section of a preset.

    Args:
        raw: for each dotted key a list of values, or a mapping with `low` and `high` (and `log`, `steps`).
        origin: where it is from, for messages.

    Raises:
        ConfigError: it is empty, or a key or value is none of the schema.
    """
    if not raw:
        raise ConfigError(f"{origin} has no search space", hint="Give one: --space FILE, see docs/tune.md.")
    if not isinstance(raw, dict):
        raise ConfigError(f"the search space of {origin} must be a mapping of keys to values, not {raw!r}")
    return tuple(_dimension(key, domain, origin) for key, domain in raw.items())


def default_space(config: RunConfig) -> Space:
    """What is usually searched for the model of a configuration.

    Raises:
        ConfigError: it has no such space, as it is not trained.
    """
    return read_space({} if config.model.name in _COUNTED else DEFAULT_SPACE, f"model {config.model.name}")


def unread(space: Space, config: RunConfig) -> list[str]:
    """Keys of a space that change nothing for the model of a configuration."""
    if any(each.key in ("model.name", "model.calibration") for each in space):
        return []
    keys = [each.key for each in space]
    of_model = unread_keys(config.model, [key.removeprefix("model.") for key in keys if key.startswith("model.")])
    adversarial = config.model.calibration in ("adversarial", "full")
    return [f"model.{key}" for key in of_model] + [
        key for key in keys if key == "training.mask_weight" and not adversarial
    ]


def grid(space: Space) -> list[dict[str, Scalar]]:
    """Every combination of the points of all dimensions."""
    keys = [dimension.key for dimension in space]
    return [
        dict(zip(keys, values, strict=True))
        for values in itertools.product(*(dimension.points() for dimension in space))
    ]


def _dimension(key: Any, domain: Any, origin: str) -> Dimension:
    where = f"{key} in the search space of {origin}"
    if not isinstance(key, str):
        raise ConfigError(f"{where} is no key such as training.learning_rate")
    _check_searchable(key, where)
    if isinstance(domain, list):
        values = tuple(domain)
        if not values:
            raise ConfigError(f"{where} has no values")
        for value in values:
            check_value(key, value, origin)
            if not isinstance(value, Scalar):
                raise ConfigError(f"{where}: {value} is no single value")
        return Dimension(key, values)
    if not isinstance(domain, dict):
        raise ConfigError(f"{where} must be a list of values, or low and high: not {domain!r}")
    bounds = _range(where, domain)
    for bound in (bounds.low, bounds.high):
        check_value(key, int(bound) if bound.is_integer() else bound, origin)
    if _kind(key) == "other":
        raise ConfigError(f"{where} has bounds, but is no number: list its values")
    return Dimension(key, bounds)


def _check_searchable(key: str, where: str) -> None:
    section, _, name = key.partition(".")
    if section in _SHARED or (section == "training" and name in _FIXED):
        raise ConfigError(
            f"{where} cannot be searched: all trials have the same data, seed and measure",
            hint=f"Give it to all of them: --set {key}=…",
        )


def _range(where: str, domain: dict[str, Any]) -> Range:
    for name in domain:
        if name not in Range.model_fields:
            raise ConfigError(f"{where}: unknown '{name}'; {nearest(name, Range.model_fields)}")
    try:
        bounds = Range.model_validate(domain)
    except ValidationError as error:
        first = error.errors()[0]
        raise ConfigError(f"{where}: {'.'.join(map(str, first['loc']))}: {first['msg'].lower()}") from error
    if bounds.low >= bounds.high:
        raise ConfigError(f"{where} is empty: low {bounds.low:g} is not below high {bounds.high:g}")
    if bounds.log and bounds.low <= 0:
        raise ConfigError(f"{where}: a logarithmic range begins above 0, not at {bounds.low:g}")
    return bounds


def _kind(key: str) -> Literal["whole", "fraction", "other"]:
    annotation = schema_field(key).annotation
    kinds = {annotation, *get_args(annotation)}
    return "whole" if int in kinds else "fraction" if float in kinds else "other"
