"""Settings of the prediction losses: one options class each, which says where the loss is implemented."""

from __future__ import annotations

from typing import Any, ClassVar, Literal

from pydantic import Field

from actsr_cli.config.section import Choice, Choices, Probability

NegativeSampling = Literal["log-uniform", "uniform", "in-batch"]

_NAME = "Prediction loss, or package.module:Class of your own."


class LossOptions(Choice):
    """A prediction loss.

    Attributes:
        target: `module:Class` of the implementation; of one's own it is the loss's name, or its entry point.
    """

    named_by: ClassVar[str] = "name"
    target: ClassVar[str] = ""

    name: str = Field(description=_NAME)


class CustomLoss(LossOptions):
    """A loss of one's own."""

    options: dict[str, Any] = Field(default_factory=dict, description="Settings of a loss of your own.")


LOSSES = Choices("loss", LossOptions, default="ce", own=CustomLoss, group="actsr.losses")
"""Packages register losses of their own as entry points of this group."""


@LOSSES.register
class CrossEntropyOptions(LossOptions):
    """Cross-entropy over the whole catalogue."""

    target: ClassVar[str] = "actsr_cli.training.losses.cross_entropy:CrossEntropy"

    name: Literal["ce"] = Field("ce", description=_NAME)
    label_smoothing: Probability = Field(
        0.0, description="Share of the target's probability that is spread evenly over the catalogue."
    )


class _Sampled(LossOptions):
    negatives: int = Field(256, ge=1, description="Items drawn per batch, which all its targets share.")


@LOSSES.register
class SampledOptions(_Sampled):
    """Cross-entropy against sampled items, corrected for how often each is drawn."""

    target: ClassVar[str] = "actsr_cli.training.losses.sampled:SampledCrossEntropy"

    name: Literal["sampled"] = Field("sampled", description=_NAME)
    negative_sampling: NegativeSampling = Field(
        "log-uniform", description="Items by rank of popularity, all alike, or the other targets of the batch."
    )


@LOSSES.register
class GBCEOptions(_Sampled):
    """Generalised binary cross-entropy against sampled items."""

    target: ClassVar[str] = "actsr_cli.training.losses.binary:GBCE"

    name: Literal["gbce"] = Field("gbce", description=_NAME)
    calibration: float = Field(
        0.75, ge=0, le=1, description="0 is bce, 1 takes back all overconfidence that sampling brings."
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

    name: Literal["bpr"] = Field("bpr", description=_NAME)
