"""Every model with every calibration, from prepared real data to test metrics."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from actsr_cli.data.prepare import prepare
from actsr_cli.data.sequences import SequenceData
from actsr_cli.data.sources import find_source
from actsr_cli.evaluation.metrics import parse_measure
from actsr_cli.evaluation.protocol import Protocol
from actsr_cli.experiment.evaluate import Request, evaluate_run
from actsr_cli.experiment.run import new_run
from actsr_cli.experiment.train import train_run
from actsr_cli.models.registry import all_models, display_name
from actsr_cli.presets import resolve
from actsr_cli.training.trainer import Observer

TIMES_CHANCE = 4
"""Minimum Hit@10 on the test split after two epochs, as a multiple of 10 / items."""

COMBINATIONS = [
    (name, calibration)
    for name, model in all_models().items()
    for calibration in ("none", "spatial", "adversarial", "full")
    if model.calibrated or calibration == "none"
]
SMALL = [
    "model.hidden_size=32",
    "model.inner_size=64",
    "model.layers=1",
    "model.max_length=20",
    "model.hidden_dropout=0.1",
    "model.attention_dropout=0.1",
    "model.mask_last=0.5",
    "training.learning_rate=1e-2",
    "training.window_stride=20",
    "training.batch_size=1024",
    "training.epochs=2",
]


@pytest.fixture(scope="module")
def movies(real_data: Path, tmp_path_factory: pytest.TempPathFactory) -> SequenceData:
    """The latest 40 ratings of each user."""
    data_dir = tmp_path_factory.mktemp("dataset")
    (data_dir / "ml-100k").mkdir()
    for file in real_data.glob("ml-100k.*"):
        shutil.copy(file, data_dir / "ml-100k")
    config = resolve(preset="ml-100k", overrides=["data.max_length=40"]).config
    return prepare(find_source(data_dir, "ml-100k"), config.data).data


@pytest.mark.slow
@pytest.mark.real_data
@pytest.mark.parametrize(("name", "calibration"), COMBINATIONS)
def test_two_epochs_on_ml_100k(name: str, calibration: str, movies: SequenceData, tmp_path: Path) -> None:
    options = {"model.name": name, "calibration.kind": calibration}
    model = all_models()[name]
    own = {f"model.{key}" for key in model.model_fields}
    small = [text for text in SMALL if text.partition("=")[0] in own or (model.trained and "training" in text)]
    config = resolve(preset="ml-100k", overrides=small, options=options).config
    with new_run(tmp_path, config, movies, name="run") as run:
        state = train_run(run, movies, Observer())
    assert run.record.finished
    assert run.name == f"ml-100k/{display_name(config)}/run"
    if state.history[0].losses:
        first, second = (record.losses["calibrated"] for record in state.history)
        assert second < first
    request = Request("test", Protocol("rank"), (parse_measure("hit@10"),), batch_size=512)
    judgement = evaluate_run(run, movies, request).judgement
    assert len(judgement.judged.ranking.ranks) == 943
    assert judgement.values["hit@10"] > TIMES_CHANCE * 10 / movies.n_items
