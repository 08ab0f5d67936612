"""Reads settings from YAML files and from `section.key=value` texts."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import yaml

from actsr_cli.config.schema import nested
from actsr_cli.errors import ConfigError


def parse_override(text: str) -> dict[str, Any]:
    """Parse `section.key=value` into nested mappings; the value is YAML.

    Raises:
        ConfigError: there is no `=`, or the value is not YAML.
    """
    key, equals, value = text.partition("=")
    if not equals or not key.strip():
        raise ConfigError(f"--set takes section.key=value, not '{text}'")
    try:
        return nested(key.strip(), yaml.load(value, _Loader))  # noqa: S506 (a SafeLoader)
    except yaml.YAMLError as error:
        raise ConfigError(f"--set {key.strip()}: '{value}' is not a YAML value: {_place(error)}") from error


def read_yaml(path: Path) -> dict[str, Any]:
    """Read a mapping from a YAML file.

    Raises:
        ConfigError: the file is missing, malformed, or not a mapping.
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


class _Loader(yaml.SafeLoader):
    """A YAML loader that reads 1e-3 as a number and refuses a key that is given twice."""

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
