"""Reads a column of times in one way: all its values are ISO dates, dates in digits, or numbers of one unit."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as compute
from numpy.typing import NDArray

from actsr_cli.data.readers.dates import FORMS, read_digits, read_iso
from actsr_cli.data.readers.numbers import as_arrow, read_numbers
from actsr_cli.errors import DataError

Real = NDArray[np.float64]
Mask = NDArray[np.bool_]

ISO, TYPED, YEARS, COMPACT = "ISO dates, UTC", "dates, UTC", "years", "compact dates"
SECONDS = "seconds since 1970"
_UNITS = (
    (SECONDS, 0, 1e11, 1),
    ("milliseconds since 1970", 1e11, 2**63 / 1e6, 10**3),
    ("microseconds since 1970", 1e14, 2**63 / 1e3, 10**6),
    ("nanoseconds since 1970", 1e17, 2**63, 10**9),
)
"""Name, smallest and largest size, and steps per second of each unit. All reach from 1973 to 2262, seconds further."""
_RECENT = 1e8
"""Numbers of this size or more can be seconds since 1970 of our days (from 1973); smaller ones count from elsewhere."""
_DATED = {"year": 1_900, "day": 19_000_101, "hour": 1_900_010_100}
"""The smallest numbers whose digits are a date, to the year, to the day and to the hour."""
_LAST_MINUTE, _FIRST_SECOND, _LAST_SECOND = 2.2e11, 1.9e13, 2.2e13
"""No number between the first two, or from the third on, is a date in digits; see `dates.FORMS`."""
_BY_CHANCE = 10
"""Among numbers that count from elsewhere, fewer than one in so many look like dates by chance."""
HINT = "Write all times in one way: ISO dates such as 2014-02-01, or seconds since 1970."


@dataclass(frozen=True)
class Clash:
    """Two rows of a column that are not written in the same way, and the way of each."""

    rows: tuple[int, int]
    ways: tuple[str, str]


@dataclass(frozen=True)
class Reading:
    """A column of times or numbers as it was read.

    Attributes:
        values: seconds since 1970, or numbers; NaN where a value is missing or fits no way.
        way: how the values are written, such as `ISO dates, UTC`; empty for numbers that are not times.
        clash: two rows that contradict each other; the values are then worthless.
    """

    values: Real
    way: str
    clash: Clash | None = None


def read_times(values: pd.Series | Real, *, years: bool = True) -> Reading:
    """Read a column of times as seconds since 1970.

    Numbers are seconds, milliseconds, microseconds or nanoseconds since 1970 by their size, unless they are dates in
    digits: years, or compact dates such as 20140201. ISO texts may differ in precision.

    Args:
        values: texts, numbers or dates.
        years: whether numbers such as 2014 and 201402 may be years and months.

    Raises:
        DataError: the type of the column cannot hold times.
    """
    return _read(values, lambda numbers: numeric_times(numbers, years))


def read_numbers_or_dates(values: pd.Series | Real) -> Reading:
    """Read a column of numbers as they are, or a column of ISO dates as seconds since 1970; see `read_times`."""
    return _read(values, lambda numbers: Reading(numbers, ""))


def read_plain_numbers(values: pd.Series) -> Reading:
    """Read a column of numbers as they are; dates are no numbers."""
    return _read(values, lambda numbers: Reading(numbers, ""), dates=False)


def read_times_beside(values: pd.Series | Real, way: str) -> Reading:
    """Read times that are compared with those of a model's data, see `read_times`.

    Args:
        values: texts, numbers or dates.
        way: how the times of the data are written; numbers such as 2014 are years only if these have dates. Empty if it
            is unknown, because an earlier version trained the model: numbers then stay what they are.

    Raises:
        DataError: see `read_times` and `check_comparable`.
    """
    if not way:
        return read_numbers_or_dates(values)
    reading = read_times(values, years=not is_count(way))
    check_comparable(reading.way, way)
    return reading


def check_comparable(way: str, other: str) -> None:
    """Check that times of one way can be compared with those of a model's data.

    Args:
        way: how the times are written; empty without times.
        other: how the times of the data are written; empty if that is unknown.

    Raises:
        DataError: the times are dates in digits, and those of the data may count any seconds; or they have a unit, and
            that of the data is unknown.
    """
    in_digits = way == YEARS or way.startswith(COMPACT)
    if (in_digits and (is_count(other) or not other)) or (is_count(way) and way != SECONDS and not other):
        raise DataError(
            f"the times are {way}, and the data of the model have {other or 'times in an unknown unit'}",
            hint="Write ISO dates, such as 2014-02-01.",
        )


def is_count(way: str) -> bool:
    """Whether times of a way are numbers of a unit since 1970."""
    return any(way == name for name, *_ in _UNITS)


def in_unit(number: float, way: str) -> float:
    """A number of a unit since 1970 in seconds; NaN if its size shows that it is of another unit."""
    smallest, limit, steps = next(rest for name, *rest in _UNITS if name == way)
    return number / steps if number == 0 or smallest <= abs(number) < limit or way == SECONDS else float("nan")


def typed_seconds(array: pa.TimestampArray) -> Real:
    """Typed times as seconds since 1970; NaN for missing ones."""
    steps = {"s": 1, "ms": 10**3, "us": 10**6, "ns": 10**9}[array.type.unit]
    return _floats(array.cast(pa.int64()).cast(pa.float64(), safe=False)) / steps


def shown(value: object) -> str:
    """A value of a column in one line, for messages."""
    if isinstance(value, np.datetime64):  # its item may be a number, or None
        return str(value)
    return " ".join(repr(value.item() if isinstance(value, np.generic) else value).split())


def _read(values: pd.Series | Real, of_numbers: Callable[[Real], Reading], *, dates: bool = True) -> Reading:
    """Read a column by its type.

    Args:
        values: the column.
        of_numbers: reads numbers; missing and infinite ones are NaN.
        dates: whether the column may hold dates.
    """
    if isinstance(values, np.ndarray):
        return of_numbers(np.where(np.isfinite(values), values, np.nan))
    array = as_arrow(values)
    kind, types = array.type, pa.types
    if types.is_string(kind) or types.is_large_string(kind):
        texts = array.cast(pa.large_string())
        return _of_texts(texts, of_numbers) if dates else of_numbers(read_numbers(texts))
    if types.is_integer(kind) or types.is_floating(kind) or types.is_decimal(kind):
        numbers = _floats(array.cast(pa.float64(), safe=False))
        return of_numbers(np.where(np.isfinite(numbers), numbers, np.nan))
    if dates and types.is_timestamp(kind):
        return Reading(typed_seconds(array), TYPED)
    if dates and types.is_date(kind):
        return Reading(_floats(array.cast(pa.date32()).cast(pa.int32()).cast(pa.float64())) * 86_400, TYPED)
    if types.is_null(kind):
        return Reading(np.full(len(array), np.nan), "")
    raise DataError(f"values of type {kind} are no {'numbers or dates' if dates else 'numbers'}")


def _of_texts(texts: pa.LargeStringArray, of_numbers: Callable[[Real], Reading]) -> Reading:
    numbers = read_numbers(texts)
    is_number = ~np.isnan(numbers)
    if is_number.all():
        return of_numbers(numbers)
    iso = read_iso(compute.if_else(pa.array(is_number), "", texts))
    is_date = ~np.isnan(iso.seconds)
    if not is_date.any():
        return of_numbers(numbers)
    dates, digits = read_digits(numbers)
    if (other := is_number & ~np.isin(digits, (4, 8))).any():
        return _clash(is_date, other, "an ISO date", "a number")
    if (iso.naive & is_date).any() and iso.shifted.any():
        return _clash(iso.naive & is_date, iso.shifted, "a time without an offset from UTC", "a time with one")
    return Reading(np.where(is_number, dates, iso.seconds), ISO)


def numeric_times(numbers: Real, years: bool = True) -> Reading:
    """Times from numbers: as dates in digits, or in one unit since 1970.

    Args:
        numbers: finite, or NaN.
        years: see `read_times`.
    """
    if _are_no_dates(numbers, years):
        return Reading(numbers, SECONDS)
    if len(numbers) and (unit := _unit_of_all(float(numbers.min()), float(numbers.max()))) is not None:
        name, _, _, steps = _UNITS[unit]
        return Reading(numbers / steps, name)
    dates, digits = read_digits(numbers)
    if not years:
        digits[digits < 8] = 0
    dated, present = digits > 0, ~np.isnan(numbers)
    if dated.any() and dated[present].all():
        return Reading(dates, _way_of_digits(digits[dated]))
    recent = np.abs(numbers) >= _RECENT
    elsewhere = present & ~dated & ~recent & (numbers != 0)
    meant = dated & (recent | (_BY_CHANCE * np.count_nonzero(dated & ~recent) >= np.count_nonzero(elsewhere)))
    if meant.any() and (present & ~dated & recent).any():
        return _clash(meant, present & ~dated & recent, "a date in digits", "a number since 1970")
    if (digits[meant] >= 8).any():
        return Reading(np.where(meant, dates, np.nan), _way_of_digits(digits[meant]))
    return _since_1970(numbers)


def _are_no_dates(numbers: Real, years: bool) -> bool:
    """Whether all numbers are seconds, and none can be a date; most columns and histories are like this."""
    low, high = (numbers.min(), numbers.max()) if len(numbers) else (np.nan, np.nan)
    small = low > -_RECENT and high < _DATED["year" if years else "day"]
    return bool(small or (low >= _RECENT and high < _DATED["hour"]))


def _unit_of_all(low: float, high: float) -> int | None:
    """The one unit of all numbers from `low` to `high` if none of them can be a date in digits; None if unsure."""
    one, other = (sum(size >= smallest for _, smallest, *_ in _UNITS) - 1 for size in (low, high))
    no_dates = low >= _LAST_SECOND or _LAST_MINUTE <= low <= high < _FIRST_SECOND
    return one if no_dates and one == other and high < _UNITS[one][2] else None


def _since_1970(numbers: Real) -> Reading:
    """Times from numbers of one unit; 0 is the same in all."""
    sizes = np.abs(numbers)
    units = np.searchsorted([smallest for _, smallest, *_ in _UNITS], sizes, side="right") - 1
    units[~(sizes > 0)] = -1
    found = [unit for unit in range(len(_UNITS)) if (units == unit).any()]
    if len(found) > 1:
        return _clash(units == found[0], units == found[1], *(_UNITS[unit][0] for unit in found[:2]))
    name, _, limit, steps = _UNITS[found[0] if found else 0]
    return Reading(np.where(sizes < limit, numbers / steps, np.nan), name)


def _way_of_digits(digits: NDArray[np.int8]) -> str:
    lengths = np.unique(digits).tolist()
    if lengths == [4]:
        return YEARS
    return f"{COMPACT} {FORMS[lengths[0]]}" if len(lengths) == 1 else f"{COMPACT} of different precision"


def _clash(one: Mask, other: Mask, way: str, other_way: str) -> Reading:
    """A reading that failed: the first rows of two masks, in the order of the column."""
    first, second = sorted([(int(np.argmax(one)), way), (int(np.argmax(other)), other_way)])
    return Reading(np.full(len(one), np.nan), "", Clash((first[0], second[0]), (first[1], second[1])))


def _floats(array: pa.DoubleArray) -> Real:
    """Numbers of an Arrow array, NaN for missing ones."""
    return np.asarray(array.to_numpy(zero_copy_only=False), dtype=np.float64)
