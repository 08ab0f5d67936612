"""Readers of raw interactions, one module per family of formats; each returns the same table."""

from __future__ import annotations

from collections.abc import Collection

from actsr_cli.data.readers.interactions import BadLines, Interactions
from actsr_cli.data.readers.json_lines import read_amazon_reviews
from actsr_cli.data.readers.lists import read_sequences
from actsr_cli.data.readers.tables import read_atomic, read_csv, read_parquet
from actsr_cli.data.sources import Source

__all__ = ["BadLines", "Interactions", "read_interactions"]


def read_interactions(source: Source, wanted: Collection[str], bad_lines: BadLines) -> Interactions:
    """Read a source.

    Args:
        source: the file and its format.
        wanted: further numeric columns that filters will look at.
        bad_lines: told of every malformed line; raises or counts.

    Raises:
        DataError: the file cannot be read, lacks a column, or holds nothing.
    """
    match source.format:
        case "atomic":
            return read_atomic(source.file, source.columns, wanted, bad_lines)
        case "csv":
            return read_csv(source.file, source.columns, wanted, bad_lines)
        case "parquet":
            return read_parquet(source.file, source.columns, wanted, bad_lines)
        case "amazon-reviews":
            return read_amazon_reviews(source.file, wanted, bad_lines)
        case "sequences":
            return read_sequences(source.file, wanted, bad_lines)
