"""Imports classes by `module:Class`: built-in ones when they are used, and custom models and losses."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from importlib import import_module
from pathlib import Path
from typing import TypeVar

from actsr_cli.errors import ConfigError, nearest

SEE_TRACEBACK = "Run actsr --debug … to see the traceback."

T = TypeVar("T")


def import_class(target: str, base: type[T] | tuple[type[T], ...], *, what: str, hint: str) -> type[T]:
    """The class at `module:Class`; modules in the working directory are found as well.

    Args:
        target: module and class.
        base: the class, or classes, that it must be a subclass of.
        what: what the class is for, such as `model`.
        hint: hint of the error if there is no such class.

    Raises:
        ConfigError: the module cannot be imported, or has no such class.
    """
    module_name, _, class_name = target.partition(":")
    if not all(part.isidentifier() for part in (*module_name.split("."), class_name)):
        raise ConfigError(f"{what} '{target}' is not of the form package.module:Class")
    here = str(Path.cwd())
    if here not in sys.path:
        sys.path.append(here)
    try:
        module = import_module(module_name)
    except Exception as error:
        raise ConfigError(f"{what} '{target}' cannot be imported: {in_words(error)}", hint=SEE_TRACEBACK) from error
    found = getattr(module, class_name, None)
    if not isinstance(found, type) or not issubclass(found, base):
        problem = "has no such class" if found is None else f"holds something that is not a {what} class"
        raise ConfigError(f"{what} '{target}': {module_name} {problem}", hint=hint)
    return found


def check_own_options(section: str, given: Iterable[str], known: Iterable[str], title: str) -> None:
    """Check that a custom class reads every key in the `options` of its section.

    Raises:
        ConfigError: it does not read a key.
    """
    known = tuple(known)
    for option in given:
        if option not in known:
            problem = f"; {nearest(option, known)}" if known else ": it takes none"
            raise ConfigError(f"unknown key '{section}.options.{option}' for {title}{problem}")


def in_words(error: Exception) -> str:
    """An error of a custom class in one line."""
    return f"{type(error).__name__}: {error}"
