"""The search space of a study: which keys vary, and over which values.

A space may search a choice (`model.name`, `calibration.kind`, `loss.name`). A key that only some of the searched
choices have is searched only in the trials with these choices.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field, replace
from typing import Annotated, Any, Literal, get_args

import numpy as np
from optuna import Trial
from pydantic import Field, ValidationError

from actsr_cli.config import MODELS, RunConfig, Section
from actsr_cli.config.refusals import check_value, unknown_key
from actsr_cli.config.schema import CHOICES, OWN_OPTIONS, own_option, schema_fields
from actsr_cli.errors import ConfigError, nearest
from actsr_cli.models.registry import check_model, display_name
from actsr_cli.presets import ResolvedConfig
from actsr_cli.training.losses import check_loss

LARGEST_GRID = 100_000
"""Number of combinations above which a grid is refused: it would not be tried in a lifetime."""
Scalar = bool | int | float | str | None

NOT_SEARCHED = {"device", "threads", "log_attention", "checkpoint_minutes"}
"""Training settings that do not change the results: they may differ when a study continues."""
_SHARED = {"data", "split", "evaluation", "dataset", "description"}
"""Sections that all trials share: trials differ only in model, calibration, loss and training."""
_FIXED = NOT_SEARCHED | {"monitor", "seed"}
"""Training settings that all trials share, including the metric that compares them and the random seed."""
_ANOTHER_SPACE = "Give another search space with --space FILE, see docs/tune.md."
_TRAINED = {"training", "loss"}
"""Sections that apply only to models trained by gradient descent."""


class Range(Section):
    """All numbers from `low` to `high`.

    Attributes:
        log: whether values are drawn and spaced on a logarithmic scale.
        steps: number of points on a grid; None: all integers of the range.
    """

    low: int | float = Field(ge=-1e300, le=1e300)
    high: int | float = Field(ge=-1e300, le=1e300)
    log: bool = False
    steps: Annotated[int, Field(ge=2)] | None = None


@dataclass(frozen=True)
class Dimension:
    """A key that varies.

    Attributes:
        key: dotted key, such as training.learning_rate.
        domain: the values it may take: a list of values, or a range.
        only_with: for the key of each searched choice, the choices with which this key is searched; empty: all.
    """

    key: str
    domain: tuple[Scalar, ...] | Range
    only_with: Mapping[str, tuple[Scalar, ...]] = field(default_factory=dict)

    def applies(self, drawn: Mapping[str, Scalar]) -> bool:
        """Whether the key is searched in a trial that has drawn these values so far."""
        return all(drawn.get(key) in choices for key, choices in self.only_with.items())

    @property
    def whole(self) -> bool:
        """Whether only integers are allowed: by the schema or, where the schema allows any value, by the bounds."""
        kind = _kind(self.key)
        if kind != "any" or not isinstance(self.domain, Range):
            return kind == "whole"
        return isinstance(self.domain.low, int) and isinstance(self.domain.high, int)

    def suggest(self, trial: Trial) -> Scalar:
        """Draw a value for a trial."""
        domain = self.domain
        if not isinstance(domain, Range):
            chosen: Scalar = trial.suggest_categorical(self.key, list(domain))
            return chosen
        if self.whole:
            return trial.suggest_int(self.key, int(domain.low), int(domain.high), log=domain.log)
        return trial.suggest_float(self.key, domain.low, domain.high, log=domain.log)

    @property
    def size(self) -> int:
        """Number of points on a grid, before equal ones are joined; nothing is enumerated."""
        domain = self.domain
        return len(domain) if isinstance(domain, tuple) else domain.steps or int(domain.high) - int(domain.low) + 1

    def points(self) -> list[Scalar]:
        """The values on a grid.

        Raises:
            ConfigError: the domain is a range of floats without `steps`.
        """
        domain = self.domain
        if not isinstance(domain, Range):
            return list(domain)
        if domain.steps is None:
            if not self.whole:
                raise ConfigError(
                    f"{self.key} is a range without steps, so a grid cannot enumerate it",
                    hint=f"Give steps, {self.key}: {{low: …, high: …, steps: 3}}, or a list of values; or use --tpe.",
                )
            return list(range(int(domain.low), int(domain.high) + 1))
        spaced = (np.geomspace if domain.log else np.linspace)(domain.low, domain.high, domain.steps)
        return sorted({round(value) for value in spaced}) if self.whole else [float(value) for value in spaced]


Space = tuple[Dimension, ...]


def read_space(raw: Any, origin: str) -> Space:
    """Read a search space from the `tune` section of a preset.

    Args:
        raw: for each dotted key a list of values, or a mapping with `low` and `high` (and `log`, `steps`).
        origin: where it comes from, for messages.

    Raises:
        ConfigError: it is empty, or the schema does not have a key or does not allow a value.
    """
    if not raw:
        raise ConfigError(f"{origin} has no search space", hint="Give one with --space FILE, see docs/tune.md.")
    if not isinstance(raw, dict):
        raise ConfigError(f"the search space of {origin} must be a mapping of keys to values, not {raw!r}")
    space = tuple(_dimension(key, domain, origin) for key, domain in raw.items())
    named = {each.key: each.domain for each in space if names_choice(each.key) and isinstance(each.domain, tuple)}
    space = tuple(replace(each, only_with=_conditions(each.key, named, origin)) for each in space)
    return tuple(sorted(space, key=lambda each: (len(each.only_with), not names_choice(each.key))))


def searchable(raw: Mapping[str, Any], origin: str, resolved: ResolvedConfig) -> tuple[Space, dict[str, str]]:
    """The search space for some settings.

    Args:
        raw: the contents of a `tune` section.
        origin: where it comes from, for messages.
        resolved: the settings of all trials.

    Returns:
        The space, and the keys that are left out because their value was given explicitly, each with the place that
        gave it.

    Raises:
        ConfigError: the space cannot be read, no key of it is left, or the chosen model, calibration or loss does not
            have one of its keys.
    """
    found = read_space(raw, origin)
    given = {each.key: place for each in found if (place := _given(each.key, resolved))}
    left = {key: domain for key, domain in raw.items() if key not in given}
    if not left:
        name = display_name(resolved.config)
        raise ConfigError(f"nothing is left to search for {name}", hint="Give another search space with --space FILE.")
    space = read_space(left, origin)
    _check_read(space, resolved.config, origin)
    return space, given


def draw(space: Space, trial: Trial) -> None:
    """Draw a value for every key that applies to a trial."""
    drawn: dict[str, Scalar] = {}
    for dimension in space:
        if dimension.applies(drawn):
            drawn[dimension.key] = dimension.suggest(trial)


def grid(space: Space) -> list[dict[str, Scalar]]:
    """All distinct combinations of the points, each key only where it applies; ConfigError if there are too many."""
    if (size := math.prod(dimension.size for dimension in space)) > LARGEST_GRID:
        hint = "Give fewer steps or values, or draw some: --tpe or --random with --trials N."
        raise ConfigError(f"the grid has {size:,} combinations, more than {LARGEST_GRID:,}", hint=hint)
    found: dict[tuple[tuple[str, Scalar], ...], None] = {}
    for values in itertools.product(*(dimension.points() for dimension in space)):
        drawn: dict[str, Scalar] = {}
        for dimension, value in zip(space, values, strict=True):
            if dimension.applies(drawn):
                drawn[dimension.key] = value
        found[tuple(drawn.items())] = None
    return [dict(items) for items in found]


def _given(key: str, resolved: ResolvedConfig) -> str:
    """The place that gave a key its value explicitly; empty if none did."""
    option, section = own_option(key), key.partition(".")[0]
    if not option:
        return resolved.given.get(key, "")
    has_it = option in getattr(getattr(resolved.config, section), OWN_OPTIONS, ())
    return resolved.given.get(f"{section}.{OWN_OPTIONS}", "") if has_it else ""


def _check_read(space: Space, config: RunConfig, origin: str) -> None:
    """Raise if the model, calibration or loss of a configuration does not have a searched key."""
    searched = {each.key for each in space}
    chosen = {f"{section}.{each.named_by}": getattr(config, section) for section, each in CHOICES.items()}
    for each in space:
        for key, options in chosen.items():
            if key not in searched:
                _conditions(each.key, {key: (options.choice,)}, origin)
    _check_own_options(searched, config)


def _check_own_options(searched: Collection[str], config: RunConfig) -> None:
    """Raise if a custom model or loss does not have a searched option."""
    checks: dict[str, Callable[[Any], object]] = {
        "model": lambda options: check_model(options, config.calibration),
        "loss": check_loss,
    }
    for section, check in checks.items():
        names = [own_option(key) for key in searched if key.startswith(f"{section}.") and own_option(key)]
        if names and f"{section}.{CHOICES[section].named_by}" not in searched:
            options = getattr(config, section)
            every = getattr(options, OWN_OPTIONS) | dict.fromkeys(names)
            check(options.model_copy(update={OWN_OPTIONS: every}))


def _conditions(key: str, named: Mapping[str, tuple[Scalar, ...]], origin: str) -> dict[str, tuple[Scalar, ...]]:
    """The choices that have a key, for each kind of choice where not all have it.

    Args:
        key: dotted key.
        named: choices by the key that names them, such as `model.name`.
        origin: where the search space comes from.

    Raises:
        ConfigError: none of the choices has the key.
    """
    section, _, name = key.partition(".")
    conditions = {}
    for naming, choices in named.items():
        chosen = CHOICES[naming.partition(".")[0]]
        readers = choices
        if section == chosen.section:
            field = OWN_OPTIONS if own_option(key) else name
            readers = tuple(choice for choice in choices if field in chosen.find(choice).model_fields)
            if not readers:
                where = f" (search space of {origin})"
                raise ConfigError(unknown_key(key, where, list(map(str, choices))), hint=_ANOTHER_SPACE)
        elif section in _TRAINED and chosen is MODELS:
            readers = tuple(choice for choice in choices if MODELS.find(choice).trained)
            if not readers:
                raise ConfigError(
                    f"{key} (search space of {origin}): {choices[0]} is not trained by gradients and has no such key",
                    hint=_ANOTHER_SPACE,
                )
        if readers != choices:
            conditions[naming] = readers
    return conditions


def names_choice(key: str) -> bool:
    """Whether a dotted key chooses a model, a calibration or a loss."""
    section, _, name = key.partition(".")
    return section in CHOICES and name == CHOICES[section].named_by


def _dimension(key: Any, domain: Any, origin: str) -> Dimension:
    where = f"{key} in the search space of {origin}"
    if not isinstance(key, str):
        raise ConfigError(f"{where} is not a key such as training.learning_rate")
    _check_searchable(key, where)
    if isinstance(domain, list):
        values = tuple(domain)
        if not values:
            raise ConfigError(f"{where} has no values")
        for value in values:
            check_value(key, value, origin)
            if not isinstance(value, Scalar):
                raise ConfigError(f"{where}: {value} is not a single value")
        return Dimension(key, values)
    if not isinstance(domain, dict):
        raise ConfigError(f"{where} must be a list of values or a mapping with low and high, not {domain!r}")
    bounds = _range(where, domain)
    for bound in (bounds.low, bounds.high):
        check_value(key, int(bound) if float(bound).is_integer() else bound, origin)
    if _kind(key) == "other":
        raise ConfigError(f"{where} has bounds but is not a number: give a list of values")
    return Dimension(key, bounds)


def _check_searchable(key: str, where: str) -> None:
    section, _, name = key.partition(".")
    if section in _SHARED or (section == "training" and name in _FIXED):
        raise ConfigError(
            f"{where} cannot be searched: all trials share data, seed and metric",
            hint=f"Set it for all trials with --set {key}=…",
        )


def _range(where: str, domain: dict[str, Any]) -> Range:
    for name in domain:
        if name not in Range.model_fields:
            raise ConfigError(f"{where}: unknown '{name}'; {nearest(str(name), Range.model_fields)}")
    try:
        bounds = Range.model_validate(domain)
    except ValidationError as error:
        first = error.errors()[0]
        raise ConfigError(f"{where}: {'.'.join(map(str, first['loc']))}: {first['msg'].lower()}") from error
    if bounds.low >= bounds.high:
        raise ConfigError(f"{where} is empty: low {bounds.low:g} is not below high {bounds.high:g}")
    if bounds.log and bounds.low <= 0:
        raise ConfigError(f"{where}: low of a logarithmic range must be above 0, not {bounds.low:g}")
    return bounds


def _kind(key: str) -> Literal["whole", "fraction", "any", "other"]:
    if own_option(key):
        return "any"
    annotation = schema_fields(key)[0].annotation
    kinds = {annotation, *get_args(annotation)}
    return "whole" if int in kinds else "fraction" if float in kinds else "other"
