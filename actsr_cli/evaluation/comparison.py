"""Whether one model ranks better than another: paired over users and over seeds, and for whom."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from actsr_cli.evaluation.metrics import METRICS, Ranks
from actsr_cli.evaluation.significance import Interval, PairedTest, holm, mean_interval, paired_t, signed_ranks

MEAN_RANK = "rank"
"""The one metric of which less is better."""
LEVEL = 0.05
"""A p-value below it is taken for a difference."""
_DIGITS = 9
"""Decimals of a difference; further ones are rounding errors of means, which would break ties between users."""

Verdict = Literal["better", "worse", "open"]


@dataclass(frozen=True)
class Contender:
    """What is compared: a run, or several that differ in their seed alone.

    Attributes:
        name: of the run or the group.
        ranks: (runs, users) rank of each user's target.
        seeds: (runs,) seed of each run.
    """

    name: str
    ranks: Ranks
    seeds: tuple[int, ...]

    def values(self, metric: str) -> NDArray[np.float64]:
        """(runs, users) values of a metric."""
        return per_user(metric, self.ranks)


@dataclass(frozen=True)
class Difference:
    """One metric of a contender against the baseline's.

    Attributes:
        metric: such as ndcg@10, or `rank`.
        baseline: name of the baseline.
        contender: name of the other one.
        of_baseline: (runs,) the baseline's means over users.
        of_contender: (runs,) the contender's.
        difference: contender minus baseline with its interval, over users (each one's mean over the runs).
        users: Wilcoxon's test over the same differences.
        seeds: the paired t-test over the means of the runs of each seed; None where there are not two common seeds.
        users_holm: `users.p`, corrected over all comparisons made together.
        seeds_holm: `seeds.p`, likewise.
    """

    metric: str
    baseline: str
    contender: str
    of_baseline: tuple[float, ...]
    of_contender: tuple[float, ...]
    difference: Interval
    users: PairedTest
    seeds: PairedTest | None
    users_holm: float = 1.0
    seeds_holm: float | None = None

    @property
    def verdict(self) -> Verdict:
        """`better` or `worse` where every test that could be made tells the two apart, the same way, else `open`.

        The tests may disagree with the difference of the means: many users who lose a little and a few who gain much.
        """
        told_apart = self.users_holm < LEVEL and (self.seeds_holm is None or self.seeds_holm < LEVEL)
        seeds = [] if self.seeds is None else [self.seeds.effect]
        rises = {value > 0 for value in (self.difference.mean, self.users.effect, *seeds)}
        if not told_apart or len(rises) > 1:
            return "open"
        return "better" if rises.pop() != is_lower_better(self.metric) else "worse"


@dataclass(frozen=True)
class Slice:
    """Some of the users.

    Attributes:
        by: what they have in common: `history length` or `item popularity`.
        label: within which bounds.
        users: how many they are.
        means: the metric of each contender, the baseline first.
        differences: contender minus baseline with its interval, of each contender but the baseline.
    """

    by: str
    label: str
    users: int
    means: tuple[float, ...]
    differences: tuple[Interval, ...]


def is_lower_better(metric: str) -> bool:
    """Whether less of a metric is better."""
    return metric == MEAN_RANK


def per_user(metric: str, ranks: Ranks) -> NDArray[np.float64]:
    """The value of a metric for each rank, in the shape of `ranks`."""
    if metric == MEAN_RANK:
        return ranks
    name, _, k = metric.partition("@")
    return METRICS[name](ranks, int(k))


def differences(contenders: Sequence[Contender], metrics: Sequence[str]) -> list[Difference]:
    """Every contender against the first one by every metric; p-values are corrected over all of them together.

    Args:
        contenders: at least two, ranked over the same users.
        metrics: such as hit@10, or `rank`.
    """
    baseline, *others = contenders
    found = [_difference(metric, baseline, other) for other in others for metric in metrics]
    of_users = holm([each.users.p for each in found])
    of_seeds = iter(holm([each.seeds.p for each in found if each.seeds is not None]))
    return [
        replace(each, users_holm=corrected, seeds_holm=None if each.seeds is None else next(of_seeds))
        for each, corrected in zip(found, of_users, strict=True)
    ]


def slices(
    contenders: Sequence[Contender], metric: str, by: str, quantity: NDArray[np.int64], parts: int = 4
) -> list[Slice]:
    """A metric for users in parts of about the same size, from little to much of a quantity.

    Args:
        contenders: the baseline first.
        metric: such as ndcg@10.
        by: what the quantity is.
        quantity: (users,) whole numbers.
        parts: at most so many; fewer where many users have the same.
    """
    values = [contender.values(metric).mean(axis=0) for contender in contenders]
    found = []
    for label, chosen in _parts(quantity, parts):
        own = [value[chosen] for value in values]
        found.append(
            Slice(
                by=by,
                label=label,
                users=int(chosen.sum()),
                means=tuple(float(value.mean()) for value in own),
                differences=tuple(mean_interval(value - own[0]) for value in own[1:]),
            )
        )
    return found


def _difference(metric: str, baseline: Contender, other: Contender) -> Difference:
    of_baseline, of_other = baseline.values(metric), other.values(metric)
    by_user = np.round(of_other.mean(axis=0) - of_baseline.mean(axis=0), _DIGITS)
    common = [seed for seed in baseline.seeds if seed in other.seeds]
    by_seed = [
        of_other[other.seeds.index(seed)].mean() - of_baseline[baseline.seeds.index(seed)].mean() for seed in common
    ]
    return Difference(
        metric=metric,
        baseline=baseline.name,
        contender=other.name,
        of_baseline=tuple(of_baseline.mean(axis=1).tolist()),
        of_contender=tuple(of_other.mean(axis=1).tolist()),
        difference=mean_interval(by_user),
        users=signed_ranks(by_user),
        seeds=paired_t(np.round(by_seed, _DIGITS)) if len(common) > 1 else None,
    )


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
