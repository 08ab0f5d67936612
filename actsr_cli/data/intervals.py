"""Reads the bounds of intervals: numbers, or dates for columns of times."""

from __future__ import annotations

import numpy as np
import pyarrow as pa

from actsr_cli.config.data import Bound
from actsr_cli.data.readers.dates import last_moment, read_digits, read_iso
from actsr_cli.data.readers.times import COMPACT, SECONDS, in_unit, is_count
from actsr_cli.errors import DataError

_LONG_AGO = 1e8
"""Seconds since 1970 below which a number is rather a year, 2014, or a month, 201401, in a column of later times."""
_DATES = "Write the bound as an ISO date, such as 2014-02-01."


def numeric_bounds(
    column: str, low: Bound | None, high: Bound | None, way: str, earliest: float = 0.0
) -> tuple[float | None, float | None]:
    """A closed interval in the numbers of a column.

    A date includes the whole of its day, month or year on both ends. A number has the unit of the column; for dates
    it is seconds since 1970.

    Args:
        column: its name, for messages.
        low: the lower bound; None is no bound.
        high: the upper bound.
        way: how the times of the column are written; empty if it holds no times.
        earliest: the smallest number of the column.

    Raises:
        DataError: a bound does not fit the column, or the interval is empty.
    """
    first, last = (None if each is None else _range(column, each, way, earliest) for each in (low, high))
    if first is not None and last is not None and first[0] > last[1]:
        raise DataError(f"interval of '{column}' is empty: {low} > {high}")
    return None if first is None else first[0], None if last is None else last[1]


def _range(column: str, bound: Bound, way: str, earliest: float) -> tuple[float, float]:
    """The first and the last number that a bound stands for."""
    if isinstance(bound, str):
        if not way:
            raise DataError(f"interval of '{column}': {bound} is a date, and the column holds numbers")
        start = float(read_iso(pa.array([bound], pa.large_string())).seconds[0])
        if np.isnan(start):
            raise DataError(f"interval of '{column}': there is no date {bound}", hint=_DATES)
        unit = {7: "M", 10: "D"}.get(len(bound))
        return start, start if unit is None else last_moment(start, unit)
    dates, lengths = read_digits(np.array([bound]))
    digits = int(lengths[0])
    if is_count(way):
        if way == SECONDS and (digits == 8 or (digits and bound < _LONG_AGO < earliest)):
            raise DataError(
                f"interval of '{column}': {bound:.0f} looks like a date, and the column holds {way}", hint=_DATES
            )
        seconds = in_unit(bound, way)
        if np.isnan(seconds):
            raise DataError(
                f"interval of '{column}': {bound:.16g} is no number of {way}, as in the column", hint=_DATES
            )
        return seconds, seconds
    if way and digits and (digits <= 8 or way.startswith(COMPACT)):
        start, unit = float(dates[0]), {4: "Y", 6: "M", 8: "D"}.get(digits)
        return start, start if unit is None else last_moment(start, unit)
    return bound, bound
