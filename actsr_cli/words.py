"""Words that depend on a number."""

from __future__ import annotations


def counted(number: int, noun: str, plural: str | None = None) -> str:
    """A number with its noun: `1 item`, `2,000 items`; without `plural`, an s makes it."""
    return f"1 {noun}" if number == 1 else f"{number:,} {plural or noun + 's'}"
