"""Checks settings against the schema. Errors say which key is wrong, where it came from, and what to write."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from typing import Annotated, Any

from pydantic import TypeAdapter, ValidationError
from pydantic_core import ErrorDetails

from actsr_cli.config.calibration import FullCalibration
from actsr_cli.config.run import RunConfig
from actsr_cli.config.schema import CHOICES, schema_fields, schema_keys
from actsr_cli.config.split import SPLITS
from actsr_cli.errors import ConfigError, nearest
from actsr_cli.words import shortened

_FORMER = {
    "model.calibration": "calibration.kind",
    **{
        f"model.{key}": f"calibration.{key}"
        for key in FullCalibration.model_fields
        if key not in ("kind", "mask_weight")
    },
    "training.loss": "loss.name",
    "training.mask_weight": "calibration.mask_weight",
    "training.gbce_calibration": "loss.calibration",
    **{f"training.{key}": f"loss.{key}" for key in ("negatives", "negative_sampling", "label_smoothing")},
}
"""Keys of version 0.1 and their present names."""


def checked(values: Mapping[str, Any], origins: Mapping[str, str]) -> RunConfig:
    """Validate nested settings and return the configuration.

    Args:
        values: the settings.
        origins: the source of each dotted key; the latest comes last.

    Raises:
        ConfigError: the schema refuses them.
    """
    try:
        return RunConfig.model_validate(values)
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(shortened(str(part)) for part in first["loc"])
        origin = _blamed(key, origins)
        where = f" ({origin})" if origin else ""
        if first["type"] == "extra_forbidden":
            message = unknown_key(key, where, _names_of_choice(values, key))
            raise ConfigError(message, hint=_split_to_name(key)) from error
        if not key:  # incompatible settings; the message names them
            raise ConfigError(problem(first)) from error
        shown = "" if isinstance(first["input"], dict) else f" = {_shown(first['input'])}"
        raise ConfigError(f"{key}{shown}{where}: {problem(first)}") from error


def check_value(key: str, value: object, origin: str) -> None:
    """Check a value of one key, independently of all other keys.

    Args:
        key: dotted.
        value: the value; at least one of the choices that have the key must accept it.
        origin: the source of the value, for the message.

    Raises:
        ConfigError: the key does not exist, or the schema refuses the value.
    """
    section, _, name = key.partition(".")
    if section in CHOICES and name == CHOICES[section].named_by:
        try:
            CHOICES[section].find(value)
        except ValueError as error:
            raise ConfigError(f"{key} = {_shown(value)} ({origin}): {error}") from error
        return
    refusals = []
    for field in schema_fields(key):
        try:
            adapter: TypeAdapter[Any] = TypeAdapter(Annotated[field.annotation, field])  # type: ignore[arg-type]
            adapter.validate_python(value)
        except ValidationError as error:
            refusals.append(error)
        else:
            return
    if not refusals:
        raise ConfigError(unknown_key(key, f" ({origin})", []))
    raise ConfigError(f"{key} = {_shown(value)} ({origin}): {problem(refusals[0].errors()[0])}") from refusals[0]


def unknown_key(key: str, where: str, choice: Sequence[str]) -> str:
    """The message for a key that the chosen options do not have: which choice has it, or the most similar key.

    Args:
        key: dotted.
        where: its source in parentheses, or an empty text.
        choice: names of the choices made in the key's section, usually one.
    """
    if key in _FORMER:
        return f"unknown key '{key}'{where}: since version 0.2 it is '{_FORMER[key]}'"
    section, _, name = key.partition(".")
    owners = _owners(section, name)
    if not owners or not choice:
        return f"unknown key '{key}'{where}; {_nearest_key(key)}"
    whose = _listed(choice) if section == "model" else f"{section} {_listed(choice)}"
    verb = "has" if len(choice) == 1 else "have"
    return f"{key}{where}: {whose} {verb} no such key, it belongs to {_listed(owners)}"


def problem(error: ErrorDetails) -> str:
    """The reason of a validation error, in terms of YAML instead of Python."""
    if error["type"] == "model_type":
        return "must be a section of keys"
    text = error["msg"].removeprefix("Value error, ").removeprefix("Input ")
    return re.sub(r"^should ", "must ", text[0].lower() + text[1:]).replace("tuple", "list")


def _shown(value: object) -> str:
    """A value for a message."""
    return shortened(json.dumps(value, default=str))


def _names_of_choice(values: Mapping[str, Any], key: str) -> list[str]:
    section = key.partition(".")[0]
    if section not in CHOICES:
        return []
    part = values.get(section)
    chosen = part if isinstance(part, Mapping) else {}
    return [str(chosen.get(CHOICES[section].named_by, CHOICES[section].default))]


def _split_to_name(key: str) -> str | None:
    """The hint for a key of another split: that split must be named, even if the data are split into files."""
    section, _, name = key.partition(".")
    owners = _owners(section, name) if section == SPLITS.section else []
    if not owners:
        return None
    return "Also name the split: " + " or ".join(f"--set {section}.{SPLITS.named_by}={owner}" for owner in owners)


def _owners(section: str, name: str) -> list[str]:
    """Names of the choices that have a key of a section, for messages."""
    choices = CHOICES.get(section)
    if choices is None:
        return []
    key = name.partition(".")[0]
    own = choices.own is not None and key in choices.own.model_fields
    return choices.owners(key) or ([f"a {section} of your own"] if own else [])


def _listed(names: Sequence[str]) -> str:
    return " and ".join(filter(None, (", ".join(names[:-1]), names[-1])))


def _blamed(key: str, origins: Mapping[str, str]) -> str:
    """The source of a refused key: its own, that of the value it is part of, or the latest of its parts."""
    if key in origins:
        return origins[key]
    whole = [origin for known, origin in origins.items() if key.startswith(f"{known}.")]
    parts = [origin for known, origin in origins.items() if known.startswith(f"{key}.")]
    return (whole or parts or [""])[-1]


def _nearest_key(key: str) -> str:
    """A suggestion: the same key name in another section, else the most similar key."""
    keys = schema_keys()
    section, dot, last = key.rpartition(".")
    if last in CHOICES:
        return f"did you mean '{last}.{CHOICES[last].named_by}'?"
    beside = [known for known in keys if known.rpartition(".")[0] == section]
    sections = {known.partition(".")[0] for known in keys}
    elsewhere = [known for known in keys if known.rpartition(".")[2] == last]
    if elsewhere:
        return f"did you mean '{elsewhere[0]}'?"
    return nearest(key, beside if dot and beside else keys if dot else sections)
