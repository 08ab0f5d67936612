"""Dates as seconds since 1970 in UTC: ISO texts, and numbers whose digits are a date. All years from 0 to 9999 work."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as compute
from numpy.typing import NDArray

from actsr_cli.data.orders import blocks

Whole = NDArray[np.int64]
Real = NDArray[np.float64]

_ISO = (
    r"^\s*(?P<year>\d{4})[-/](?P<month>\d{1,2})(?:[-/](?P<day>\d{1,2})"
    r"(?:[Tt ]\s*(?P<hour>\d{1,2})(?::?(?P<minute>\d{2})(?::?(?P<second>\d{2})(?:[.,](?P<fraction>\d+))?)?)?"
    r"\s*(?:(?P<utc>[Zz]|UTC)|(?P<sign>[+-])(?P<hours>\d{2})(?::?(?P<minutes>\d{2}))?)?)?)?\s*$"
)
_BASIC, _EXTENDED = r"^\s*(\d{4})(\d{2})(\d{2})[Tt]", r"\1-\2-\3T"
"""The beginning of an ISO time without hyphens, such as 20140201T103000Z, and with them."""
FORMS = {4: "YYYY", 6: "YYYYMM", 8: "YYYYMMDD", 10: "YYYYMMDDHH", 12: "YYYYMMDDHHMM", 14: "YYYYMMDDHHMMSS"}
"""How numbers of so many digits are written as dates."""
_START = "0101000000"
"""What follows the year at its start."""
_FIRST_YEAR, _LAST_YEAR = 1900, 2100
"""Numbers are dates in these years only."""


@dataclass(frozen=True)
class IsoDates:
    """Times that ISO texts stand for.

    Attributes:
        seconds: seconds since 1970; NaN where the text is not an ISO date.
        naive: whether a text has a time of day and names no time zone.
        shifted: whether a text names an offset from UTC.
    """

    seconds: Real
    naive: NDArray[np.bool_]
    shifted: NDArray[np.bool_]


def read_iso(texts: pa.LargeStringArray) -> IsoDates:
    """Read ISO dates such as 2014-02, 2014-02-01 and 2014-02-01T10:30:00.5+02:00; without an offset they are in UTC."""
    found = compute.extract_regex(compute.replace_substring_regex(texts, _BASIC, _EXTENDED), _ISO)
    fields = {field.name: found.field(index) for index, field in enumerate(found.type)}

    def whole(name: str, absent: int = 0) -> Whole:
        return np.asarray(_filled(fields[name], str(absent)).cast(pa.int64()))

    def has(name: str) -> NDArray[np.bool_]:
        return np.asarray(compute.greater(compute.binary_length(fields[name]), 0))

    clock = (whole("hour"), whole("minute"), whole("second"))
    seconds = _instants(whole("year"), whole("month", 1), whole("day", 1), *clock)
    fraction = _filled(compute.replace_substring_regex(fields["fraction"], r"^(\d)", r"0.\1"), "0").cast(pa.float64())
    offset = 3600 * whole("hours") + 60 * whole("minutes")
    east = np.where(np.asarray(compute.equal(fields["sign"], "-")), -1, 1)
    return IsoDates(
        seconds=np.where(np.asarray(found.is_valid()), seconds + np.asarray(fraction) - east * offset, np.nan),
        naive=has("hour") & ~has("utc") & ~has("sign"),
        shifted=offset != 0,
    )


def read_digits(numbers: Real) -> tuple[Real, NDArray[np.int8]]:
    """Read whole numbers as dates, such as 2014, 201402, 20140201 and 20140201103000.

    Returns:
        The seconds since 1970, NaN where the digits are not a date; and the number of digits, 0 there.
    """
    seconds = np.empty(len(numbers))
    digits = np.empty(len(numbers), dtype=np.int8)
    for block in blocks(len(numbers)):
        seconds[block], digits[block] = _read_digits(numbers[block])
    return seconds, digits


def _read_digits(numbers: Real) -> tuple[Real, Whole]:
    """See `read_digits`; takes a dozen arrays of this size."""
    padded = np.zeros(len(numbers), dtype=np.int64)
    digits = np.zeros(len(numbers), dtype=np.int64)
    for length in FORMS:
        rest = 10 ** (length - 4)
        fits = (numbers >= _FIRST_YEAR * rest) & (numbers < (_LAST_YEAR + 1) * rest) & (numbers == np.floor(numbers))
        padded[fits] = numbers[fits].astype(np.int64) * 10 ** (14 - length) + int(_START[length - 4 :] or 0)
        digits[fits] = length
    date, clock = np.divmod(padded, 10**6)
    seconds = _instants(date // 10_000, date // 100 % 100, date % 100, clock // 10_000, clock // 100 % 100, clock % 100)
    seconds[digits == 0] = np.nan
    digits[np.isnan(seconds)] = 0
    return seconds, digits


def last_moment(start: float, unit: str) -> float:
    """The largest number below the start of the next year (Y), month (M) or day (D) after a moment."""
    following = np.datetime64(int(np.floor(start)), "s").astype(f"datetime64[{unit}]") + 1
    return float(np.nextafter(following.astype("datetime64[s]").astype(np.float64), -np.inf))


def written(seconds: float) -> str:
    """A moment as an ISO date, or as an ISO time if it is not the start of a day."""
    moment = str(np.datetime64(int(np.floor(seconds)), "s"))
    return moment.removesuffix("T00:00:00")


def _instants(year: Whole, month: Whole, day: Whole, hour: Whole, minute: Whole, second: Whole) -> Real:
    """Seconds since 1970; NaN where there is no such date or time of day."""
    months = (year - 1970) * 12 + np.clip(month, 1, 12) - 1
    first, following = (
        each.astype("datetime64[M]").astype("datetime64[D]").astype(np.int64) for each in (months, months + 1)
    )
    exists = (month >= 1) & (month <= 12) & (day >= 1) & (day <= following - first)
    exists &= (hour < 24) & (minute < 60) & (second < 60)
    return np.where(exists, (first + day - 1) * 86_400 + hour * 3_600 + minute * 60 + second, np.nan)


def _filled(texts: pa.LargeStringArray, absent: str) -> pa.LargeStringArray:
    return compute.if_else(compute.equal(texts, ""), absent, texts)
