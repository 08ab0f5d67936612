"""Names, titles and categories in the columns of Parquet files that actsr wrote."""

from __future__ import annotations

import pyarrow as pa
import pyarrow.compute as compute


def texts(table: pa.Table, column: str) -> tuple[str, ...]:
    """The texts of a column.

    Raises:
        KeyError: there is no such column.
        ValueError: it holds no texts, or a value is missing.
    """
    values = table[column]
    if not (pa.types.is_string(values.type) or pa.types.is_large_string(values.type)) or values.null_count:
        raise ValueError(f"column {column} holds no texts, or a value is missing")
    return tuple(values.to_pylist())


def lists_of_texts(table: pa.Table, column: str) -> tuple[tuple[str, ...], ...]:
    """The lists of texts of a column.

    Raises:
        KeyError: there is no such column.
        ValueError: it holds no lists of texts, or a value is missing.
    """
    values = table[column]
    if not pa.types.is_list(values.type) or values.null_count or compute.list_flatten(values).null_count:
        raise ValueError(f"column {column} holds no lists of texts, or a value is missing")
    if not pa.types.is_string(values.type.value_type):
        raise ValueError(f"column {column} holds lists, but not of texts")
    return tuple(map(tuple, values.to_pylist()))
