"""The schema of a run: what it takes, what it refuses, and that every key is explained."""

from __future__ import annotations

import pytest
from pydantic import BaseModel, ValidationError

from actsr_cli.config import DataConfig, EvaluationConfig, ModelConfig, RunConfig, Section, TrainingConfig

SECTIONS = [DataConfig, ModelConfig, TrainingConfig, EvaluationConfig]


@pytest.mark.parametrize("section", [*SECTIONS, RunConfig])
def test_every_key_is_described_and_every_default_is_valid(section: type[Section]) -> None:
    section()  # defaults are validated
    described = {
        name for name, field in section.model_fields.items() if field.description and field.description.endswith(".")
    }
    nested = {name for name, field in section.model_fields.items() if isinstance(field.default, BaseModel)}
    assert described | nested == set(section.model_fields)


@pytest.mark.parametrize("section", [*SECTIONS, RunConfig])
def test_an_unknown_key_is_refused(section: type[Section]) -> None:
    with pytest.raises(ValidationError, match="Extra inputs"):
        section.model_validate({"no_such_key": 1})


def test_a_config_cannot_be_changed() -> None:
    config = RunConfig()
    with pytest.raises(ValidationError, match="frozen"):
        config.training.epochs = 3


def test_a_config_survives_json() -> None:
    config = RunConfig(
        data=DataConfig(intervals={"timestamp": (0, None)}, max_length=9),
        evaluation=EvaluationConfig(k=(3, 7)),
    )
    assert RunConfig.model_validate(config.model_dump(mode="json")) == config


@pytest.mark.parametrize(
    ("section", "key", "good", "bad"),
    [
        (DataConfig, "max_length", [None, 3], [2, 0]),
        (DataConfig, "intervals", [{"a": (1, 1)}, {"a": (None, None)}], [{"a": (2, 1)}, {"a": (1,)}, {"a": 3}]),
        (DataConfig, "duplicates", ["first", "last", "keep"], ["none", None]),
        (ModelConfig, "hidden_dropout", [0.0, 0.99], [1.0, -0.1, float("nan")]),
        (ModelConfig, "heads", [1, 64], [3, 0, 128]),  # hidden_size is 64
        (ModelConfig, "position_embedding", [None, True, False], ["perhaps"]),
        (TrainingConfig, "learning_rate", [1e-9, 10.0], [0, -1.0, float("inf"), float("nan")]),
        (TrainingConfig, "gradient_clip", [None, 0.1], [0.0]),
        (
            TrainingConfig,
            "monitor",
            ["hit@10", "ndcg@1", "mrr@200"],
            ["hit", "hit@0", "recall@10", "hit@10 ", "hit@1.5"],
        ),
        (TrainingConfig, "device", ["auto", "cpu", "mps", "cuda", "cuda:12"], ["gpu", "cuda:", "cuda:a", ""]),
        (TrainingConfig, "epochs", [1, 10**6], [0, 1.5, "many"]),
        (EvaluationConfig, "k", [(1,), [5, 10]], [(), (0,), 5]),
    ],
)
def test_the_bounds_of_a_key(section: type[Section], key: str, good: list[object], bad: list[object]) -> None:
    for value in good:
        section.model_validate({key: value})
    for value in bad:
        with pytest.raises(ValidationError):
            section.model_validate({key: value})
