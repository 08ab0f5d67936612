"""Settings of the calibrators: which ones the attention has, and how they work."""

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
        spatial: whether the attention has the spatial calibrator, which makes learned positions unnecessary.
    """

    named_by: ClassVar[str] = "kind"
    spatial: ClassVar[bool] = False

    kind: str = Field(description=_KIND)

    def attention_arguments(self) -> dict[str, Any]:
        """Keyword arguments for `calibrated_self_attention` and `CalibratedAttention`."""
        arguments = self.model_dump()
        arguments.pop("mask_weight", None)
        return {"calibration": arguments.pop("kind"), **arguments}

    @property
    def penalty_weight(self) -> float:
        """The weight λ of the mask penalty; the default value if this calibration has no such key."""
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
        "gate", description="How plain and adversarially calibrated attention are combined."
    )
    annealing_steps: int = Field(
        100_000, ge=1, description="With combine: annealing, steps until the share of plain attention is 1/e."
    )
    renorm: Literal["softmax", "sum", "none"] = Field(
        "sum", description="How calibrated weights are normalised again: softmax (published), sum or not at all."
    )
    mask_weight: float = Field(
        _MASK_WEIGHT, ge=0, description="Weight λ of the penalty ‖1 - M‖ on the adversarial mask M."
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
        True, description="Apply the adversarial calibrator after the spatial one; false: side by side."
    )
    rich_combine: Literal["fixed", "trainable"] = Field(
        "fixed", description="With two_level: false, share of the adversarial side: one half (fixed) or learned."
    )
