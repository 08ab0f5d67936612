"""The errors that actsr raises on purpose: each has a message of one line and, if it helps, a hint what to do."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches

from actsr_cli.words import visible

LONGEST_MESSAGE = 1_000
"""Number of characters."""


class ActsrError(Exception):
    """An error that the user can fix: it is shown without a traceback, and the command ends with `exit_code`.

    Args:
        message: what is wrong and where, in one line. Control characters in it are escaped, and its middle is left out
            if it is longer than `LONGEST_MESSAGE`: it may quote a file.
        hint: what to do about it; may span several lines.
    """

    exit_code = 1

    def __init__(self, message: str, hint: str | None = None) -> None:
        shown = visible(message)
        if len(shown) > LONGEST_MESSAGE:
            shown = f"{shown[: LONGEST_MESSAGE // 2]} … {shown[-LONGEST_MESSAGE // 2 :]}"
        super().__init__(shown)
        self.message = shown
        self.hint = hint


class ConfigError(ActsrError):
    """A preset, a config file, a `--set` override or an option has a key or value that the schema does not allow."""


class DataError(ActsrError):
    """Input data are missing, malformed or empty."""


class DownloadError(ActsrError):
    """An archive could not be downloaded, or its content is not as expected."""


class RunError(ActsrError):
    """A run cannot be found, opened, resumed or finished."""


class BusyError(RunError):
    """Another process works on the same run or study."""


class DiskError(ActsrError):
    """A file cannot be written: the disk is full, read-only or gone."""


_COMPARED = 100
"""Number of letters of an unknown name that are compared: the time grows with their square."""


def nearest(name: str, known: Iterable[str]) -> str:
    """The end of an error message for an unknown `name`: the closest known name, or a list of all known names."""
    names = sorted(known)
    close = get_close_matches(name[:_COMPARED], names, n=1, cutoff=0.6)
    return f"did you mean '{close[0]}'?" if close else f"known: {', '.join(names)}"
