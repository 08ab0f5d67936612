"""How much each searched key changes the value of a trial: its share of the variance.

If every combination of the space has finished, the shares are exact: the variance of the mean value per setting of a
key, divided by the variance of all values (functional analysis of variance, first order). Otherwise the mean value per
setting is estimated by least squares, as a parabola over a range and freely over a list of values. The variance of such
a curve, less what chance alone would give it, is that of uniform draws, whatever the trials have drawn. Pruned trials
are bad ones, and without them both ways are wrong.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray
from optuna.trial import FrozenTrial

from actsr_cli.tuning.space import Dimension, Range, Space
from actsr_cli.words import counted

FEWEST = 20
"""Fewest finished trials for an estimate; there must also be `_PER_COLUMN` per estimated number."""
_PER_COLUMN = 3
MARGIN = 0.1
"""Shares are shown only if each is known to within this margin, with a probability of 90 %."""
_QUANTILE = 1.645
"""Of the normal distribution: 90 % of it are within this many standard deviations."""
_POINTS = 101
"""Points of a range at which the variance of a curve is computed."""

Numbers = NDArray[np.float64]


@dataclass(frozen=True)
class Importance:
    """The importance of the searched keys.

    Attributes:
        note: what the shares are of; if there are none, the reason.
        shares: share of the variance that each key explains alone, the largest first; empty if it is not known.
        rest: the rest of the variance: interactions of keys, and chance.
    """

    note: str
    shares: dict[str, float] = field(default_factory=dict)
    rest: float = 0.0


def importance_of(space: Space, finished: Sequence[FrozenTrial], *, pruned: int, whole: int | None) -> Importance:
    """The importance of the keys that every trial of a study has.

    Args:
        space: the search space.
        finished: the finished trials.
        pruned: number of pruned trials, whose final values are unknown.
        whole: number of all combinations of the space that the study can try; None if they are countless.
    """
    varying = [each for each in space if _width(each)]
    common = [each for each in varying if not each.only_with]
    if len(varying) < 2:
        return Importance("only one key varies")
    if pruned:
        return Importance(f"what {counted(pruned, 'pruned trial')} would have reached is unknown; see --no-pruning")
    values = np.array([trial.value for trial in finished], dtype=np.float64)
    if len(values) > 1 and len(set(values.tolist())) == 1:
        return Importance("all values are equal")
    different = len({repr(sorted(trial.params.items())) for trial in finished})  # TPE may draw a combination again
    if len(values) == different == whole:
        return _exact(common, finished, values)
    needed = max(FEWEST, _PER_COLUMN * (1 + sum(_width(each) for each in common)))
    if len(values) < needed:
        every = "" if whole is None else f" or all {whole:,} combinations"
        return Importance(f"it takes {needed} finished trials{every}, there are {len(values)}")
    return _estimated(common, finished, values)


def _exact(common: Sequence[Dimension], finished: Sequence[FrozenTrial], values: Numbers) -> Importance:
    """Shares over all combinations. Combinations of the common keys count the same, however many trials have them."""
    settings = [[trial.params[each.key] for each in common] for trial in finished]
    cells = Counter(map(repr, settings))
    weights = np.array([1 / cells[repr(row)] for row in settings])
    variance = _variance(values, weights)
    shares = {}
    for place, each in enumerate(common):
        levels = [repr(row[place]) for row in settings]
        groups = [np.array([level == name for level in levels]) for name in dict.fromkeys(levels)]
        means = np.array([np.average(values[group], weights=weights[group]) for group in groups])
        shares[each.key] = _variance(means, np.array([weights[group].sum() for group in groups])) / variance
    return _sorted(f"all {len(values):,} combinations", shares)


def _estimated(common: Sequence[Dimension], finished: Sequence[FrozenTrial], values: Numbers) -> Importance:
    """Shares by least squares, if they are known well enough."""
    blocks = [_columns(each, [trial.params[each.key] for trial in finished]) for each in common]
    design = np.hstack([np.ones((len(values), 1)), *blocks])
    n_trials, n_columns = design.shape
    if np.linalg.matrix_rank(design) < n_columns:
        return Importance("the trials have not tried enough different values")
    inverse = np.linalg.inv(design.T @ design)
    weights = inverse @ design.T @ values
    chance = float(((values - design @ weights) ** 2).sum()) / (n_trials - n_columns)
    shares, errors, begin = {}, [], 1
    for each, block in zip(common, blocks, strict=True):
        own = slice(begin, begin := begin + block.shape[1])
        curve, noise = weights[own], chance * inverse[own, own]
        spread = np.atleast_2d(np.cov(_columns(each, _points(each)), rowvar=False, bias=True))
        shares[each.key] = max(0.0, float(curve @ spread @ curve - np.trace(spread @ noise)))
        errors.append(4 * curve @ spread @ noise @ spread @ curve + 2 * np.trace(spread @ noise @ spread @ noise))
    variance = sum(shares.values()) + chance
    margin = _QUANTILE * float(np.sqrt(max(errors))) / variance
    if margin > MARGIN:
        return Importance(f"{n_trials} trials are too few, the shares are uncertain by ±{100 * margin:.0f} points")
    found = {key: share / variance for key, share in shares.items()}
    return _sorted(f"estimated from {n_trials:,} trials, ±{100 * MARGIN:.0f} points", found)


def _sorted(note: str, shares: dict[str, float]) -> Importance:
    ordered = dict(sorted(shares.items(), key=lambda item: -item[1]))
    return Importance(note, ordered, max(0.0, 1 - sum(shares.values())))


def _variance(values: Numbers, weights: Numbers) -> float:
    return float(np.average((values - np.average(values, weights=weights)) ** 2, weights=weights))


def _width(dimension: Dimension) -> int:
    """The number of columns of a key in the design of the least squares."""
    different = len(set(_points(dimension)))
    return min(2, different - 1) if isinstance(dimension.domain, Range) else different - 1


def _columns(dimension: Dimension, values: Sequence[object]) -> Numbers:
    """(values, width): the position in a range and its square, or which value of the list it is."""
    domain = dimension.domain
    if not isinstance(domain, Range):
        others = list(dict.fromkeys(domain))[1:]
        return np.array([[float(value == other) for other in others] for value in values])
    numbers, ends = np.array(values, dtype=np.float64), np.array([domain.low, domain.high], dtype=np.float64)
    if domain.log:
        numbers, ends = np.log(numbers), np.log(ends)
    place = (numbers - ends[0]) / (ends[1] - ends[0]) - 0.5
    return np.column_stack([place, place**2][: _width(dimension)])


def _points(dimension: Dimension) -> list[object]:
    """Values of a key that stand for uniform draws."""
    domain = dimension.domain
    if not isinstance(domain, Range):
        return list(dict.fromkeys(domain))
    spaced = (np.geomspace if domain.log else np.linspace)(domain.low, domain.high, _POINTS)
    return list(np.unique(spaced.round())) if dimension.whole else list(spaced)
