"""Words: their numbers, names that people may choose, and text that is safe to show."""

from __future__ import annotations

import shlex
import unicodedata

LONGEST_NAME = 100
"""Largest number of bytes of a name: file systems allow 255, and temporary files put more around it."""


def counted(number: int, noun: str, plural: str | None = None) -> str:
    """A number with its noun: `1 item`, `2,000 items`; without `plural`, an s makes it."""
    return f"1 {noun}" if number == 1 else f"{number:,} {plural or noun + 's'}"


def command(*words: str) -> str:
    """A command of actsr as it is typed in a shell: `actsr evaluate 'beauty/sasrec/my run'`."""
    return shlex.join(("actsr", *words))


def name_problem(name: str) -> str | None:
    """Why a text cannot be the name of a run, a study, a preset or a data set; None if it can.

    Such a name becomes the name of a folder or a file, and is printed: it must be one on every system.
    """
    if not name.strip():
        return "it is empty"
    if any(separator in name for separator in "/\\"):
        return "it must be a single folder name, without slashes"
    if name.startswith("."):
        return "it must not begin with a dot"
    if not name.isprintable():
        return "it has characters that cannot be printed"
    if name != name.strip():
        return "it must not begin or end with a blank"
    if len(name.encode()) > LONGEST_NAME:
        return f"it is longer than {LONGEST_NAME} bytes"
    return None


def visible(text: str, *, keep: str = "") -> str:
    """A text in which control characters, and all others that a terminal may act on or cannot print, are escaped.

    Args:
        text: any text.
        keep: characters that stay, such as the newlines of a text of several lines.
    """
    if text.isprintable():
        return text
    return "".join(_escaped(each) if _acts(each) and each not in keep else each for each in text)


def shortened(text: str, longest: int = 80) -> str:
    """A text for a message: visible, and only its beginning if it is long."""
    text = visible(text)
    return text if len(text) <= longest else f"{text[: longest - 1]}…"


def _acts(character: str) -> bool:
    """Whether a character controls a terminal or the direction or lines of a text, or is half of one (a surrogate)."""
    return unicodedata.category(character) in ("Cc", "Cf", "Cs", "Zl", "Zp") and character not in _JOINERS


_JOINERS = "\u200c\u200d"
"""Words of some languages, and some emoji, are written with these."""


def _escaped(character: str) -> str:
    r"""A character as Python writes it: \x1b, \u202e."""
    return ascii(character)[1:-1]
