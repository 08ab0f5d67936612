"""Converts columns to numbers: ids to indices in order of appearance, texts of digits to floats."""

from __future__ import annotations

from datetime import date
from decimal import Decimal

import numpy as np
import pandas as pd
import pyarrow as pa
from numpy.typing import NDArray


def number_texts(values: pd.Series) -> tuple[NDArray[np.int32], NDArray[np.object_]]:
    """Indices of texts in order of first appearance, and the text of each index."""
    encoded = _whole(pa.array(values.astype("str"), type=pa.large_string())).dictionary_encode()
    codes = encoded.indices.to_numpy(zero_copy_only=False).astype(np.int32)
    return codes, encoded.dictionary.to_numpy(zero_copy_only=False)


def read_numbers(texts: pa.LargeStringArray) -> NDArray[np.float64]:
    """Parse texts as numbers; NaN for anything else, and for numbers that are not finite."""
    try:
        numbers = np.array(texts.cast(pa.float64()).to_numpy(zero_copy_only=False))
    except pa.ArrowInvalid:  # not all are plain numbers
        numbers = pd.to_numeric(texts.to_pandas(), errors="coerce").to_numpy(dtype=np.float64, na_value=np.nan).copy()
    numbers[~np.isfinite(numbers)] = np.nan
    return numbers


def as_arrow(values: pd.Series) -> pa.Array:
    """A column as an Arrow array, without a dictionary; values of mixed types become texts, and truth values None."""
    try:
        array = _whole(pa.array(values, from_pandas=True))
    except (pa.ArrowException, ValueError, TypeError, OverflowError):  # values of mixed types, or beyond Arrow's
        array = pa.array([_as_text(value) for value in values], pa.large_string())
    return array.dictionary_decode() if pa.types.is_dictionary(array.type) else array


def _whole(array: pa.Array | pa.ChunkedArray) -> pa.Array:
    return array.combine_chunks() if isinstance(array, pa.ChunkedArray) else array


def _as_text(value: object) -> str | None:
    """A single number, text or date as a text; None for anything else."""
    if isinstance(value, np.datetime64):  # Arrow knows only some of its units
        value = pd.Timestamp(value)
    if isinstance(value, date):  # datetimes, too
        return value.isoformat()
    if isinstance(value, bool | np.bool_) or not isinstance(value, str | int | float | Decimal | np.number):
        return None
    try:
        return str(value).encode(errors="replace").decode()  # half of a surrogate pair cannot be written
    except ValueError:  # more digits than Python writes
        return None
