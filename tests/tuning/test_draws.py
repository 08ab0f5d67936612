"""Random combinations: all different, from the whole space, and others for each seed."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from actsr_cli.tuning.draws import combinations, draws
from actsr_cli.tuning.space import grid, read_space

CHOICE = {"calibration.kind": ["none", "full"], "calibration.renorm": ["sum", "softmax"], "model.layers": [1, 2]}


@pytest.mark.parametrize(
    ("raw", "count"),
    [
        ({"model.layers": [1, 2, 3], "training.schedule": ["constant", "cosine"]}, 6),
        ({"model.layers": {"low": 1, "high": 4}, "model.heads": [1, 2, 2]}, 8),
        ({"model.layers": {"low": 1, "high": 9, "steps": 2}}, 9),  # draws take the whole range
        ({"training.learning_rate": {"low": 1e-4, "high": 1e-2}, "model.layers": [1, 2]}, None),
        (CHOICE, 6),  # none has no renorm
    ],
)
def test_the_number_of_combinations(raw: dict[str, Any], count: int | None) -> None:
    space = read_space(raw, "here")
    assert combinations(space) == count
    if count is not None:
        every = draws(space, 0, count)
        assert len({tuple(each.items()) for each in every}) == count


def test_all_of_a_space_is_drawn_before_it_ends() -> None:
    space = read_space(CHOICE, "here")
    assert sorted(map(repr, draws(space, 3, 6))) == sorted(map(repr, grid(space)))


@given(seed=st.integers(0, 2**32), count=st.integers(1, 12))
def test_the_same_seed_draws_the_same_and_more_begins_with_less(seed: int, count: int) -> None:
    space = read_space({"model.layers": [1, 2, 3, 4], "training.weight_decay": [0.0, 0.1, 0.2]}, "here")
    assert draws(space, seed, 12)[:count] == draws(space, seed, count)


def test_neighbouring_seeds_share_no_draws() -> None:
    space = read_space({"training.learning_rate": {"low": 1e-4, "high": 1e-2, "log": True}}, "here")
    drawn = [each["training.learning_rate"] for seed in range(20) for each in draws(space, seed, 20)]
    assert len(set(drawn)) == 400


@pytest.mark.parametrize(
    ("key", "domain", "mean"),
    [
        ("training.learning_rate", {"low": 1e-4, "high": 1e-2, "log": True}, -3.0),
        ("model.hidden_dropout", {"low": 0.1, "high": 0.5}, 0.3),
        ("model.layers", {"low": 1, "high": 5}, 3.0),
        ("model.hidden_size", {"low": 16, "high": 1024, "log": True}, np.log10(128)),
    ],
)
def test_draws_are_spread_over_the_range(key: str, domain: dict[str, Any], mean: float) -> None:
    space = read_space({key: domain}, "here")
    drawn: list[Any] = [draws(space, seed, 1)[0][key] for seed in range(2000)]
    assert min(drawn) >= domain["low"] and max(drawn) <= domain["high"]
    found = np.log10(drawn) if domain.get("log") else np.array(drawn)
    assert found.mean() == pytest.approx(mean, abs=4 * found.std() / 2000**0.5)
    assert all(isinstance(value, type(domain["low"])) for value in drawn)
