"""Checks the raw ids and the times that a caller gives."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import astuple
from datetime import date
from decimal import Decimal
from typing import Any, TypeVar

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from actsr_cli.data.readers.times import HINT, read_times_beside, shown
from actsr_cli.errors import DataError

_T = TypeVar("_T")


def listed(values: Iterable[_T], where: str, what: str) -> list[_T]:
    """The values of a list, a tuple, an array or a column.

    Args:
        values: the values.
        where: what the values are, for errors.
        what: what the list should contain, for errors.

    Raises:
        DataError: `values` is a text, a mapping or a table, or is not a list.
    """
    if isinstance(values, str):
        raise DataError(f"{where} must be a list of {what}, not the text '{values}'")
    several = isinstance(values, Iterable) and not isinstance(values, bytes | Mapping | pd.DataFrame)
    if not several or getattr(values, "ndim", 1) == 0:  # an array without dimensions holds a single value
        raise DataError(f"{where} must be a list of {what}, not {shown(values)}")
    return list(values)


def raw_ids(values: Iterable[object], where: str, kind: str = "item") -> list[str]:
    """Raw ids as texts.

    Args:
        values: the ids.
        where: what the values are, for errors.
        kind: `item` or `user`.

    Raises:
        DataError: an id is neither a text nor a whole number, or `values` is itself a text.
    """
    return [raw_id(value, kind) for value in listed(values, where, f"{kind} ids")]


def raw_id(value: object, kind: str) -> str:
    """A raw id as a text; whole numbers are written in digits.

    Raises:
        DataError: it is neither a text nor a whole number.
    """
    if isinstance(value, str):
        return value
    if isinstance(value, int | np.integer) and not isinstance(value, bool):
        return str(value)
    raise DataError(f"{kind} ids are texts or whole numbers, not {shown(value)}")


def checked_times(values: Iterable[object], n_items: int, where: str, way: str = "") -> NDArray[np.float64]:
    """Times as seconds since 1970, see `read_times_beside`: numbers, ISO texts or date objects.

    Args:
        values: the times.
        n_items: number of items that they belong to.
        where: what the values are, for errors.
        way: how the times of the model's data are written; empty if unknown.

    Raises:
        DataError: their number is not that of the items, one is not a time, they are not written in one way, or they
            decrease.
    """
    times = seconds(listed(values, f"the timestamps of {where}", "times"), where, way)
    if len(times) != n_items:
        raise DataError(f"{where} has {len(times)} timestamps for {n_items} items: give one per item")
    if (np.diff(times) < 0).any():
        place = int(np.argmax(np.diff(times) < 0)) + 2
        raise DataError(
            f"{where}: the timestamp of item {place} is before that of item {place - 1}; order items by time"
        )
    return times


def seconds(values: list[Any] | pd.Series, where: str, way: str) -> NDArray[np.float64]:
    """Times as seconds since 1970; see `checked_times`, which also checks their number and order.

    Raises:
        DataError: one is not a time, or they are not written in one way.
    """
    column: NDArray[np.float64] | pd.Series
    if isinstance(values, list) and set(map(type, values)) <= {int, float}:  # without pandas, which takes a millisecond
        column = np.array(list(map(_as_float, values)), dtype=np.float64)
    else:
        column = pd.Series([_single(value) for value in values], dtype=object) if isinstance(values, list) else values
    try:
        reading = read_times_beside(column, way)
    except DataError as error:
        raise DataError(f"{where}: {error.message}", hint=error.hint) from error
    given = list(values)
    if reading.clash is not None:
        one, other = (f"{shown(given[row])} is {of}" for row, of in zip(*astuple(reading.clash), strict=True))
        raise DataError(f"{where}: {one}, but {other}", hint=HINT)
    wrong = np.isnan(reading.values)
    if wrong.any():
        raise DataError(
            f"{where}: {shown(given[int(np.argmax(wrong))])} is not a timestamp",
            hint="Give seconds since 1970, or ISO dates.",
        )
    return reading.values


def _single(value: object) -> object:
    """A number, a text or a date as it is; None for anything else."""
    known = isinstance(value, str | int | float | Decimal | np.number | date | np.datetime64)
    return value if known and not isinstance(value, bool) else None


def _as_float(number: float) -> float:
    """A number as a float; infinite if it is too large."""
    try:
        return float(number)
    except OverflowError:
        return float("inf")
