"""Search spaces: what they accept, what a grid of them is, and that errors name the key."""

from __future__ import annotations

from typing import Any

import optuna
import pytest
from hypothesis import given
from hypothesis import strategies as st

from actsr_cli.errors import ConfigError
from actsr_cli.presets import load_preset, preset_names, resolve
from actsr_cli.tuning.space import grid, read_space, unread


def points(domain: Any, key: str = "training.learning_rate") -> list[Any]:
    (dimension,) = read_space({key: domain}, "here")
    return dimension.points()


def test_points_on_a_grid() -> None:
    assert points([1e-3, 3e-3]) == [1e-3, 3e-3]
    assert points({"low": 0.001, "high": 0.1, "log": True, "steps": 3}) == pytest.approx([0.001, 0.01, 0.1])
    assert points({"low": 0.1, "high": 0.5, "steps": 3}, "model.hidden_dropout") == pytest.approx([0.1, 0.3, 0.5])
    assert points({"low": 1, "high": 4}, "model.layers") == [1, 2, 3, 4]
    assert points({"low": 1, "high": 4, "log": True, "steps": 3}, "model.layers") == [1, 2, 4]
    assert points([None, 0.5], "training.gradient_clip") == [None, 0.5]


def test_a_grid_is_every_combination() -> None:
    space = read_space({"model.layers": [1, 2], "training.schedule": ["constant", "cosine"]}, "here")
    assert grid(space) == [
        {"model.layers": layers, "training.schedule": schedule}
        for layers in (1, 2)
        for schedule in ("constant", "cosine")
    ]


@given(low=st.floats(1e-6, 1), factor=st.floats(1.01, 1e4), log=st.booleans(), steps=st.integers(2, 7))
def test_points_and_draws_lie_within_their_range(low: float, factor: float, log: bool, steps: int) -> None:
    (dimension,) = read_space(
        {"training.learning_rate": {"low": low, "high": low * factor, "log": log, "steps": steps}}, "here"
    )
    found = dimension.points()
    assert found == sorted(found) and len(found) == steps
    assert found[0] == pytest.approx(low) and found[-1] == pytest.approx(low * factor)
    trial = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0)).ask()
    assert low <= dimension.suggest(trial) <= low * factor  # type: ignore[operator]


@pytest.mark.parametrize(
    ("raw", "message"),
    [
        ({}, "here has no search space"),
        ({"training.learning_rat": [1]}, "did you mean 'training.learning_rate'?"),
        ({"training.learning_rate": []}, "training.learning_rate in the search space of here has no values"),
        ({"training.learning_rate": 1e-3}, "must be a list of values, or low and high: not 0.001"),
        ({"training.learning_rate": [1e-3, 0]}, "training.learning_rate = 0 (here): must be greater than 0"),
        ({"training.learning_rate": {"low": 0, "high": 1}}, "training.learning_rate = 0 (here): must be greater than"),
        ({"model.layers": {"low": 1.5, "high": 3}}, "model.layers = 1.5 (here): must be a valid integer"),
        ({"model.layers": {"low": 3, "high": 3}}, "is empty: low 3 is not below high 3"),
        ({"model.layers": {"low": 1, "hihg": 3}}, "unknown 'hihg'; did you mean 'high'?"),
        ({"model.layers": {"low": 1}}, "model.layers in the search space of here: high: field required"),
        ({"model.hidden_dropout": {"low": 0, "high": 0.5, "log": True}}, "a logarithmic range begins above 0"),
        ({"training.schedule": ["sine"]}, "training.schedule = \"sine\" (here): must be 'constant'"),
        ({"model.options": [{"depth": 2}]}, "is no single value"),
        ({"data.user_core": [0, 5]}, "data.user_core in the search space of here cannot be searched"),
        ({"dataset": ["beauty", "toys"]}, "cannot be searched"),
        ({"evaluation.seen": ["rank", "exclude"]}, "cannot be searched"),
        ({"training.monitor": ["hit@10", "ndcg@10"]}, "all trials have the same data, seed and measure"),
        ({"training.seed": {"low": 0, "high": 9}}, "cannot be searched"),
        ({7: [1]}, "7 in the search space of here is no key such as training.learning_rate"),
        (["training.learning_rate"], "the search space of here must be a mapping of keys to values"),
    ],
)
def test_what_is_wrong_is_said(raw: Any, message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        read_space(raw, "here")
    assert message in caught.value.message


def test_a_grid_needs_points() -> None:
    with pytest.raises(ConfigError, match="a range, of which a grid has no points"):
        points({"low": 1e-4, "high": 1e-2})


def test_what_a_model_does_not_read_is_known() -> None:
    space = read_space({"model.renorm": ["sum"], "training.mask_weight": [0.3], "model.layers": [1]}, "here")
    assert unread(space, resolve(options={"model.calibration": "none"}).config) == [
        "model.renorm",
        "training.mask_weight",
    ]
    assert unread(space, resolve(options={"model.calibration": "full"}).config) == []
    of_both = read_space({"model.renorm": ["sum"], "model.calibration": ["none", "full"]}, "here")
    assert unread(of_both, resolve().config) == []


@pytest.mark.parametrize("name", preset_names())
def test_every_preset_has_a_search_space_with_a_grid(name: str) -> None:
    preset = load_preset(name)
    combinations = grid(read_space(preset.space, preset.origin))
    assert 2 <= len(combinations) <= 200
    for key, value in preset.space.items():
        if isinstance(value, list):  # what the preset itself has is among them
            section, _, last = key.rpartition(".")
            assert getattr(getattr(preset.config, section), last) in value
