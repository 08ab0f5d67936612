"""Names of models, and properties that all models have."""

from __future__ import annotations

import sys
from dataclasses import replace
from importlib import import_module
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np
import pytest
import torch
from flat import batch_of, unpadded
from noise import given_noise
from samples import built, run_config
from torch import Tensor

from actsr_cli.attention import CalibratedAttention, recorded, split_parameters
from actsr_cli.batch import Batch, PaddedBatch
from actsr_cli.config import MODELS, CalibrationOptions, CustomOptions, ModelOptions, NoCalibration, section
from actsr_cli.config.models import PopularityOptions
from actsr_cli.errors import ConfigError
from actsr_cli.models import registry
from actsr_cli.models.base import CountingModel, CustomModel, EncoderModel, Model, SequentialModel
from actsr_cli.models.encoder import Pass
from actsr_cli.models.registry import (
    all_models,
    build_model,
    check_model,
    display_name,
    find_model,
    model_names,
    model_settings,
    model_size,
    names_of,
    parse_name,
)
from actsr_cli.presets import resolve


def test_names_on_the_command_line() -> None:
    assert parse_name("sasrec") == ("sasrec", "none")
    assert parse_name("ac-sasrec") == ("sasrec", "full")
    for name in ("sasrek", "ac_sasrec"):
        with pytest.raises(ConfigError, match="did you mean"):
            parse_name(name)
    with pytest.raises(ConfigError, match="unknown model"):
        find_model("ac-sasrec")


def test_a_model_is_chosen_by_two_settings() -> None:
    assert model_settings("ac-sasrec") == {"model.name": "sasrec", "calibration.kind": "full"}
    assert model_settings("ac-sasrec", "spatial") == {"model.name": "sasrec", "calibration.kind": "spatial"}
    assert model_settings(None) == {}


def test_display_names() -> None:
    names = [display_name(run_config(calibration=kind)) for kind in ("none", "spatial", "adversarial", "full")]
    assert names == ["sasrec", "sasrec-spatial", "sasrec-adversarial", "ac-sasrec"]
    assert {"sasrec", "ac-sasrec"} <= set(model_names())


def inputs(histories: list[list[int]]) -> Batch:
    """Histories with a user and times for each."""
    times = [[1e9 + 86_400.0 * place**2 + 0.5 for place in range(len(history))] for history in histories]
    return batch_of(histories, range(len(histories)), times)


def tiny(name: str, calibration: str = "none", **options: Any) -> Model:
    torch.manual_seed(0)
    small = {"max_length": 6, "hidden_size": 8, "inner_size": 8, "initializer_range": 0.5, **options}
    own = {key: value for key, value in small.items() if key in MODELS.find(name).model_fields}
    return built(run_config(name, calibration, **own), n_items=9, n_users=4).eval()


COMBINATIONS = [
    (name, calibration)
    for name, model in all_models().items()
    for calibration in ("none", "spatial", "adversarial", "full")
    if model.calibrated or calibration == "none"
]
TRAINED = [(name, calibration) for name, calibration in COMBINATIONS if MODELS.by_name[name].trained]


