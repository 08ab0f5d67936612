"""The schema of a run: accepted values, refused values, and a description of every key."""

from __future__ import annotations

import json
import re
from dataclasses import fields
from pathlib import Path
from typing import Any, Literal

import pytest
from pydantic import BaseModel, ValidationError
from pydantic.fields import FieldInfo

from actsr_cli.attention.calibrated import CalibrationSettings
from actsr_cli.config import (
    CALIBRATIONS,
    LOSSES,
    MODELS,
    SPLITS,
    Choice,
    Choices,
    DataConfig,
    EvaluationConfig,
    LossOptions,
    RunConfig,
    Section,
    TrainingConfig,
)
from actsr_cli.config.models import ItemKNNOptions, SASRecOptions, TiSASRecOptions
from actsr_cli.config.schema import CHOICES, options_of
from actsr_cli.errors import ConfigError
from actsr_cli.presets import resolve

SECTIONS = [options for name in RunConfig.model_fields for options in options_of(name)]


def made(section: type[Section], values: dict[str, Any]) -> Section:
    """A section with some values; custom choices get a name."""
    nameless = issubclass(section, Choice) and section.model_fields[section.named_by].is_required()
    return section.model_validate({"name": "own:Own", **values} if nameless else values)


def is_section(field: FieldInfo) -> bool:
    return isinstance(field.get_default(call_default_factory=True, validated_data={}), BaseModel)


@pytest.mark.parametrize("section", [*SECTIONS, RunConfig])
def test_every_key_is_described_and_every_default_is_valid(section: type[Section]) -> None:
    made(section, {})  # defaults are validated
    described = {
        name for name, field in section.model_fields.items() if field.description and field.description.endswith(".")
    }
    nested = {name for name, field in section.model_fields.items() if is_section(field)}
    assert described | nested == set(section.model_fields)


@pytest.mark.parametrize("section", [*SECTIONS, RunConfig])
def test_an_unknown_key_is_refused(section: type[Section]) -> None:
    with pytest.raises(ValidationError, match="Extra inputs"):
        made(section, {"no_such_key": 1})


