"""The configuration of a whole run."""

from __future__ import annotations

from typing import Annotated, Self

from pydantic import BeforeValidator, Field, SerializeAsAny, field_validator, model_validator

from actsr_cli.config.calibration import CALIBRATIONS, CalibrationOptions, NoCalibration
from actsr_cli.config.data import DataConfig
from actsr_cli.config.evaluation import EvaluationConfig
from actsr_cli.config.losses import LOSSES, CrossEntropyOptions, LossOptions
from actsr_cli.config.models import MODELS, ModelOptions, SASRecOptions
from actsr_cli.config.section import Section
from actsr_cli.config.split import SPLITS, LastSplit, SplitConfig
from actsr_cli.config.training import TrainingConfig
from actsr_cli.words import name_problem


class RunConfig(Section):
    """A whole run: the content of a preset and of the `config.yaml` of a run."""

    description: str = Field("", description="One line of description, shown by `actsr presets`.")
    dataset: str = Field("", description="Name of the data set: one of `actsr download --list`, or your own folder.")
    data: DataConfig = Field(default_factory=DataConfig)
    split: Annotated[SerializeAsAny[SplitConfig], BeforeValidator(SPLITS.read)] = Field(default_factory=LastSplit)
    model: Annotated[SerializeAsAny[ModelOptions], BeforeValidator(MODELS.read)] = Field(default_factory=SASRecOptions)
    calibration: Annotated[SerializeAsAny[CalibrationOptions], BeforeValidator(CALIBRATIONS.read)] = Field(
        default_factory=NoCalibration
    )
    loss: Annotated[SerializeAsAny[LossOptions], BeforeValidator(LOSSES.read)] = Field(
        default_factory=CrossEntropyOptions
    )
    training: TrainingConfig = Field(default_factory=TrainingConfig)
    evaluation: EvaluationConfig = Field(default_factory=EvaluationConfig)

    @field_validator("dataset")
    @classmethod
    def _plain_name(cls, name: str) -> str:
        if name and (problem := name_problem(name)):
            raise ValueError(f"must be a plain name, because it names folders: {problem}")
        return name

    @model_validator(mode="after")
    def _loss_reads_few_items(self) -> Self:
        if self.model.trained and self.training.item_updates == "touched" and not self.loss.draws:
            drawing = ", ".join(name for name, options in LOSSES.by_name.items() if options.draws)
            raise ValueError(
                f"training.item_updates: touched needs a loss that draws negatives ({drawing}): loss "
                f"{self.loss.name} compares each target with all items"
            )
        return self

    @model_validator(mode="after")
    def _touched_rows_are_of_one_table(self) -> Self:
        if getattr(self.model, "output_layer", False) and self.training.item_updates == "touched":
            raise ValueError(
                "training.item_updates: touched cannot be used with model.output_layer, which has a bias beside the "
                "item table"
            )
        return self

    @model_validator(mode="after")
    def _windows_overlap(self) -> Self:
        if self.model.trained and (self.training.window_stride or 1) > self.model.max_length:
            raise ValueError(
                f"training.window_stride {self.training.window_stride} is more than model.max_length "
                f"{self.model.max_length}: targets between two windows would be skipped"
            )
        return self
