"""Presets, and how a run's configuration comes together: defaults < preset < file < --set < options."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Annotated, Any, cast

import yaml
from pydantic import BaseModel, TypeAdapter, ValidationError
from pydantic.fields import FieldInfo
from pydantic_core import ErrorDetails

from actsr_cli.config import RunConfig
from actsr_cli.errors import ConfigError, nearest

DEFAULT = "default"
TUNE = "tune"
"""The section of a preset that holds a search space."""
_OPTIONS = {"model.name": "--model", "data.intervals": "--interval"}
_PACKAGE = Path(__file__).parent


@dataclass(frozen=True)
class Preset:
    """A file of settings.

    Attributes:
        name: its name, or the path where it was given by one.
        path: the file.
        values: its settings, as nested mappings.
        config: the same over the defaults.
        space: its `tune` section, which only `actsr tune` reads: what to search, by dotted key.
    """

    name: str
    path: Path
    values: dict[str, Any]
    config: RunConfig
    space: dict[str, Any]

    @property
    def origin(self) -> str:
        """How it is called as the source of a setting."""
        return f"preset {self.name}"


@dataclass(frozen=True)
class ResolvedConfig:
    """A configuration that knows where it came from.

    Attributes:
        config: the settings.
        sources: for every dotted key, `default`, `preset NAME`, `file PATH`, `--set` or the option's name.
        preset: the preset behind it, or None.
    """

    config: RunConfig
    sources: dict[str, str]
    preset: Preset | None = None

    @property
    def given(self) -> dict[str, str]:
        """Sources of what was given on purpose: not by default, nor by the preset, which may serve several models."""
        own = {DEFAULT, self.preset.origin if self.preset else DEFAULT}
        return {key: source for key, source in self.sources.items() if source not in own}


def preset_folder() -> Path:
    """Where the shipped presets are: in the package when installed, beside it in a checkout."""
    installed = _PACKAGE / "preset_files"
    return installed if installed.is_dir() else _PACKAGE.parent / "presets"


def preset_names() -> list[str]:
    """Names of the shipped presets."""
    return sorted(path.stem for path in preset_folder().glob("*.yaml"))


def load_preset(name: str | Path) -> Preset:
    """A shipped preset by name, or any preset by the path of its file.

    Raises:
        ConfigError: there is no such preset, or it holds what the schema refuses.
    """
    text = str(name)
    shipped = text in preset_names()
    path = preset_folder() / f"{text}.yaml" if shipped else Path(text)
    is_path = path.suffix in (".yaml", ".yml") or len(path.parts) > 1 or path.is_file()
    if not is_path:
        raise ConfigError(f"unknown preset '{text}'; {nearest(text, preset_names())}", hint="All: actsr presets")
    values, space = _settings_and_space(path)
    config = _validate(values, {key: f"preset {text}" for key, _ in _leaves(values)})
    return Preset(text, path, values, config, space)


def _settings_and_space(path: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    """What a file in the schema of a preset sets, and its `tune` section."""
    values = read_yaml(path)
    space = values.pop(TUNE, None) or {}
    if not isinstance(space, dict):
        raise ConfigError(f"{TUNE} in {path} must be a section of keys, not a {type(space).__name__}")
    return values, space


@cache
def preset_for(*datasets: str) -> str | None:
    """The preset made for a data set that goes by these names (not its published variant), or None."""
    names = [name for name in preset_names() if not name.endswith("-published")]
    wanted = set(datasets) - {""}
    return next((name for name in names if load_preset(name).config.dataset in wanted), None)


def resolve(
    *,
    preset: str | Path | None = None,
    file: Path | None = None,
    overrides: Sequence[str] = (),
    options: Mapping[str, object] | None = None,
) -> ResolvedConfig:
    """Put a configuration together; what comes later wins.

    Args:
        preset: name or path of a preset.
        file: a YAML file in the schema of a preset.
        overrides: `section.key=value` texts, values in YAML.
        options: dotted keys with their values; None means not given.

    Raises:
        ConfigError: a source is missing or malformed, or holds what the schema refuses: which key, from where, and what
            to write.
    """
    loaded = None if preset is None else load_preset(preset)
    layers: list[tuple[str, dict[str, Any]]] = []
    if loaded is not None:
        layers.append((loaded.origin, loaded.values))
    if file is not None:
        layers.append((f"file {file}", _settings_and_space(file)[0]))
    layers += [("--set", parse_override(text)) for text in overrides]
    given = {key: value for key, value in (options or {}).items() if value is not None}
    layers += [(option_name(key), _nest(key, value)) for key, value in given.items()]
    values: dict[str, Any] = {}
    origins: dict[str, str] = {}
    for origin, layer in layers:
        values = _merged(values, layer)
        for key, _ in _leaves(layer):
            origins.pop(key, None)  # the latest origin stands last
            origins[key] = origin
    config = _validate(values, origins)
    sources = {key: origins.get(key, DEFAULT) for key, _ in _leaves(config.model_dump())}
    return ResolvedConfig(config, sources, loaded)


def preset_name(resolved: ResolvedConfig) -> str | None:
    """The preset behind a configuration as any other command finds it: a name, or the whole path of a file."""
    preset = resolved.preset
    if preset is None:
        return None
    return preset.name if preset.name in preset_names() else str(preset.path.resolve())


def with_values(config: RunConfig, values: Mapping[str, object]) -> RunConfig:
    """A configuration with other values of some dotted keys.

    Raises:
        ConfigError: they do not go together with the rest.
    """
    merged: dict[str, Any] = config.model_dump()
    for key, value in values.items():
        merged = _merged(merged, _nest(key, value))
    return _validate(merged, {})


def option_name(key: str) -> str:
    """The command-line option that sets a dotted key: training.batch_size is --batch-size."""
    return _OPTIONS.get(key) or "--" + key.rpartition(".")[2].replace("_", "-")


def parse_override(text: str) -> dict[str, Any]:
    """`section.key=value` as nested mappings, the value read as YAML.

    Raises:
        ConfigError: there is no `=`, or the value is no YAML.
    """
    key, equals, value = text.partition("=")
    if not equals or not key.strip():
        raise ConfigError(f"--set takes section.key=value, not '{text}'")
    try:
        return _nest(key.strip(), yaml.load(value, _Loader))  # noqa: S506 (a SafeLoader)
    except yaml.YAMLError as error:
        raise ConfigError(f"--set {key.strip()}: '{value}' is no YAML value: {_place(error)}") from error


def read_yaml(path: Path) -> dict[str, Any]:
    """A mapping from a YAML file.

    Raises:
        ConfigError: the file is missing, malformed, or holds something else.
    """
    if not path.is_file():
        raise ConfigError(f"no file {path}")
    try:
        values = yaml.load(path.read_text(encoding="utf-8"), _Loader)  # noqa: S506 (a SafeLoader)
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} is not well-formed YAML: {_place(error)}") from error
    if values is None:
        return {}
    if not isinstance(values, dict):
        raise ConfigError(f"{path} must hold sections with keys, not a {type(values).__name__}")
    return values


def schema_keys() -> list[str]:
    """Every dotted key that a configuration may have."""
    return [key for key, _ in _leaves(RunConfig().model_dump())]


def check_value(key: str, value: object, origin: str) -> None:
    """Raise where the schema refuses a value of a key, whatever the other keys are.

    Args:
        key: dotted.
        value: what it would be.
        origin: where that is from, for the message.

    Raises:
        ConfigError: there is no such key, or not with this value.
    """
    if key not in schema_keys():
        raise ConfigError(f"unknown key '{key}' ({origin}); {_nearest_key(key)}")
    field = schema_field(key)
    try:
        adapter: TypeAdapter[Any] = TypeAdapter(Annotated[field.annotation, field])  # type: ignore[arg-type]
        adapter.validate_python(value)
    except ValidationError as error:
        raise ConfigError(
            f"{key} = {json.dumps(value, default=str)} ({origin}): {_problem(error.errors()[0])}"
        ) from error


def schema_field(key: str) -> FieldInfo:
    """What the schema says of a known dotted key."""
    section, dot, name = key.rpartition(".")
    owner = type(getattr(RunConfig(), section)) if dot else RunConfig
    return cast(type[BaseModel], owner).model_fields[name]


class _Loader(yaml.SafeLoader):
    """YAML in which 1e-3 is a number and no key may be given twice."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen: set[str] = set()
        for key in (key for key, _ in node.value if isinstance(key, yaml.ScalarNode)):
            if key.value in seen:
                raise yaml.constructor.ConstructorError(None, None, f"key '{key.value}' is given twice", key.start_mark)
            seen.add(key.value)
        return super().construct_mapping(node, deep)


