"""Settings of the prediction losses. Each loss has one options class, which names its implementation."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import Field, model_validator

from actsr_cli.config.section import Choice, Choices, Probability

NegativeSampling = Literal["log-uniform", "uniform", "in-batch"]

_NAME = "Prediction loss, or package.module:Class of your own."


class LossOptions(Choice):
    """A prediction loss.

    Attributes:
        target: `module:Class` of the implementation; empty for a custom loss, whose name or entry point gives it.
        draws: whether it draws negatives, and reads the vectors of no other items; of a custom loss its class says so.
    """

    named_by: ClassVar[str] = "name"
    target: ClassVar[str] = ""
    draws: ClassVar[bool] = False

    name: str = Field(description=_NAME)


class CustomLoss(LossOptions):
    """A loss of your own."""

    draws: ClassVar[bool] = True

    options: dict[str, Any] = Field(default_factory=dict, description="Settings of a loss of your own.")


LOSSES = Choices("loss", LossOptions, default="ce", own=CustomLoss, group="actsr.losses")
"""Packages register their losses as entry points of this group."""


@LOSSES.register
class CrossEntropyOptions(LossOptions):
    """Cross-entropy over the whole catalogue."""

    target: ClassVar[str] = "actsr_cli.training.losses.cross_entropy:CrossEntropy"

    name: Literal["ce"] = Field("ce", description=_NAME)
    label_smoothing: Probability = Field(
        0.0, description="Share of the target's probability spread evenly over the catalogue."
    )
    teachers: tuple[Annotated[str, Field(min_length=1)], ...] = Field(
        (), description="Finished runs, or series of runs, that teach this one (knowledge distillation)."
    )
    teacher_share: Probability = Field(
        0.5, description="Share of the target's probability given to the items that the teachers expect."
    )

    @model_validator(mode="after")
    def _shares_leave_the_target_some(self) -> Self:
        if self.teachers and self.label_smoothing + self.teacher_share >= 1:
            raise ValueError("loss.label_smoothing and loss.teacher_share must be less than 1 together")
        return self


class _Sampled(LossOptions):
    draws: ClassVar[bool] = True

    negatives: int = Field(
        256, ge=1, le=10_000_000, description="Negative items drawn per batch, shared by all its targets."
    )


@LOSSES.register
class SampledOptions(_Sampled):
    """Cross-entropy against sampled items, corrected for the probability of drawing each."""

    target: ClassVar[str] = "actsr_cli.training.losses.sampled:SampledCrossEntropy"

    name: Literal["sampled"] = Field("sampled", description=_NAME)
    negative_sampling: NegativeSampling = Field(
        "log-uniform",
        description="How negatives are drawn: by popularity rank, uniformly, or from the targets of the batch.",
    )


@LOSSES.register
class GBCEOptions(_Sampled):
    """Generalised binary cross-entropy against sampled items."""

    target: ClassVar[str] = "actsr_cli.training.losses.binary:GBCE"

    name: Literal["gbce"] = Field("gbce", description=_NAME)
    calibration: float = Field(
        0.75, ge=0, le=1, description="0 is bce; 1 removes all overconfidence caused by sampling."
    )


@LOSSES.register
class BCEOptions(_Sampled):
    """Binary cross-entropy against sampled items."""

    target: ClassVar[str] = "actsr_cli.training.losses.binary:BCE"

    name: Literal["bce"] = Field("bce", description=_NAME)


@LOSSES.register
class BPROptions(LossOptions):
    """Bayesian personalised ranking: each target against one other item."""

    target: ClassVar[str] = "actsr_cli.training.losses.pairwise:BPR"
    draws: ClassVar[bool] = True

    name: Literal["bpr"] = Field("bpr", description=_NAME)
