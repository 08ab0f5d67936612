"""The schema as a whole: keys of all choices and their owners; conversion between dotted keys and nested settings."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from pydantic.fields import FieldInfo

from actsr_cli.config.calibration import CALIBRATIONS
from actsr_cli.config.data import DataConfig
from actsr_cli.config.evaluation import EvaluationConfig
from actsr_cli.config.losses import LOSSES
from actsr_cli.config.models import MODELS
from actsr_cli.config.run import RunConfig
from actsr_cli.config.section import Choice, Choices, Section
from actsr_cli.config.split import SPLITS
from actsr_cli.config.training import TrainingConfig

CHOICES: dict[str, Choices[Any]] = {each.section: each for each in (SPLITS, MODELS, CALIBRATIONS, LOSSES)}
"""The sections that offer choices."""
OWN_OPTIONS = "options"
"""The key of a section that holds the settings of a custom model or loss."""
_OTHERS: dict[str, type[Section]] = {"data": DataConfig, "training": TrainingConfig, "evaluation": EvaluationConfig}

Chosen = Mapping[str, type[Choice]]
"""The options class of each section that offers choices."""


def options_of(section: str) -> tuple[type[Section], ...]:
    """All options classes of a section; empty if there is no such section."""
    if section in CHOICES:
        return CHOICES[section].classes
    return (_OTHERS[section],) if section in _OTHERS else ()


def schema_keys() -> list[str]:
    """All dotted keys of a configuration, over all choices."""
    keys: dict[str, None] = {}
    for name in RunConfig.model_fields:
        options = options_of(name)
        keys |= dict.fromkeys([f"{name}.{key}" for each in options for key in each.model_fields] if options else [name])
    return list(keys)


def schema_fields(key: str) -> list[FieldInfo]:
    """The fields of a dotted key, one for each choice that has it; empty for an unknown key.

    A single option of a custom model or loss, such as model.options.depth, accepts any value.
    """
    section, dot, name = key.partition(".")
    if own_option(key):
        return [FieldInfo(annotation=object)]
    owners = options_of(section) if dot else (RunConfig,)
    return [owner.model_fields[name] for owner in owners if name in owner.model_fields]


def own_option(key: str) -> str:
    """The option's name if a dotted key is an option of a custom model or loss, else an empty text."""
    section, _, name = key.partition(".")
    whole, _, option = name.partition(".")
    has_own = section in CHOICES and CHOICES[section].own is not None
    return option if has_own and whole == OWN_OPTIONS else ""


def chosen(values: Mapping[str, Any]) -> dict[str, type[Choice]]:
    """The choices made in nested settings; unknown choices are left out."""
    found: dict[str, type[Choice]] = {}
    for section, choices in CHOICES.items():
        part = values.get(section, {})
        if isinstance(part, Mapping):
            try:
                found[section] = choices.find(part.get(choices.named_by, choices.default))
            except ValueError:
                continue
    return found


def without_foreign(values: Mapping[str, Any], choice: Chosen) -> dict[str, Any]:
    """Nested settings without the keys that the choices do not have."""
    return {
        section: {key: value for key, value in part.items() if key in choice[section].model_fields}
        if section in choice and isinstance(part, Mapping)
        else part
        for section, part in values.items()
    }


def spelled_out(values: Mapping[str, Any]) -> dict[str, Any]:
    """Nested settings with each choice as a mapping, also where only its name is given (`loss: bpr`)."""
    return {key: CHOICES[key].named(value) if key in CHOICES else value for key, value in values.items()}


def nested(key: str, value: object) -> dict[str, Any]:
    """Nested mappings with one value under a dotted key."""
    inner: Any = value
    for part in reversed(key.split(".")):
        inner = {part: inner}
    return dict(inner)


def merged(below: Mapping[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
    """Merge two nested mappings; values of `above` win."""
    together = dict(below)
    for key, value in above.items():
        both = isinstance(value, Mapping) and isinstance(together.get(key), Mapping)
        together[key] = merged(together[key], value) if both else value
    return together


def leaves(values: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """Yield dotted keys with their values. Sections are split into keys; values that are mappings are not."""
    for key, value in values.items():
        if options_of(key) and isinstance(value, Mapping):
            yield from ((f"{key}.{name}", inner) for name, inner in value.items())
        else:
            yield key, value
