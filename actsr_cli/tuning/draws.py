"""Random combinations of a search space, none of them twice."""

from __future__ import annotations

import itertools
import math

import numpy as np

from actsr_cli.tuning.space import Dimension, Range, Scalar, Space


def combinations(space: Space) -> int | None:
    """The number of different combinations that can be drawn; None if a range of fractions makes them countless."""
    sizes = {each.key: _size(each) for each in space}
    if any(size is None for size in sizes.values()):
        return None
    naming = {key for each in space for key in each.only_with}
    total = 0
    for choices in _choices(tuple(each for each in space if each.key in naming)):
        free = (each for each in space if each.key not in naming and each.applies(choices))
        total += math.prod(sizes[each.key] or 1 for each in free)
    return total


def draws(space: Space, seed: int, count: int) -> list[dict[str, Scalar]]:
    """The first `count` random combinations of a study, all of them different.

    Each has random numbers of its own, from the seed and its place: another seed draws other combinations, and a longer
    study begins with the combinations of a shorter one, however many processes take them.

    Args:
        space: the search space; it must have `count` different combinations.
        seed: random seed of the study.
        count: number of combinations.
    """
    found: dict[tuple[tuple[str, Scalar], ...], None] = {}
    for place in range(count):
        rng = np.random.default_rng(np.random.SeedSequence([seed, place]))
        while len(found) == place:
            found[tuple(_combination(space, rng).items())] = None
    return [dict(items) for items in found]


def _choices(naming: Space) -> list[dict[str, Scalar]]:
    """All combinations of the keys that decide which other keys apply."""
    found: dict[tuple[tuple[str, Scalar], ...], None] = {}
    for values in itertools.product(*(each.domain for each in naming if isinstance(each.domain, tuple))):
        drawn: dict[str, Scalar] = {}
        for each, value in zip(naming, values, strict=True):
            if each.applies(drawn):
                drawn[each.key] = value
        found[tuple(drawn.items())] = None
    return [dict(items) for items in found]


def _combination(space: Space, rng: np.random.Generator) -> dict[str, Scalar]:
    drawn: dict[str, Scalar] = {}
    for each in space:
        if each.applies(drawn):
            drawn[each.key] = _value(each, rng)
    return drawn


def _size(dimension: Dimension) -> int | None:
    domain = dimension.domain
    if not isinstance(domain, Range):
        return len(set(domain))
    return int(domain.high) - int(domain.low) + 1 if dimension.whole else None


def _value(dimension: Dimension, rng: np.random.Generator) -> Scalar:
    domain = dimension.domain
    if not isinstance(domain, Range):
        values = list(dict.fromkeys(domain))
        return values[int(rng.integers(len(values)))]
    if dimension.whole and not domain.log:
        return int(rng.integers(int(domain.low), int(domain.high), endpoint=True))
    around = 0.5 if dimension.whole else 0.0  # an integer stands for the numbers that are rounded to it
    low, high = domain.low - around, domain.high + around
    number = math.exp(rng.uniform(math.log(low), math.log(high))) if domain.log else float(rng.uniform(low, high))
    number = min(max(number, domain.low), domain.high)
    return round(number) if dimension.whole else float(number)