_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float", re.compile(r"^[-+]?([0-9]+\.?|[0-9]*\.[0-9]+)[eE][-+]?[0-9]+$"), list("-+.0123456789")
)


def _place(error: Exception) -> str:
    mark = getattr(error, "problem_mark", None)
    problem = getattr(error, "problem", None) or " ".join(str(error).split())
    return problem if mark is None else f"line {mark.line + 1}, column {mark.column + 1}: {problem}"


def _nest(key: str, value: object) -> dict[str, Any]:
    nested: Any = value
    for part in reversed(key.split(".")):
        nested = {part: nested}
    return dict(nested)


def _merged(below: Mapping[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
    merged = dict(below)
    for key, value in above.items():
        both = isinstance(value, Mapping) and isinstance(merged.get(key), Mapping)
        merged[key] = _merged(merged[key], value) if both else value
    return merged


def _leaves(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Dotted keys and their values; a section's keys one by one, a value that is itself a mapping whole."""
    sections = RunConfig.model_fields
    for key, value in values.items():
        field = sections.get(key) if not prefix else None
        is_section = (
            field is not None and isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel)
        )
        if is_section and isinstance(value, Mapping):
            yield from _leaves(value, f"{key}.")
        else:
            yield f"{prefix}{key}", value


def _validate(values: Mapping[str, Any], origins: Mapping[str, str]) -> RunConfig:
    try:
        return RunConfig.model_validate(values)
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(str(part) for part in first["loc"])
        origin = _blamed(key, origins)
        where = f" ({origin})" if origin else ""
        if first["type"] == "extra_forbidden":
            raise ConfigError(f"unknown key '{key}'{where}; {_nearest_key(key)}") from error
        if not key:  # settings that do not go together; the message names them
            raise ConfigError(_problem(first)) from error
        shown = "" if isinstance(first["input"], dict) else f" = {json.dumps(first['input'], default=str)}"
        raise ConfigError(f"{key}{shown}{where}: {_problem(first)}") from error


def _problem(error: ErrorDetails) -> str:
    """What the schema says, in the words of this file's reader."""
    if error["type"] == "model_type":
        return "must be a section of keys"
    text = error["msg"].removeprefix("Value error, ").removeprefix("Input ")
    return re.sub(r"^should ", "must ", text[0].lower() + text[1:]).replace("tuple", "list")


def _blamed(key: str, origins: Mapping[str, str]) -> str:
    """Where a refused key came from: itself, the value it is part of, or the latest of what it consists of."""
    if key in origins:
        return origins[key]
    whole = [origin for known, origin in origins.items() if key.startswith(f"{known}.")]
    parts = [origin for known, origin in origins.items() if known.startswith(f"{key}.")]
    return (whole or parts or [""])[-1]


def _nearest_key(key: str) -> str:
    """The closest known key: first among those of the same section, then by its last part anywhere."""
    keys = schema_keys()
    section, dot, last = key.rpartition(".")
    beside = [known for known in keys if known.rpartition(".")[0] == section]
    sections = {known.partition(".")[0] for known in keys}
    elsewhere = [known for known in keys if known.rpartition(".")[2] == last]
    if elsewhere:
        return f"did you mean '{elsewhere[0]}'?"
    return nearest(key, beside if dot and beside else keys if dot else sections)
