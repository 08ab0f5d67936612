"""Settings of the calibrators: which of them the attention has, and how they work."""

from __future__ import annotations

from typing import Any, ClassVar, Literal

from pydantic import Field

from actsr_cli.config.section import Choice, Choices

Calibration = Literal["none", "spatial", "adversarial", "full"]

_KIND = "Which calibrators the attention has."
_MASK_WEIGHT = 0.3


class CalibrationOptions(Choice):
    """How attention is calibrated.

    Attributes:
        spatial: whether the attention has the spatial calibrator, which tells positions apart by itself.
    """

    named_by: ClassVar[str] = "kind"
    spatial: ClassVar[bool] = False

    kind: str = Field(description=_KIND)

    def attention_arguments(self) -> dict[str, Any]:
        """What `calibrated_self_attention` and `CalibratedAttention` take of it, by keyword."""
        arguments = self.model_dump()
        arguments.pop("mask_weight", None)
        return {"calibration": arguments.pop("kind"), **arguments}

    @property
    def penalty_weight(self) -> float:
        """The weight λ of the mask penalty; the default, where a model has an adversary of its own all the same."""
        return _MASK_WEIGHT


CALIBRATIONS = Choices("calibration", CalibrationOptions, default="none")


@CALIBRATIONS.register
class NoCalibration(CalibrationOptions):
    """Plain attention."""

    kind: Literal["none"] = Field("none", description=_KIND)


class _Spatial(CalibrationOptions):
    spatial: ClassVar[bool] = True

    use_order: bool = Field(True, description="Order term of the spatial calibrator.")
    use_distance: bool = Field(True, description="Distance term of the spatial calibrator.")


class _Adversarial(CalibrationOptions):
    combine: Literal["gate", "fixed", "annealing"] = Field(
        "gate", description="How the attention and its adversarially calibrated form are combined."
    )
    annealing_steps: int = Field(
        100_000, ge=1, description="With combine: annealing, steps after which the plain share is 1/e."
    )
    renorm: Literal["softmax", "sum", "none"] = Field(
        "sum", description="How calibrated weights become a distribution again: softmax (published), sum, none."
    )
    mask_weight: float = Field(
        _MASK_WEIGHT, ge=0, description="Weight of the penalty that keeps adversarial masks open."
    )

    @property
    def penalty_weight(self) -> float:
        return self.mask_weight


@CALIBRATIONS.register
class SpatialCalibration(_Spatial):
    """The spatial calibrator alone."""

    kind: Literal["spatial"] = Field("spatial", description=_KIND)


@CALIBRATIONS.register
class AdversarialCalibration(_Adversarial):
    """The adversarial calibrator alone."""

    kind: Literal["adversarial"] = Field("adversarial", description=_KIND)


@CALIBRATIONS.register
class FullCalibration(_Adversarial, _Spatial):
    """Both calibrators."""

    kind: Literal["full"] = Field("full", description=_KIND)
    two_level: bool = Field(
        True, description="Calibrate adversarially on top of the spatially calibrated attention, not beside it."
    )
    rich_combine: Literal["fixed", "trainable"] = Field(
        "fixed", description="With two_level: false, the share of the adversarial side: one half, or learned."
    )
