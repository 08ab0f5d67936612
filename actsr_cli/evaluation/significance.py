"""Bootstrap intervals and paired tests: how far chance alone moves a mean."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import stats

RESAMPLES = 1000


@dataclass(frozen=True)
class Interval:
    """A mean with its 95 % bootstrap interval.

    Attributes:
        mean: mean of the values.
        low: lower end of the interval.
        high: upper end of the interval.
        count: number of values.
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

    With fewer than two values, or if all values are equal, the interval is the mean itself.

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


@dataclass(frozen=True)
class PairedTest:
    """The result of a two-sided test of whether paired differences are 0 on the whole.

    Attributes:
        p: the probability of differences at least as large if there is no true difference.
        effect: size of the differences, which does not depend on their number; it has their sign.
    """

    p: float
    effect: float


def signed_ranks(differences: NDArray[np.float64]) -> PairedTest:
    """Wilcoxon's signed-rank test; the effect is the matched-pairs rank-biserial correlation, from -1 to 1.

    Pairs without a difference are left out (Wilcoxon, 1945). If no pair has one, p is 1 and the effect 0.
    """
    unequal = differences[differences != 0]
    if not len(unequal):
        return PairedTest(1.0, 0.0)
    ranks = stats.rankdata(np.abs(unequal))
    effect = float((np.sign(unequal) * ranks).sum() / ranks.sum())
    return PairedTest(float(stats.wilcoxon(unequal).pvalue), effect)


def paired_t(differences: NDArray[np.float64]) -> PairedTest:
    """The paired t-test; the effect is Cohen's d_z, the mean difference in standard deviations of the differences.

    If all differences are equal, they have no standard deviation: p is then 1 and the effect 0.

    Raises:
        ValueError: there are fewer than two pairs.
    """
    if len(differences) < 2:
        raise ValueError("a paired test needs at least two pairs")
    if np.ptp(differences) == 0:  # their standard deviation may be a rounding error
        return PairedTest(1.0, 0.0)
    effect = float(differences.mean() / differences.std(ddof=1))
    return PairedTest(float(stats.ttest_1samp(differences, 0.0).pvalue), effect)


def holm(p_values: Sequence[float]) -> list[float]:
    """P-values of a family of tests, adjusted by Holm's step-down method (1979), in their order.

    If there is no true difference, the probability that any of them falls below a level is at most that level.
    """
    order = sorted(range(len(p_values)), key=lambda index: p_values[index])
    adjusted = [0.0] * len(p_values)
    highest = 0.0
    for place, index in enumerate(order):
        highest = max(highest, min(1.0, (len(order) - place) * p_values[index]))
        adjusted[index] = highest
    return adjusted
