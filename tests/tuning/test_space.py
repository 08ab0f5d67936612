"""Search spaces: accepted values, grids, and errors that name the key."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import optuna
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from samples import sequence_data

from actsr_cli.config import MODELS
from actsr_cli.errors import ConfigError
from actsr_cli.experiment.record import Status
from actsr_cli.experiment.run import Origin, new_run
from actsr_cli.presets import load_preset, preset_names, resolve, with_values
from actsr_cli.tuning.planning import Basis, basis_of, space_of
from actsr_cli.tuning.space import draw, grid, read_space


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
    found: list[Any] = dimension.points()
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
        ({"training.learning_rate": 1e-3}, "must be a list of values or a mapping with low and high, not 0.001"),
        ({"training.learning_rate": [1e-3, 0]}, "training.learning_rate = 0 (here): must be greater than 0"),
        ({"training.learning_rate": {"low": 0, "high": 1}}, "training.learning_rate = 0 (here): must be greater than"),
        ({"model.layers": {"low": 1.5, "high": 3}}, "model.layers = 1.5 (here): must be a valid integer"),
        ({"model.layers": {"low": 3, "high": 3}}, "is empty: low 3 is not below high 3"),
        ({"model.layers": {"low": 1, "hihg": 3}}, "unknown 'hihg'; did you mean 'high'?"),
        ({"model.layers": {"low": 1}}, "model.layers in the search space of here: high: field required"),
        ({"model.hidden_dropout": {"low": 0, "high": 0.5, "log": True}}, "low of a logarithmic range must be above 0"),
        ({"training.schedule": ["sine"]}, "training.schedule = \"sine\" (here): must be 'constant'"),
        ({"model.options": [{"depth": 2}]}, "is not a single value"),
        ({"data.user_core": [0, 5]}, "data.user_core in the search space of here cannot be searched"),
        ({"dataset": ["beauty", "toys"]}, "cannot be searched"),
        ({"evaluation.seen": ["rank", "exclude"]}, "cannot be searched"),
        ({"training.monitor": ["hit@10", "ndcg@10"]}, "all trials share data, seed and metric"),
        ({"training.seed": {"low": 0, "high": 9}}, "cannot be searched"),
        ({7: [1]}, "7 in the search space of here is not a key such as training.learning_rate"),
        (["training.learning_rate"], "the search space of here must be a mapping of keys to values"),
    ],
)
def test_what_is_wrong_is_said(raw: Any, message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        read_space(raw, "here")
    assert message in caught.value.message


def test_a_grid_needs_points() -> None:
    with pytest.raises(ConfigError, match="a range without steps, so a grid cannot enumerate it"):
        points({"low": 1e-4, "high": 1e-2})


def basis(**given: Any) -> Basis:
    """The common settings of all trials, from the arguments of `resolve`."""
    resolved = resolve(**given)
    return Basis(resolved, preset=given.get("preset"), space=resolved.preset)


def space_file(folder: Path, space: dict[str, Any]) -> Path:
    (folder / "space.yaml").write_text(yaml.safe_dump({"tune": space}))
    return folder / "space.yaml"


@pytest.mark.parametrize(
    ("options", "space", "message"),
    [
        (
            {"model.name": "sasrec"},
            {"model.time_span": [8, 16]},
            r"model.time_span \(search space of .*space.yaml\): sasrec has no such key, it belongs to tisasrec",
        ),
        (
            {"calibration.kind": "none"},
            {"calibration.mask_weight": [0.3, 0.03]},
            "calibration none has no such key, it belongs to adversarial and full",
        ),
        ({"loss.name": "bpr"}, {"loss.label_smoothing": [0.0, 0.1]}, "loss bpr has no such key, it belongs to ce"),
        (
            {"model.name": "item-knn"},
            {"training.learning_rate": [1e-3]},
            "item-knn is not trained by gradients and has no such",
        ),
        ({"model.name": "item-knn"}, {"loss.name": ["ce"]}, "item-knn is not trained by gradients and has no such key"),
        (
            {},
            {"model.name": ["sasrec", "gru4rec"], "model.time_span": [8, 16]},
            "sasrec and gru4rec have no such key, it belongs to tisasrec",
        ),
        ({}, {"model.name": ["sasrek"]}, "there is no such model; did you mean 'sasrec'?"),
        ({"training.epochs": 3}, {"training.epochs": [1, 2]}, "nothing is left to search for sasrec"),
        ({"model.name": "popularity"}, None, "popularity has nothing to search"),
    ],
)
def test_a_space_that_the_choice_does_not_read_is_refused(
    tmp_path: Path, options: dict[str, Any], space: dict[str, Any] | None, message: str
) -> None:
    file = None if space is None else space_file(tmp_path, space)
    with pytest.raises(ConfigError, match=message):
        space_of(basis(options=options), file)


def test_the_space_of_a_preset_is_refused_likewise() -> None:
    with pytest.raises(ConfigError, match=r"model.heads \(search space of preset beauty\): gru4rec has no such key"):
        space_of(basis(preset="beauty", options={"model.name": "gru4rec", "calibration.kind": "none"}), None)


@pytest.mark.parametrize(
    ("options", "keys", "note"),
    [
        ({}, ["model.layers"], ""),
        (
            {"model.name": "item-knn"},
            ["model.neighbours", "model.neighbour_decay"],
            "made for model.name=sasrec, not item-knn",
        ),
        (
            {"loss.name": "bpr"},
            ["training.learning_rate", "model.hidden_dropout"],
            "made for loss.name=ce, not bpr",
        ),
        (None, ["training.learning_rate", "model.hidden_dropout"], "is not available: no file"),
    ],
)
def test_the_space_that_comes_along_with_a_run(
    tmp_path: Path, options: dict[str, Any] | None, keys: list[str], note: str
) -> None:
    """The preset's space if the preset was made for the same choices and still exists, else that of the model."""
    preset = tmp_path / "mine.yaml"
    preset.write_text(yaml.safe_dump({"dataset": "demo", "tune": {"model.layers": [1, 2]}}))
    config = resolve(preset=preset, options=options).config
    with new_run(tmp_path / "runs", config, sequence_data([[1, 2, 3]]), origin=Origin(preset=str(preset))) as run:
        run.update(status=Status.FINISHED)
    if options is None:
        preset.unlink()
    found = basis_of(None, [], {}, tmp_path / "runs")
    assert [each.key for each in space_of(found, None)[0]] == keys
    assert note in found.note and bool(note) == bool(found.note)


