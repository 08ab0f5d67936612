"""Columns of numbers or times that come chunk by chunk, see `clean`."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from actsr_cli.data.readers.dates import read_iso
from actsr_cli.data.readers.interactions import NotCleanError
from actsr_cli.data.readers.times import ISO, TYPED, Reading, numeric_times, typed_seconds

_NUMBERS = "numbers"


@dataclass
class Column:
    """A column whose values are all finite numbers, all ISO dates, or all typed times.

    Attributes:
        times: whether numbers are times.
        dates: whether the column may hold dates.
        kept: whether the values are needed, or only looked at.
    """

    times: bool
    dates: bool = True
    kept: bool = True
    _values: list[NDArray[np.float64]] = field(default_factory=list)
    _ways: set[str] = field(default_factory=set)
    _naive: bool = False
    _shifted: bool = False

    def add(self, array: pa.Array) -> None:
        """Add values.

        Raises:
            NotCleanError: one is missing, or does not fit.
        """
        if array.null_count:
            raise NotCleanError
        way, values = self._read(array)
        self._ways.add(way)
        if len(self._ways) > 1 or (self._naive and self._shifted) or not np.isfinite(values).all():
            raise NotCleanError
        if self.kept or self.times:
            self._values.append(values)

    def reading(self) -> Reading:
        """The whole column, in one way; may be called once.

        Raises:
            NotCleanError: its numbers are no times, or contradict each other.
        """
        values, self._values = np.concatenate([*self._values, np.empty(0)]), []
        way = next(iter(self._ways), _NUMBERS)
        if way != _NUMBERS:
            return Reading(values, way)
        reading = numeric_times(values) if self.times else Reading(values, "")
        if reading.clash is not None or np.isnan(reading.values).any():
            raise NotCleanError
        return reading

    def _read(self, array: pa.Array) -> tuple[str, NDArray[np.float64]]:
        types, kind = pa.types, array.type
        if types.is_timestamp(kind) and self.dates:
            return TYPED, typed_seconds(array)
        if types.is_integer(kind) or types.is_floating(kind):
            return _NUMBERS, array.cast(pa.float64(), safe=False).to_numpy()
        if not (types.is_string(kind) or types.is_large_string(kind)):
            raise NotCleanError
        try:
            return _NUMBERS, array.cast(pa.float64()).to_numpy()
        except pa.ArrowInvalid as error:
            if not self.dates:
                raise NotCleanError from error
        dates = read_iso(array.cast(pa.large_string()))
        self._naive |= bool(dates.naive.any())
        self._shifted |= bool(dates.shifted.any())
        return ISO, dates.seconds