@pytest.mark.parametrize(("name", "calibration"), COMBINATIONS)
def test_every_model_scores_every_length(name: str, calibration: str) -> None:
    """Alone or in a batch, from one item to more than the model reads, of which only the latest count."""
    model = tiny(name, calibration)
    if isinstance(model, CountingModel):
        model.fit(np.array([1, 2, 3, 4, 5, 6, 2, 7, 8, 9]), np.array([0, 6, 10]))
    assert bool(split_parameters(model).adversary) == (calibration in ("adversarial", "full"))
    histories = [[5, 3, 4, 1, 2, 8, 7, 6, 2][:length] for length in range(1, 10)]
    batch = inputs(histories)
    batch = replace(batch, user_ids=torch.zeros_like(batch.lengths))
    with torch.inference_mode():
        together = model.score(batch)
        assert together.shape == (9, 10)
        assert torch.isfinite(together).all()
        for row, history in enumerate(histories):
            latest = max(0, len(history) - 6)
            assert batch.timestamps is not None
            times = batch.timestamps[int(batch.packing.first[row]) :][latest : len(history)]
            alone = batch_of([history[latest:]], [0], [times.tolist()])
            torch.testing.assert_close(model.score(alone)[0], together[row], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(("name", "calibration"), TRAINED)
def test_who_looks_ahead(name: str, calibration: str) -> None:
    """A change of later items does not affect a row in causal models, but does in bidirectional ones."""
    model = tiny(name, calibration)
    assert isinstance(model, SequentialModel)
    one = model.encode(inputs([[1, 2, 3, 4, 5]])).hidden
    other = model.encode(inputs([[1, 2, 3, 9, 8]])).hidden
    assert torch.allclose(one[:3], other[:3], atol=1e-5) == model.causal
    assert not torch.allclose(one[3:], other[3:])


@pytest.mark.parametrize(("name", "calibration"), TRAINED)
def test_the_last_position_alone_scores_the_same(name: str, calibration: str) -> None:
    model = tiny(name, calibration)
    assert isinstance(model, SequentialModel)
    batch = inputs([[1], [4, 5, 6], [1, 2, 3, 4, 5, 6]])
    read = model.scoring_inputs(batch)
    with torch.inference_mode():
        everywhere = model.encode(read).hidden[read.packing.last]
        torch.testing.assert_close(model.represent(batch), everywhere, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(("name", "calibration"), TRAINED)
def test_a_pass_returns_what_is_wanted(name: str, calibration: str) -> None:
    model = tiny(name, calibration)
    assert isinstance(model, SequentialModel)
    batch = inputs([[4, 5, 6], [1, 2, 3, 4, 5, 6]])
    whole = model.encode(batch)
    assert whole.perturbed is None and whole.layers == ()
    rows = torch.tensor([1, 2, 6])
    part = model.encode(batch, Pass(rows=rows, train=True, keep_stages=True))
    torch.testing.assert_close(part.hidden, whole.hidden[rows])
    attends = name != "gru4rec"
    assert len(part.layers) == attends * model.config.layers
    assert all(layer.stages is not None for layer in part.layers)
    if calibration in ("adversarial", "full"):
        assert part.perturbed is not None and part.perturbed.shape == part.hidden.shape
        assert [len(squares) for squares in part.squares] == [9] * model.config.layers
    else:
        assert part.perturbed is None and part.squares == ()


def test_sizes_without_memory() -> None:
    model = tiny("sasrec", "full")
    assert model_size(model.config, model.calibration, 9, 4) == sum(
        parameter.numel() for parameter in model.parameters()
    )
    assert model_size(PopularityOptions(), NoCalibration(), 10**9, 0) == 10**9 + 1


def test_settings_that_do_not_suit_a_model() -> None:
    with pytest.raises(ConfigError, match="GRU4Rec has no attention to calibrate"):
        built(run_config("gru4rec", "full"), n_items=9)
    with pytest.raises(ConfigError, match=r"model\.user_size 8 must be at least 1 and less than model\.hidden_size 8"):
        tiny("sse-pt", user_size=8)


OWN_MODEL = """
from torch import nn
from actsr_cli.models.base import CustomModel

class Mean(CustomModel):
    paper = "nowhere"
    options = ("width",)
    calibrated = False

    def __init__(self, options, calibration, n_items, n_users=0):
        super().__init__(options, calibration, n_items, n_users)
        self.items = nn.Embedding(n_items + 1, options.options.get("width", 4))

    def forward(self, batch):
        return self.items(batch.item_ids)

    def item_vectors(self):
        return self.items.weight

class Needy(Mean):
    def __init__(self, options, calibration, n_items, n_users=0):
        super().__init__(options, calibration, n_items, n_users)
        self.width = options.options["width"]

class Bare(Mean):
    options = ()

not_a_model = 3
"""


@pytest.fixture
def own_module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """The name of a module in the working directory."""
    name = f"own_{tmp_path.name.replace('-', '_')}"
    (tmp_path / f"{name}.py").write_text(OWN_MODEL)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    return name


def test_a_model_of_ones_own(own_module: str) -> None:
    name = f"{own_module}:Mean"
    assert parse_name(name) == (name, "none")
    assert parse_name(f"ac-{name}") == (name, "full")
    assert find_model(name).paper == "nowhere"
    config = run_config(name, options={"width": 7})
    assert display_name(config) == "Mean"
    model = built(config, n_items=5)
    assert isinstance(model, CustomModel)
    assert model.item_vectors().shape == (6, 7)
    assert model.score(inputs([[1, 2], [3]])).shape == (2, 6)
    with pytest.raises(ConfigError, match=r"unknown key 'model\.options\.widht' for Mean; did you mean 'width'"):
        check_model(CustomOptions(name=name, options={"widht": 7}), NoCalibration())
    with pytest.raises(ConfigError, match=r"unknown key 'model\.options\.width' for Bare: it takes none"):
        check_model(CustomOptions(name=f"{own_module}:Bare", options={"width": 7}), NoCalibration())


def test_a_registered_name_of_a_built_in_model_is_hidden(monkeypatch: pytest.MonkeyPatch) -> None:
    point = EntryPoint(name="sasrec", value="no.such:Model", group="actsr.models")
    monkeypatch.setattr(section, "entry_points", lambda group: [point])
    assert registry.hidden_names() == ["sasrec"]
    assert model_names().count("sasrec") == 1
    assert find_model("sasrec").title == "SASRec"


@pytest.mark.parametrize("options", all_models().values(), ids=all_models())
def test_classes_say_what_their_options_say(options: type[ModelOptions]) -> None:
    """A subclass inherits the needs of its parent."""
    module, _, name = options.target.partition(":")
    chosen = getattr(import_module(module), name)
    assert (chosen.needs_users, chosen.needs_timestamps, chosen.calibrated, issubclass(chosen, SequentialModel)) == (
        options.needs_users,
        options.needs_timestamps,
        options.calibrated,
        options.trained,
    )
    assert getattr(chosen, "causal", False) == options.causal


class Attentive(CustomModel):
    """A model with two calibrated attention layers; the first has the adversary."""

    def __init__(self, options: CustomOptions, calibration: CalibrationOptions, n_items: int, n_users: int = 0) -> None:
        super().__init__(options, calibration, n_items, n_users)
        self.items = torch.nn.Embedding(n_items + 1, options.hidden_size)
        self.layers = torch.nn.ModuleList(
            CalibratedAttention(options.hidden_size, 2, batch_first=True, max_length=6, calibration=kind)
            for kind in ("full", "spatial")
        )

    def forward(self, batch: PaddedBatch) -> Tensor:
        hidden: Tensor = self.items(batch.item_ids)
        for layer in self.layers:
            hidden = hidden + layer(hidden, hidden, hidden, is_causal=True)[0]
        return hidden

    def item_vectors(self) -> Tensor:
        return self.items.weight


def test_both_streams_of_a_model_of_ones_own() -> None:
    torch.manual_seed(0)
    model = Attentive(CustomOptions(name="own:Attentive", hidden_size=8), NoCalibration(), n_items=9)
    batch = inputs([[1, 2, 3, 4, 5, 6], [6, 5, 4, 3, 2, 1]])
    with given_noise(model, [torch.randn(2, 2, 6, 6)]):
        encoded = model.encode(batch, Pass(train=True, keep_stages=True))
        torch.testing.assert_close(encoded.hidden, model(batch.padded()).flatten(0, 1))
        with recorded(model, perturb=True):
            torch.testing.assert_close(encoded.perturbed, model(batch.padded()).flatten(0, 1))
    assert encoded.perturbed is not None
    assert not torch.allclose(encoded.hidden, encoded.perturbed, atol=1e-3)
    assert [squares.shape for squares in encoded.squares] == [(12,)]
    assert [layer.stages is not None for layer in encoded.layers] == [True, True]


def test_a_registered_model(own_module: str, monkeypatch: pytest.MonkeyPatch) -> None:
    point = EntryPoint(name="mean", value=f"{own_module}:Mean", group="actsr.models")
    monkeypatch.setattr(section, "entry_points", lambda group: [point] if group == "actsr.models" else [])
    assert parse_name("mean") == ("mean", "none")
    assert parse_name("ac-mean") == ("mean", "full")
    assert "mean" in model_names()
    assert registry.registered_names() == ["mean"]
    assert find_model("mean").title == "Mean"
    assert built(run_config("mean"), n_items=5).n_items == 5
    with pytest.raises(ConfigError, match="did you mean 'mean'"):
        parse_name("maen")


@pytest.mark.parametrize(
    ("target", "problem"),
    [
        ("no.such.module:Model", "cannot be imported: ModuleNotFoundError: No module named 'no'"),
        ("broken:Model", "cannot be imported: NameError: name 'undefined' is not defined"),
        (":Model", "not of the form package.module:Class"),
        (".own:Model", "not of the form package.module:Class"),
        ("{own}:Needy", "cannot be built: KeyError: 'width'"),
        ("{own}:Nothing", "has no such class"),
        ("{own}:not_a_model", "holds something that is not a model class"),
    ],
)
def test_classes_that_cannot_be_used(own_module: str, target: str, problem: str) -> None:
    Path("broken.py").write_text("undefined")
    with pytest.raises(ConfigError, match=problem):
        build_model(CustomOptions(name=target.format(own=own_module)), NoCalibration(), n_items=3)


def test_items_are_replaced_in_training_alone() -> None:
    torch.manual_seed(0)
    model = built(run_config(hidden_size=8, inner_size=8, item_replacement=0.5, hidden_dropout=0.0), 50)
    batch = unpadded(torch.randint(1, 51, (4, 9)), torch.full((4,), 9))
    assert isinstance(model, EncoderModel)
    once, again = model.embed(batch).hidden, model.embed(batch).hidden
    assert not torch.equal(once, again)
    kept = (once == again).all(dim=-1).float().mean()
    assert 0.05 < kept < 0.6  # kept both times: a quarter, plus equal random items
    model.eval()
    assert torch.equal(model.embed(batch).hidden, model.embed(batch).hidden)


def test_cosine_similarity_scores_by_angle_over_temperature() -> None:
    model = built(run_config(hidden_size=2, inner_size=2, heads=1, similarity="cosine", temperature=0.5), 3)
    assert isinstance(model, SequentialModel)
    with torch.no_grad():
        model.item_vectors().copy_(torch.tensor([[0.0, 0.0], [3.0, 4.0], [0.0, -7.0], [100.0, 0.0]]))
    scores = model.item_scores(torch.tensor([[0.2, 0.0], [0.0, 30.0]]))
    expected = torch.tensor([[0.0, 3 / 5, 0.0, 1.0], [0.0, 4 / 5, -1.0, 0.0]]) / 0.5
    torch.testing.assert_close(scores, expected)


def test_a_model_with_options_of_its_own_is_registered(own_module: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A new choice only needs an options class that names the model's module."""
    monkeypatch.setattr(MODELS, "by_name", dict(MODELS.by_name))

    @MODELS.register
    class NarrowOptions(CustomOptions):
        title: ClassVar[str] = "Narrow"
        target: ClassVar[str] = f"{own_module}:Mean"
        name: Literal["narrow"] = "narrow"
        narrowness: int = 1

    assert names_of("narrow", NarrowOptions)[0] in model_names()
    config = run_config("narrow", narrowness=3)
    assert isinstance(config.model, NarrowOptions) and config.model.narrowness == 3
    assert built(config, n_items=5).config is config.model
    with pytest.raises(ConfigError, match=r"model.narrowness \(--set\): sasrec has no such key, it belongs to narrow"):
        resolve(overrides=["model.narrowness=3"])