def test_a_key_with_a_value_is_left_out(tmp_path: Path) -> None:
    file = space_file(tmp_path, {"model.layers": [1, 2], "model.heads": [1, 2]})
    space, given = space_of(basis(overrides=["model.heads=4"]), file)
    assert [each.key for each in space] == ["model.layers"]
    assert given == {"model.heads": "already set by --set"}


OWN = """
from actsr_cli.models.base import CustomModel
from actsr_cli.training.losses import PredictionLoss

class Model(CustomModel):
    options = ("depth", "width")

class Loss(PredictionLoss):
    own = ("margin",)
"""


@pytest.fixture
def own_module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    (tmp_path / "searched.py").write_text(OWN)


@pytest.mark.usefixtures("own_module")
def test_options_of_ones_own_are_searched(tmp_path: Path) -> None:
    space = {"model.options.depth": {"low": 1, "high": 3}, "loss.options.margin": {"low": 0.5, "high": 1, "steps": 2}}
    found = basis(overrides=["model=searched:Model", "loss=searched:Loss", "model.options.width=7"])
    searched, given = space_of(found, space_file(tmp_path, space | {"model.options.width": [7, 8]}))
    assert list(given) == ["model.options.width"]
    points = {each.key: each.points() for each in searched}
    assert points == {"model.options.depth": [1, 2, 3], "loss.options.margin": [0.5, 1.0]}
    assert isinstance(points["model.options.depth"][0], int)
    config = with_values(found.resolved.config, grid(searched)[-1])
    assert config.model.model_dump()["options"] == {"width": 7, "depth": 3}
    assert config.loss.model_dump()["options"] == {"margin": 1.0}


