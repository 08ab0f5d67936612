"""Readers of raw interactions. The formats are listed in `registry`, and every reader returns `Interactions`.

No large libraries are imported here, so that listing the formats is fast.
"""

from __future__ import annotations

from actsr_cli.data.readers.columns import FILE_ORDER, Columns
from actsr_cli.data.readers.registry import Reader, find_reader, format_names, guess_reader, readers, register

__all__ = ["FILE_ORDER", "Columns", "Reader", "find_reader", "format_names", "guess_reader", "readers", "register"]
