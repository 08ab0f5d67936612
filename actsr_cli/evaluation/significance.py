"""How far chance alone moves a mean."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import stats

RESAMPLES = 1000


@dataclass(frozen=True)
class Interval:
    """A mean with its 95 % bootstrap interval.

    Attributes:
        mean: of the values.
        low: lower end of the interval.
        high: upper end of the interval.
        count: values behind it.
    """

    mean: float
    low: float
    high: float
    count: int

    @property
    def margin(self) -> float:
        """Half the width of the interval."""
        return (self.high - self.low) / 2


def mean_interval(values: NDArray[np.float64], seed: int = 0) -> Interval:
    """The mean of some values with its percentile bootstrap interval; NaNs are left out.

    With fewer than two values, or values that are all alike, the interval is the mean itself.

    Raises:
        ValueError: there is no value.
    """
    known = values[~np.isnan(values)]
    if not len(known):
        raise ValueError("no values to average")
    mean = float(known.mean())
    if len(known) < 2 or np.ptp(known) == 0:
        return Interval(mean, mean, mean, len(known))
    interval = stats.bootstrap(
        (known,),
        np.mean,
        n_resamples=RESAMPLES,
        method="percentile",
        rng=np.random.default_rng(seed),
        batch=max(1, 2**22 // len(known)),
    ).confidence_interval
    return Interval(mean, float(interval.low), float(interval.high), len(known))
