"""Reads settings from YAML files and from `section.key=value` texts.

Of YAML, settings need mappings, lists, texts, numbers, true, false and null. Tags are refused: they name types of other
languages. Aliases may repeat a value, but not make a short text a huge one. Dates stay texts.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

from actsr_cli.config.schema import leaves, nested, spelled_out
from actsr_cli.errors import ConfigError
from actsr_cli.words import shortened

_LARGEST = 2**18
"""Number of bytes of a text above which it is not read: settings take a hundredth of it."""
_DEEPEST = 20
"""Number of levels of mappings and lists."""
_MOST = 20_000
"""Number of values of a text; what an alias repeats counts again."""


def parse_override(text: str) -> dict[str, Any]:
    """Parse `section.key=value` into nested mappings; the value is YAML.

    Raises:
        ConfigError: there is no `=`, or the value is not YAML.
    """
    key, equals, value = text.partition("=")
    key = key.strip()
    if not equals or not key:
        raise ConfigError(f"--set takes section.key=value, not '{shortened(text)}'")
    if key.count(".") >= _DEEPEST:
        raise ConfigError(f"--set: no key has so many parts: '{shortened(key)}'")
    try:
        return nested(key, parse_yaml(value))
    except ConfigError as error:
        raise ConfigError(f"--set {shortened(key)}: '{shortened(value)}' is not a YAML value: {error}") from error


def override_keys(texts: Sequence[str]) -> set[str]:
    """The dotted keys that `section.key=value` texts set; `calibration=full` sets `calibration.kind`.

    Raises:
        ConfigError: see `parse_override`.
    """
    return {key for text in texts for key, _ in leaves(spelled_out(parse_override(text)))}


def read_yaml(path: Path) -> dict[str, Any]:
    """Read a mapping from a YAML file.

    Raises:
        ConfigError: the file is missing, malformed, or not a mapping.
    """
    try:
        with path.open("rb") as file:
            text = file.read(_LARGEST + 1).decode("utf-8")
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path} is not well-formed YAML: byte {error.start + 1} is no utf-8") from error
    except (OSError, ValueError) as error:  # ValueError: a name with a null character
        missing = isinstance(error, FileNotFoundError | NotADirectoryError | ValueError)
        reason = getattr(error, "strerror", None)
        raise ConfigError(f"no file {path}" if missing else f"{path} cannot be read: {reason}") from error
    try:
        values = parse_yaml(text)
    except ConfigError as error:
        raise ConfigError(f"{path} is not well-formed YAML: {error}") from error
    if values is None:
        return {}
    if not isinstance(values, dict):
        raise ConfigError(f"{path} must hold sections with keys, not a {type(values).__name__}")
    return values


def parse_yaml(text: str) -> Any:
    """The value of a YAML text.

    Raises:
        ConfigError: it is malformed, too large, nested too deeply, or has tags or a key that is given twice.
    """
    if len(text) > _LARGEST:
        raise ConfigError(f"it is larger than {_LARGEST // 1024} KB, so it holds no settings")
    try:
        return yaml.load(text, _Loader)  # noqa: S506 (a SafeLoader)
    except (yaml.YAMLError, ValueError) as error:  # ValueError: a number of more digits than Python reads
        raise ConfigError(shortened(_place(error), 200)) from error


class _Loader(yaml.SafeLoader):
    """A YAML loader of plain values, which reads 1e-3 as a number and refuses a key that is given twice."""

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self.depth = self.values = 0
        self.sizes: dict[int, int] = {}  # values within each node that is complete

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        event = self.peek_event()  # type: ignore[no-untyped-call]
        if getattr(event, "tag", None) not in (None, "!"):
            raise _refusal(f"could not determine what tag '{event.tag}' means: leave it out", event.start_mark)
        if self.depth == _DEEPEST:
            raise _refusal("it is nested too deeply", event.start_mark)
        before = self.values
        self.depth += 1
        node = super().compose_node(parent, index)
        self.depth -= 1
        if not isinstance(event, yaml.AliasEvent):
            self.values += 1
            self.sizes[id(node)] = self.values - before
        elif id(node) not in self.sizes:
            raise _refusal(f"'*{event.anchor}' stands within what it repeats", event.start_mark)
        else:
            self.values += self.sizes[id(node)]
        if self.values > _MOST:
            raise _refusal(f"it has more than {_MOST} values", event.start_mark)
        return node

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen: set[str] = set()
        for key in (key for key, _ in node.value):
            if not isinstance(key, yaml.ScalarNode) or not (key.value or key.style):  # nothing at all
                raise _refusal("a key must be a text", key.start_mark)
            if key.tag != _MERGE:
                key.tag = _TEXT  # also where a value would be a number, true, false or null
            if key.value in seen:
                raise _refusal(f"key '{key.value}' is given twice", key.start_mark)
            seen.add(key.value)
        return super().construct_mapping(node, deep)


_TEXT, _MERGE = "tag:yaml.org,2002:str", "tag:yaml.org,2002:merge"
_PLAIN = tuple(f"tag:yaml.org,2002:{kind}" for kind in ("bool", "merge", "null"))
_Loader.yaml_implicit_resolvers = {
    first: [(tag, form) for tag, form in resolvers if tag in _PLAIN]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
# YAML 1.1 would read 010 as 8, 1:30 as 90, and 1e-3 as a text.
_EXPONENT = r"[eE][-+]?[0-9]+"
_NUMBERS = {
    "int": r"[-+]?(0|[1-9][0-9_]*)",
    "float": rf"[-+]?([0-9][0-9_]*\.[0-9_]*|\.[0-9][0-9_]*)({_EXPONENT})?|[-+]?[0-9][0-9_]*{_EXPONENT}"
    r"|[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)",
}
for _kind, _form in _NUMBERS.items():
    _Loader.add_implicit_resolver(f"tag:yaml.org,2002:{_kind}", re.compile(f"^({_form})$"), list("-+.0123456789"))


def _refusal(problem: str, place: Any) -> yaml.YAMLError:
    return yaml.constructor.ConstructorError(None, None, problem, place)


def _place(error: Exception) -> str:
    mark = getattr(error, "problem_mark", None)
    problem = getattr(error, "problem", None) or " ".join(str(error).split())
    return problem if mark is None else f"line {mark.line + 1}, column {mark.column + 1}: {problem}"
