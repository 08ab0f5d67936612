"""Converts columns of text to numbers: ids to indices in order of appearance, numbers and dates to floats."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pyarrow as pa
from numpy.typing import NDArray


def number_texts(values: pd.Series) -> tuple[NDArray[np.int64], NDArray[np.object_]]:
    """Indices of texts in order of first appearance, and the text of each index."""
    encoded = _texts(values.astype("str")).dictionary_encode()
    codes = encoded.indices.to_numpy(zero_copy_only=False).astype(np.int64)
    return codes, encoded.dictionary.to_numpy(zero_copy_only=False)


def read_numbers(values: pd.Series, *, dates: bool) -> NDArray[np.float64]:
    """Parse numbers and, if `dates`, ISO dates (as seconds since 1970); NaN for anything else."""
    if pd.api.types.is_datetime64_any_dtype(values):
        return _seconds(pd.to_datetime(values, utc=True))
    if (parsed := _parsed(values)) is not None:
        return parsed
    numbers = pd.to_numeric(values, errors="coerce").to_numpy(dtype=np.float64, na_value=np.nan).copy()
    rest = np.isnan(numbers)
    if dates and rest.any():
        numbers[rest] = _seconds(pd.to_datetime(values[rest], errors="coerce", utc=True, format="ISO8601"))
    return numbers


def _texts(values: pd.Series) -> pa.LargeStringArray:
    """A column of texts as an Arrow array."""
    texts = pa.array(values, type=pa.large_string())
    return texts.combine_chunks() if isinstance(texts, pa.ChunkedArray) else texts


def _parsed(values: pd.Series) -> NDArray[np.float64] | None:
    """Numbers from a column of texts, parsed in one call; None if a text is not a plain number."""
    if not pd.api.types.is_string_dtype(values):
        return None
    try:
        return np.asarray(_texts(values).cast(pa.float64()))
    except pa.ArrowException:
        return None


def _seconds(dates: pd.Series) -> NDArray[np.float64]:
    since = dates - pd.Timestamp(0, tz="UTC")
    return np.asarray(since.dt.total_seconds(), dtype=np.float64)