@pytest.mark.usefixtures("own_module")
@pytest.mark.parametrize(
    ("model", "key", "message"),
    [
        ("searched:Model", "model.options.deph", r"unknown key 'model\.options\.deph' for Model; did you mean 'depth'"),
        ("searched:Model", "loss.options.margin", r"loss ce has no such key, it belongs to a loss of your own"),
        ("sasrec", "model.options.depth", r"sasrec has no such key, it belongs to a model of your own"),
        ("searched:Model", "training.options.depth", r"unknown key 'training\.options\.depth'"),
    ],
)
def test_options_that_nobody_reads_are_refused(tmp_path: Path, model: str, key: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        space_of(basis(options={"model.name": model}), space_file(tmp_path, {key: [1, 2]}))


@pytest.mark.parametrize("name", MODELS.by_name)
def test_every_model_has_a_space_of_its_own(name: str) -> None:
    own = basis(options={"model.name": name})
    if not MODELS.by_name[name].search:
        assert name == "popularity"
        return
    space, _ = space_of(own, None)
    assert 2 <= len(grid(space)) <= 20


def test_a_key_is_searched_where_it_applies() -> None:
    """Choices are drawn before their keys, in any order of the file."""
    space = read_space(
        {"calibration.renorm": ["sum", "softmax"], "loss.negatives": [8], "calibration.kind": ["none", "full"]}
        | {"loss.name": ["bce", "ce"]},
        "here",
    )
    assert grid(space) == [
        {"calibration.kind": kind, "loss.name": loss} | renorm | negatives
        for kind, renorms in (("none", [{}]), ("full", [{"calibration.renorm": r} for r in ("sum", "softmax")]))
        for loss, negatives in (("bce", {"loss.negatives": 8}), ("ce", {}))
        for renorm in renorms
    ]
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
    for _ in range(20):
        trial = study.ask()
        draw(space, trial)
        assert ("calibration.renorm" in trial.params) == (trial.params["calibration.kind"] == "full")
        assert ("loss.negatives" in trial.params) == (trial.params["loss.name"] == "bce")
        with_values(resolve(preset="beauty").config, trial.params)


def test_models_that_are_counted_have_no_learning_rate() -> None:
    space = read_space({"training.learning_rate": [1e-3, 1e-2], "model.name": ["item-knn", "sasrec"]}, "here")
    assert grid(space) == [
        {"model.name": "item-knn"},
        {"model.name": "sasrec", "training.learning_rate": 1e-3},
        {"model.name": "sasrec", "training.learning_rate": 1e-2},
    ]


@pytest.mark.parametrize("name", preset_names())
def test_every_preset_has_a_search_space_with_a_grid(name: str) -> None:
    preset = load_preset(name)
    combinations = grid(read_space(preset.space, preset.origin))
    assert 2 <= len(combinations) <= 200
    for key, value in preset.space.items():
        if isinstance(value, list):  # the preset's own value is one of them
            section, _, last = key.rpartition(".")
            assert getattr(getattr(preset.config, section), last) in value


@pytest.mark.parametrize(
    "space",
    [
        {"training.learning_rate": {"low": 1e-4, "high": 1e-2, "steps": 10**9}},
        {"model.layers": {"low": 1, "high": 900}, "model.hidden_size": {"low": 1, "high": 60_000}},
        {"model.layers": list(range(1, 401)), "training.learning_rate": {"low": 1e-4, "high": 1e-2, "steps": 300}},
    ],
)
def test_a_grid_is_refused_by_its_size_before_it_is_made(space: dict[str, Any]) -> None:
    read = read_space(space, "test")
    with pytest.raises(ConfigError, match=r"the grid has .* combinations, more than 100,000") as caught:
        grid(read)
    assert "--tpe" in str(caught.value.hint)


@pytest.mark.parametrize("bound", [10**400, -(10**400), 1e308, float("inf"), float("nan")])
def test_bounds_beyond_all_numbers_are_refused(bound: float) -> None:
    with pytest.raises(ConfigError):
        read_space({"model.options.depth": {"low": 1, "high": bound}}, "test")


def test_a_bound_that_is_no_text_is_refused() -> None:
    with pytest.raises(ConfigError, match="unknown '1'"):
        read_space({"model.hidden_dropout": {1: 2}}, "test")
