"""The schema of a run: what it takes, what it refuses, and that every key is explained."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel, ValidationError

from actsr_cli.config import DataConfig, EvaluationConfig, ModelConfig, RunConfig, Section, TrainingConfig
from actsr_cli.errors import ConfigError
from actsr_cli.presets import resolve

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


class TestPage:
    """docs/configuration.md against the schema."""

    page = (Path(__file__).parents[1] / "docs" / "configuration.md").read_text(encoding="utf-8")

    @staticmethod
    def takes(schema: dict[str, Any]) -> str:
        """What a key takes, in words: its type, choices and bounds."""
        words = {"integer": "whole number", "number": "number", "string": "text", "array": "list", "object": "mapping"}
        parts = []
        for option in schema.get("anyOf", [schema]):
            choices = option.get("enum") or {"boolean": ["true", "false"], "null": ["null"]}.get(option["type"])
            if choices:
                parts += [f"`{choice}`" for choice in choices]
                continue
            signs = {"minimum": "≥", "exclusiveMinimum": ">", "maximum": "≤", "exclusiveMaximum": "<"}
            bounds = [f"{sign} {option[key]:g}" for key, sign in signs.items() if key in option]
            parts.append(" ".join([words[option["type"]], ", ".join(bounds)]).strip())
        return ", ".join(parts)

    def rows(self, section: type[Section], prefix: str) -> list[str]:
        schema = section.model_json_schema()["properties"]
        defaults = section().model_dump(mode="json")
        return [
            f"| `{prefix}{key}` | {self.takes(schema[key])} | `{json.dumps(defaults[key])}` | {field.description} |"
            for key, field in section.model_fields.items()
            if not isinstance(field.default, BaseModel)
        ]

    def test_has_every_key_and_no_other(self) -> None:
        parts = {name: type(part) for name, part in RunConfig() if isinstance(part, Section)}
        rows = self.rows(RunConfig, "")
        for name, section in parts.items():
            rows += self.rows(section, f"{name}.")
        assert re.findall(r"^\| `[a-z_.]+` \|.*\|$", self.page, re.MULTILINE) == rows

    def test_its_example_is_a_config(self, tmp_path: Path) -> None:
        file = tmp_path / "example.yaml"
        file.write_text(self.page.partition("```yaml\n")[2].partition("```")[0])
        config = resolve(file=file).config
        assert (config.dataset, config.data.user_core, config.training.learning_rate) == ("shop", 5, 0.001)
        assert config.model.calibration == "full"


def test_windows_must_overlap() -> None:
    with pytest.raises(ConfigError) as caught:
        resolve(overrides=["training.window_stride=30", "model.max_length=20"])
    assert caught.value.message.startswith("training.window_stride 30 is more than model.max_length 20")


@pytest.mark.parametrize("name", ["..", "a/b", "../x", "a\\b"])
def test_a_data_set_has_a_plain_name(name: str) -> None:
    with pytest.raises(ConfigError, match="must be a plain name"):
        resolve(options={"dataset": name})


def test_training_settings_that_do_not_go_together() -> None:
    for overrides, message in (
        (["training.label_smoothing=0.1", "training.loss=bpr"], "training.label_smoothing goes with training.loss ce"),
        (["training.warmup=3", "training.epochs=2"], "training.warmup 3 is longer than training.epochs 2"),
    ):
        with pytest.raises(ConfigError) as caught:
            resolve(overrides=overrides)
        assert message in caught.value.message
