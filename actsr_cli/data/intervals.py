"""Reads numbers and dates of settings as those of a column: bounds of intervals, and points in time."""

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
    what = f"interval of '{column}'"
    first, last = (None if each is None else _range(what, each, way, earliest) for each in (low, high))
    if first is not None and last is not None and first[0] > last[1]:
        raise DataError(f"{what} is empty: {low} > {high}")
    return None if first is None else first[0], None if last is None else last[1]


def start_of(what: str, moment: Bound, way: str, earliest: float) -> float:
    """The seconds since 1970 at which a date begins, or a number in the unit of the data's times.

    Args:
        what: the setting, for messages.
        moment: the date or the number.
        way: how the times of the data are written; empty if that is unknown: then a number is one of seconds.
        earliest: the first of these times, in seconds.

    Raises:
        DataError: the moment does not fit these times.
    """
    return _range(what, moment, way or SECONDS, earliest)[0]


def _range(what: str, bound: Bound, way: str, earliest: float) -> tuple[float, float]:
    """The first and the last number that a bound stands for."""
    if isinstance(bound, str):
        if not way:
            raise DataError(f"{what}: {bound} is a date, and the column holds numbers")
        start = float(read_iso(pa.array([bound], pa.large_string())).seconds[0])
        if np.isnan(start):
            raise DataError(f"{what}: there is no date {bound}", hint=_DATES)
        unit = {7: "M", 10: "D"}.get(len(bound))
        return start, start if unit is None else last_moment(start, unit)
    dates, lengths = read_digits(np.array([bound]))
    digits = int(lengths[0])
    if is_count(way):
        if way == SECONDS and (digits == 8 or (digits and bound < _LONG_AGO < earliest)):
            raise DataError(f"{what}: {bound:.0f} looks like a date, and the column holds {way}", hint=_DATES)
        seconds = in_unit(bound, way)
        if np.isnan(seconds):
            raise DataError(f"{what}: {bound:.16g} is no number of {way}, as in the column", hint=_DATES)
        return seconds, seconds
    if way and digits and (digits <= 8 or way.startswith(COMPACT)):
        start, unit = float(dates[0]), {4: "Y", 6: "M", 8: "D"}.get(digits)
        return start, start if unit is None else last_moment(start, unit)
    return bound, bound
