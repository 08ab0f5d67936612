"""The errors that actsr raises on purpose: each carries one clear line and, where it helps, what to do next."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches


class ActsrError(Exception):
    """Something a user can understand and mend: shown without a traceback, and the command ends with `exit_code`.

    Args:
        message: what is wrong and where, in one line.
        hint: what to do about it; may span several lines.
    """

    exit_code = 1

    def __init__(self, message: str, hint: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint


class ConfigError(ActsrError):
    """A preset, a config file, a `--set` override or an option holds something that the schema refuses."""


class DataError(ActsrError):
    """Input data are missing, malformed or empty."""


class DownloadError(ActsrError):
    """An archive could not be fetched, or what was fetched is not what it should be."""


class RunError(ActsrError):
    """A run cannot be found, opened, resumed or finished."""


def nearest(name: str, known: Iterable[str]) -> str:
    """The end of an error line for an unknown `name`: the closest known name, or the list of all of them."""
    names = sorted(known)
    close = get_close_matches(name, names, n=1, cutoff=0.6)
    return f"did you mean '{close[0]}'?" if close else f"known: {', '.join(names)}"
