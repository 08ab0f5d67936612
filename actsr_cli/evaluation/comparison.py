"""Comparison of models: differences, tests paired over users and over seeds, and groups of users."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from actsr_cli.evaluation.metrics import Measure
from actsr_cli.evaluation.significance import Interval, PairedTest, holm, mean_interval, paired_t, signed_ranks

LEVEL = 0.05
"""The significance level: a p-value below it counts as a difference."""
_DIGITS = 9
"""Decimals of a difference. Further ones are rounding errors of means and would break ties between users."""

Verdict = Literal["better", "worse", "open"]
Values = NDArray[np.float64]


@dataclass(frozen=True)
class Contender:
    """A run to compare, or several runs that differ only in their seed.

    Attributes:
        name: name of the run or the group.
        values: values by measure: (runs, users), or (runs,) if the measure is one number for all users together. NaN
            if a user has no value.
        seeds: (runs,) seed of each run.
    """

    name: str
    values: Mapping[str, Values]
    seeds: tuple[int, ...]

    def means(self, measure: Measure) -> Values:
        """(runs,) mean over users."""
        values = self.values[measure.name]
        return values if measure.metric.of_catalogue else known_mean(values, axis=1)


@dataclass(frozen=True)
class Difference:
    """One metric of a contender compared with the baseline.

    Attributes:
        measure: such as ndcg@10.
        baseline: name of the baseline.
        contender: name of the other one.
        of_baseline: (runs,) the baseline's means over users.
        of_contender: (runs,) the contender's.
        difference: contender minus baseline with its interval, over users (each user's mean over the runs). If the
            measure has no value per user, the interval is the difference itself.
        users: Wilcoxon's test over the same differences; None if the measure has no value per user.
        seeds: the paired t-test over the means of each seed's runs; None with fewer than two common seeds that
            have a value, and for models whose runs are all alike.
        users_holm: `users.p`, corrected over all comparisons made together.
        seeds_holm: `seeds.p`, corrected in the same way.
    """

    measure: Measure
    baseline: str
    contender: str
    of_baseline: tuple[float, ...]
    of_contender: tuple[float, ...]
    difference: Interval
    users: PairedTest | None
    seeds: PairedTest | None
    users_holm: float | None = None
    seeds_holm: float | None = None

    @property
    def verdict(self) -> Verdict:
        """`better` or `worse` if every available test is significant and all agree on the direction, else `open`.

        The tests may disagree with the difference of the means, for example if many users lose a little and a few gain
        much.
        """
        tests = [test for test in (self.users, self.seeds) if test is not None]
        corrected = [p for p in (self.users_holm, self.seeds_holm) if p is not None]
        signs = {float(np.sign(value)) for value in (self.difference.mean, *(test.effect for test in tests))}
        if not tests or any(p >= LEVEL for p in corrected) or signs not in ({1.0}, {-1.0}):
            return "open"
        return "better" if (signs == {1.0}) != self.measure.lower_is_better else "worse"


@dataclass(frozen=True)
class Slice:
    """A group of users.

    Attributes:
        by: the quantity that defines the group: `history length` or `item popularity`.
        label: the range of that quantity.
        users: number of users in the group.
        means: the measure of each contender, the baseline first.
        differences: contender minus baseline with its interval, for each contender except the baseline.
    """

    by: str
    label: str
    users: int
    means: tuple[float, ...]
    differences: tuple[Interval, ...]


def differences(contenders: Sequence[Contender], wanted: Sequence[Measure]) -> list[Difference]:
    """Compare every contender with the first one by every measure; p-values are corrected over all comparisons.

    Args:
        contenders: at least two, ranked over the same users.
        wanted: the measures to compare by.
    """
    baseline, *others = contenders
    found = [_difference(measure, baseline, other) for other in others for measure in wanted]
    of_users = iter(holm([each.users.p for each in found if each.users is not None]))
    of_seeds = iter(holm([each.seeds.p for each in found if each.seeds is not None]))
    return [
        replace(
            each,
            users_holm=None if each.users is None else next(of_users),
            seeds_holm=None if each.seeds is None else next(of_seeds),
        )
        for each in found
    ]


def slices(
    contenders: Sequence[Contender], measure: Measure, by: str, quantity: NDArray[np.int64], parts: int = 4
) -> list[Slice]:
    """A measure for groups of users of about the same size, in ascending order of a quantity.

    Args:
        contenders: the baseline first.
        measure: one that has a value per user.
        by: name of the quantity.
        quantity: (users,) whole numbers.
        parts: maximum number of groups; there are fewer if many users have the same value.
    """
    values = [known_mean(contender.values[measure.name], axis=0) for contender in contenders]
    found = []
    for label, chosen in _parts(quantity, parts):
        own = [value[chosen] for value in values]
        found.append(
            Slice(
                by=by,
                label=label,
                users=int(chosen.sum()),
                means=tuple(float(known_mean(value)) for value in own),
                differences=tuple(_interval(value - own[0]) for value in own[1:]),
            )
        )
    return found


def _over_seeds(baseline: Values, other: Values) -> PairedTest | None:
    """The test over the means of two models with the same seeds; None if there is nothing that chance could change."""
    if len(baseline) < 2 or np.ptp(baseline) == np.ptp(other) == 0:
        return None
    return paired_t(np.round(other - baseline, _DIGITS))


def known_mean(values: ArrayLike, axis: int | None = None) -> Values:
    """The mean along an axis without the NaNs; NaN if there is no other value. Unlike `nanmean`, it never warns."""
    values = np.asarray(values, dtype=np.float64)
    count = (~np.isnan(values)).sum(axis=axis)
    return np.asarray(np.where(count, np.nansum(values, axis=axis) / np.maximum(count, 1), np.nan))


def _difference(measure: Measure, baseline: Contender, other: Contender) -> Difference:
    of_baseline, of_other = baseline.means(measure), other.means(measure)
    common = [seed for seed in baseline.seeds if seed in other.seeds]
    pairs = np.array([(of_baseline[baseline.seeds.index(seed)], of_other[other.seeds.index(seed)]) for seed in common])
    by_seed = np.round(pairs.reshape(-1, 2), _DIGITS)
    by_seed = by_seed[~np.isnan(by_seed).any(axis=1)]
    users = None
    if measure.metric.of_catalogue:
        gap = float(known_mean(of_other) - known_mean(of_baseline))
        interval = Interval(gap, gap, gap, 1)
    else:
        per_user = [known_mean(each.values[measure.name], axis=0) for each in (baseline, other)]
        by_user = np.round(per_user[1] - per_user[0], _DIGITS)
        known = by_user[~np.isnan(by_user)]
        if len(known):
            users = signed_ranks(known)
        interval = _interval(known)
    return Difference(
        measure=measure,
        baseline=baseline.name,
        contender=other.name,
        of_baseline=tuple(of_baseline.tolist()),
        of_contender=tuple(of_other.tolist()),
        difference=interval,
        users=users,
        seeds=_over_seeds(by_seed[:, 0], by_seed[:, 1]),
    )


def _interval(values: Values) -> Interval:
    """As `mean_interval`; NaN with a count of 0 if there is no value."""
    known = values[~np.isnan(values)]
    return mean_interval(known) if len(known) else Interval(np.nan, np.nan, np.nan, 0)


def _parts(quantity: NDArray[np.int64], parts: int) -> list[tuple[str, NDArray[np.bool_]]]:
    """Labels and members of consecutive ranges of whole numbers, cut at quantiles."""
    cuts = np.unique(np.quantile(quantity, np.arange(1, parts) / parts, method="lower"))
    cuts = cuts[cuts < quantity.max()]
    place = np.searchsorted(cuts, quantity)
    found = []
    for index in range(len(cuts) + 1):
        chosen = place == index
        low, high = int(quantity[chosen].min()), int(quantity[chosen].max())
        found.append((str(low) if low == high else f"{low} to {high}", chosen))
    return found
