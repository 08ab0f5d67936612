"""Importance of settings on functions whose shares of the variance are known."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pytest
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution
from optuna.trial import FrozenTrial, create_trial

from actsr_cli.tuning.importance import FEWEST, Importance, importance_of
from actsr_cli.tuning.space import Space, read_space

A, B, C = KEYS = ("model.hidden_dropout", "model.attention_dropout", "training.weight_decay")
RANGES = read_space({key: {"low": 0.0, "high": 0.9} for key in KEYS}, "here")


def finished(params: Mapping[str, Any], score: float) -> FrozenTrial:
    known: dict[str, BaseDistribution] = {
        key: FloatDistribution(0, 10) if isinstance(value, float) else CategoricalDistribution([value])
        for key, value in params.items()
    }
    return create_trial(params=dict(params), distributions=known, value=score)


def law(a: float, b: float, c: float) -> float:
    return 10 * a + b + 0.1 * c


def of_grid(levels: int, value: Callable[..., float] = law) -> Importance:
    values = [round(0.1 * level, 1) for level in range(levels)]
    space = read_space(dict.fromkeys(KEYS, values), "here")
    trials = [finished(dict(zip(KEYS, row, strict=True)), value(*row)) for row in itertools.product(values, repeat=3)]
    return importance_of(space, trials, pruned=0, whole=levels**3)


def of_draws(space: Space, rows: np.ndarray[Any, Any], value: Callable[..., float], pruned: int = 0) -> Importance:
    trials = [finished(dict(zip(KEYS, map(float, row), strict=True)), value(*row)) for row in rows]
    return importance_of(space, trials, pruned=pruned, whole=None)


def shares(found: Importance) -> list[float]:
    return [found.shares[key] for key in KEYS]


LAW = [100 / 101.01, 1 / 101.01, 0.01 / 101.01]
"""The shares of `law`: the variance of each term divided by their sum."""


@pytest.mark.parametrize("levels", [2, 3, 4])
def test_a_grid_is_taken_apart_exactly(levels: int) -> None:
    found = of_grid(levels)
    assert shares(found) == pytest.approx(LAW) and found.rest == pytest.approx(0, abs=1e-9)
    assert list(found.shares) == list(KEYS) and found.note == f"all {levels**3} combinations"


def test_as_many_trials_as_combinations_are_not_all_combinations_if_some_are_drawn_again() -> None:
    space = read_space({"model.layers": [1, 2], "training.epochs": [1, 2]}, "here")
    trials = [finished({"model.layers": 1, "training.epochs": 1}, 1.0)] * 3
    trials += [finished({"model.layers": 2, "training.epochs": 2}, 2.0)]
    assert importance_of(space, trials, pruned=0, whole=4).shares == {}


def test_what_keys_do_together_is_no_share_of_either() -> None:
    found = of_grid(2, lambda a, b, c: a + b + 20 * (a - 0.05) * (b - 0.05))  # a, b and a times b: 0.05 each way
    assert shares(found) == pytest.approx([1 / 3, 1 / 3, 0]) and found.rest == pytest.approx(1 / 3)


@pytest.mark.parametrize("count", [30, 60, 150])
@pytest.mark.parametrize("seed", range(5))
def test_random_draws_of_a_known_function(count: int, seed: int) -> None:
    rows = np.random.default_rng(seed).uniform(0, 0.9, (count, 3))
    assert shares(of_draws(RANGES, rows, law)) == pytest.approx(LAW, abs=1e-6)


@pytest.mark.parametrize("seed", range(10))
def test_what_is_shown_is_right_within_ten_points(seed: int) -> None:
    """Chance, curves and interactions: with few trials nothing is shown, and with many what is right."""
    rng = np.random.default_rng(seed)
    functions: list[tuple[Callable[..., float], list[float]]] = [
        (lambda a, b, c: a + rng.normal(0, 0.3 * 0.9 / 12**0.5), [1 / 1.09, 0, 0]),
        (lambda a, b, c: -((a - 0.45) ** 2), [1, 0, 0]),
        (lambda a, b, c: (a - 0.45) * (b - 0.45), [0, 0, 0]),
    ]
    shown = 0
    for value, expected in functions:
        assert not of_draws(RANGES, rng.uniform(0, 0.9, (FEWEST - 1, 3)), value).shares
        for count in (30, 60, 120, 240):
            found = of_draws(RANGES, rng.uniform(0, 0.9, (count, 3)), value)
            if found.shares:
                shown += 1
                assert shares(found) == pytest.approx(expected, abs=0.15)
    assert shown > 4


def test_a_logarithmic_range_and_a_list() -> None:
    raw = {
        "training.learning_rate": {"low": 1e-4, "high": 1e-2, "log": True},
        "training.schedule": ["constant", "cosine"],
    }
    space, rng = read_space(raw, "here"), np.random.default_rng(0)
    rates, flags = 10 ** rng.uniform(-4, -2, 40), rng.integers(0, 2, 40)
    trials = [
        finished(
            {"training.learning_rate": float(rate), "training.schedule": ["constant", "cosine"][flag]},
            float(np.log10(rate) + 3 + flag),
        )
        for rate, flag in zip(rates, flags, strict=True)
    ]
    found = importance_of(space, trials, pruned=0, whole=None)
    first, second = 4 / 12, 1 / 4  # variances of a uniform exponent in a width of 2, and of a fair coin
    expected = {"training.learning_rate": first / (first + second), "training.schedule": second / (first + second)}
    assert found.shares == pytest.approx(expected, rel=0.02)  # 101 points stand for the range


def test_when_nothing_is_known_the_reason_is_said() -> None:
    rows = np.random.default_rng(0).uniform(0, 0.9, (100, 3))
    pruned = of_draws(RANGES, rows, law, pruned=2)
    assert not pruned.shares and "2 pruned trials" in pruned.note and "--no-pruning" in pruned.note
    assert "it takes 21 finished trials, there are 8" in of_draws(RANGES, rows[:8], law).note
    assert of_draws(RANGES, rows, lambda *_: 1.0).note == "all values are equal"
    assert "there are 1" in of_draws(RANGES, rows[:1], law).note
    assert of_draws(RANGES[:1], rows, law).note == "only one key varies"
    noisy = of_draws(RANGES, rows[:30], lambda *_: float(np.random.default_rng(int(1e6 * _[0])).normal()))
    assert not noisy.shares and "uncertain" in noisy.note
    nine = read_space({key: [0.1, 0.2, 0.3] for key in KEYS[:2]}, "here")
    part = [finished({A: a, B: b}, a) for a, b in itertools.product([0.1, 0.2, 0.3], [0.1, 0.2])]
    found = importance_of(nine, part, pruned=0, whole=9)
    assert found == Importance("it takes 20 finished trials or all 9 combinations, there are 6")


def test_a_key_of_some_trials_alone_does_not_weigh_on_the_others() -> None:
    """Calibration `full` has two trials for each rate, `none` has one: both count the same."""
    raw = {
        "calibration.kind": ["none", "full"],
        "training.learning_rate": [1e-3, 1e-2],
        "calibration.renorm": ["sum", "softmax"],
    }
    trials = [
        finished({"calibration.kind": "none", "training.learning_rate": rate}, 100 * rate) for rate in (1e-3, 1e-2)
    ]
    trials += [
        finished(
            {"calibration.kind": "full", "training.learning_rate": rate, "calibration.renorm": renorm},
            100 * rate + 1 + (0.2 if renorm == "sum" else -0.2),
        )
        for rate in (1e-3, 1e-2)
        for renorm in ("sum", "softmax")
    ]
    found = importance_of(read_space(raw, "here"), trials, pruned=0, whole=6)
    kind, rate, renorm = 0.25, 0.45**2, 0.5 * 0.2**2
    total = kind + rate + renorm
    assert found.shares == pytest.approx({"calibration.kind": kind / total, "training.learning_rate": rate / total})
    assert found.rest == pytest.approx(renorm / total)
