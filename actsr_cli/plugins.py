"""Imports classes by `module:Class`: built-in ones when they are used, and custom models and losses."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Mapping
from importlib import import_module
from pathlib import Path
from typing import TypeVar

from actsr_cli.errors import ConfigError, nearest
from actsr_cli.words import shortened

SEE_TRACEBACK = "Run actsr --debug … to see the traceback."

TRUST = "ACTSR_TRUST_CODE"
"""Environment variable: 1 trusts the code that runs name."""

T = TypeVar("T")

EVERYTHING = "*"
"""For `trust`: all code that runs name."""

_named_by_runs: set[str] = set()
"""Each `module:Class` that a run's folder names."""
_trusted: set[str] = set()
"""Each `module:Class` that the user named, or said to trust."""


def named_by_run(target: str) -> None:
    """Note that a run's folder names a class: it is not imported unless the user names it, too, or trusts it.

    Args:
        target: module and class; other names, of built-in and installed classes, do not matter.
    """
    if ":" in target:
        _named_by_runs.add(target)


def trust(*targets: str) -> None:
    """Allow importing classes that runs name: the user has named them, or said to trust them."""
    _trusted.update(targets)


def registered(name: str, points: Mapping[str, str]) -> str:
    """The `module:Class` of a name; one that an installed package registers is trusted, even if a run names it, too.

    Args:
        name: the name of an entry point, or already `module:Class`.
        points: the entry points.
    """
    if name in points:
        trust(points[name])
    return points.get(name, name)


def trust_nothing() -> None:
    """Forget what is trusted, as at the start of a command."""
    _trusted.clear()


def check_trusted(target: str, what: str) -> None:
    """Check that a class may be imported.

    Raises:
        ConfigError: only the folder of a run names it.
    """
    if target in _named_by_runs - _trusted and EVERYTHING not in _trusted and os.environ.get(TRUST) != "1":
        raise ConfigError(
            f"{what} '{shortened(target)}' is code that only the folder of a run names: it is not imported unasked",
            hint=f"If you trust it: --trust-code, in Python trust_code=True, or {TRUST}=1 in the environment.",
        )


def import_class(target: str, base: type[T] | tuple[type[T], ...], *, what: str, hint: str) -> type[T]:
    """The class at `module:Class`; modules in the working directory are found as well.

    Args:
        target: module and class.
        base: the class, or classes, that it must be a subclass of.
        what: what the class is for, such as `model`.
        hint: hint of the error if there is no such class.

    Raises:
        ConfigError: the module cannot be imported, or has no such class; or only a run names it.
    """
    check_trusted(target, what)
    module_name, _, class_name = target.partition(":")
    if not all(part.isidentifier() for part in (*module_name.split("."), class_name)):
        raise ConfigError(f"{what} '{shortened(target)}' is not of the form package.module:Class")
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
