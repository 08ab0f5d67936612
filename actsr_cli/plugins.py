"""Classes by `module:Class`: the built-in ones, imported when one is used, and models and losses of one's own."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from importlib import import_module
from pathlib import Path
from typing import TypeVar

from actsr_cli.errors import ConfigError, nearest

SEE_TRACEBACK = "actsr --debug … shows where."

T = TypeVar("T")


def import_class(target: str, base: type[T] | tuple[type[T], ...], *, what: str, hint: str) -> type[T]:
    """The class at `module:Class`; modules in the working directory are found, too.

    Args:
        target: where it is.
        base: what it must be a subclass of.
        what: what it is for, such as `model`.
        hint: said where it is something else.

    Raises:
        ConfigError: it cannot be imported, or is no such class.
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
        problem = "has no such class" if found is None else f"holds something else than a {what} class"
        raise ConfigError(f"{what} '{target}': {module_name} {problem}", hint=hint)
    return found


def check_own_options(section: str, given: Iterable[str], known: Iterable[str], title: str) -> None:
    """Raise where `options` of a section has what a class of one's own does not read.

    Raises:
        ConfigError: it has.
    """
    known = tuple(known)
    for option in given:
        if option not in known:
            problem = f"; {nearest(option, known)}" if known else ": it takes none"
            raise ConfigError(f"unknown key '{section}.options.{option}' for {title}{problem}")


def in_words(error: Exception) -> str:
    """An error of somebody's code in one line."""
    return f"{type(error).__name__}: {error}"
