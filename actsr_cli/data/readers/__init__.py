"""Readers of raw interactions: each format declares itself in `registry`, and every reader returns the same table.

Nothing heavy is imported here, so that listing the formats costs nothing.
"""

from __future__ import annotations

from actsr_cli.data.readers.columns import FILE_ORDER, Columns
from actsr_cli.data.readers.registry import Reader, find_reader, format_names, guess_reader, readers, register

__all__ = ["FILE_ORDER", "Columns", "Reader", "find_reader", "format_names", "guess_reader", "readers", "register"]