def test_a_config_cannot_be_changed() -> None:
    config = RunConfig()
    with pytest.raises(ValidationError, match="frozen"):
        config.training.epochs = 3  # type: ignore[misc]


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
        (TiSASRecOptions, "hidden_dropout", [0.0, 0.99], [1.0, -0.1, float("nan")]),
        (SASRecOptions, "heads", [1, 64], [3, 0, 128]),  # hidden_size is 64
        (SASRecOptions, "position_embedding", [None, True, False], ["perhaps"]),
        (TrainingConfig, "learning_rate", [1e-9, 10.0], [0, -1.0, float("inf"), float("nan")]),
        (TrainingConfig, "gradient_clip", [None, 0.1], [0.0]),
        (
            TrainingConfig,
            "monitor",
            ["hit@10", "ndcg@1", "mrr@200", "rank", "mean_popularity@5"],  # taken from the registry
            ["", "hit@", "hit@0", "Hit@10", "hit@10 ", "hit@1.5", "@10"],
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
    """docs/configuration.md agrees with the schema."""

    page = (Path(__file__).parents[1] / "docs" / "configuration.md").read_text(encoding="utf-8")

    @staticmethod
    def takes(schema: dict[str, Any]) -> str:
        """A description of the values of a key: type, choices and bounds."""
        words = {"integer": "whole number", "number": "number", "string": "text", "array": "list", "object": "mapping"}
        parts = []
        for option in schema.get("anyOf", [schema]):
            choices = option.get("enum") or {"boolean": ["true", "false"], "null": ["null"]}.get(option["type"])
            if choices:
                parts += [f"`{choice}`" for choice in choices]
                continue
            signs = {"minimum": "≥", "exclusiveMinimum": ">", "maximum": "≤", "exclusiveMaximum": "<"}
            bounds = [
                f"{sign} {option[key]:{'d' if isinstance(option[key], int) else 'g'}}"
                for key, sign in signs.items()
                if key in option
            ]
            parts.append(" ".join([words[option["type"]], ", ".join(bounds)]).strip())
        return ", ".join(parts)

    def row(self, section: type[Section], key: str, prefix: str) -> tuple[str, str]:
        """A key's row in two parts; in sections with choices, the owners of the key stand between them."""
        schema = section.model_json_schema()["properties"]
        default = made(section, {}).model_dump(mode="json")[key]
        meaning = section.model_fields[key].description
        return f"| `{prefix}{key}` ", f"| {self.takes(schema[key])} | `{json.dumps(default)}` | {meaning} |"

    def rows(self, section: type[Section], prefix: str) -> list[str]:
        keys = [key for key, field in section.model_fields.items() if not is_section(field)]
        return ["".join(self.row(section, key, prefix)) for key in keys]

    def rows_of_choices(self, choices: Choices[Any]) -> list[str]:
        """A row with all choices, then one row per key with the choices that have it; keys equal in all share a row."""
        names = [*choices.by_name, *(["package.module:Class"] if choices.own else [])]
        field = choices.classes[0].model_fields[choices.named_by]
        listed = ", ".join(f"`{name}`" for name in names)
        rows = [
            f"| `{choices.section}.{choices.named_by}` | | {listed} | `{json.dumps(choices.default)}` "
            f"| {field.description} |"
        ]
        owners: dict[tuple[str, str], list[str]] = {}
        for name, options in zip([*choices.by_name, "own"], choices.classes, strict=False):
            for key in options.model_fields:
                if key != choices.named_by:
                    owners.setdefault(self.row(options, key, f"{choices.section}."), []).append(name)
        for (key, meaning), having in owners.items():
            rows.append(f"{key}| {'all' if len(having) == len(choices.classes) else ', '.join(having)} {meaning}")
        return rows

    def test_has_every_key_and_no_other(self) -> None:
        rows = self.rows(RunConfig, "")[:2]
        for name in list(RunConfig.model_fields)[2:]:
            choices = CHOICES.get(name)
            rows += self.rows_of_choices(choices) if choices else self.rows(options_of(name)[0], f"{name}.")
        assert re.findall(r"^\| `[a-z_.]+` \|.*\|$", self.page.partition("## Every key")[2], re.MULTILINE) == rows

    def test_its_example_is_a_config(self, tmp_path: Path) -> None:
        file = tmp_path / "example.yaml"
        file.write_text(self.page.partition("```yaml\n")[2].partition("```")[0])
        config = resolve(file=file).config
        assert (config.dataset, config.data.user_core, config.training.learning_rate) == ("shop", 5, 0.001)
        assert config.calibration.kind == "full"


class TestChoices:
    def test_the_name_picks_the_class(self) -> None:
        config = RunConfig.model_validate({"model": {"name": "tisasrec"}, "calibration": "full", "loss": "bpr"})
        assert [type(part) for part in (config.model, config.calibration, config.loss, config.split)] == [
            MODELS.by_name["tisasrec"],
            CALIBRATIONS.by_name["full"],
            LOSSES.by_name["bpr"],
            SPLITS.by_name["last"],
        ]

    def test_a_choice_is_written_down_even_where_defaults_are_not(self) -> None:
        config = RunConfig.model_validate({"model": "tisasrec", "calibration": "spatial"})
        written = config.model_dump(mode="json", exclude_defaults=True)
        assert written == {"model": {"name": "tisasrec"}, "calibration": {"kind": "spatial"}}
        assert RunConfig.model_validate(config.model_dump(mode="json", exclude_unset=True)) == config

    @pytest.mark.parametrize("choices", CHOICES.values(), ids=list(CHOICES))
    def test_each_choice_is_registered_by_its_name(self, choices: Choices[Any]) -> None:
        for name, options in choices.by_name.items():
            assert made(options, {}).choice == name  # type: ignore[attr-defined]
            assert (
                RunConfig.model_validate({choices.section: name}).model_dump()[choices.section]
                == made(options, {}).model_dump()
            )
        assert choices.default in choices.by_name

    def test_a_choice_from_outside(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(LOSSES, "by_name", dict(LOSSES.by_name))

        @LOSSES.register
        class Hinge(LossOptions):
            name: Literal["hinge"] = "hinge"
            margin: float = 1.0

        config = RunConfig.model_validate({"loss": {"name": "hinge", "margin": 2}})
        assert config.loss == Hinge(margin=2.0)
        assert resolve(overrides=["loss=hinge", "loss.margin=3"]).config.loss == Hinge(margin=3.0)

    def test_models_have_only_what_they_read(self) -> None:
        assert set(ItemKNNOptions.model_fields) == {
            "name",
            "max_length",
            "neighbours",
            "neighbour_reach",
            "neighbour_shrinkage",
            "neighbour_decay",
        }
        assert "position_embedding" not in TiSASRecOptions.model_fields
        assert all("max_length" in options.model_fields for options in MODELS.classes)

    def test_a_key_knows_whose_it_is(self) -> None:
        assert LOSSES.owners("negatives")[:3] == ["sampled", "gbce", "bce"]
        assert MODELS.owners("time_span") == ["tisasrec"] and MODELS.owners("no_such_key") == []

    def test_what_the_attention_takes_of_a_calibration(self) -> None:
        parameters = {field.name for field in fields(CalibrationSettings)}
        for options in CALIBRATIONS.classes:
            calibration = options.model_validate({})
            arguments = calibration.attention_arguments()
            assert set(arguments) <= parameters and "mask_weight" not in arguments
            assert arguments["calibration"] == calibration.choice


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
        (
            ["loss.label_smoothing=0.1", "loss=bpr"],
            "loss.label_smoothing (--set): loss bpr has no such key, it",
        ),
        (["training.warmup=3", "training.epochs=2"], "training.warmup 3 is longer than training.epochs 2"),
    ):
        with pytest.raises(ConfigError) as caught:
            resolve(overrides=overrides)
        assert message in caught.value.message
