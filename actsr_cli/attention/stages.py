"""What a calibrated attention returns: the attended values, and the attention stage by stage."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Literal

from torch import Tensor

Stage = Literal["plain", "spatial", "calibrated"]
"""The stages that a layer can attend with."""


@dataclass(frozen=True)
class AttentionStages:
    """The attention of one layer, stage by stage, in the order of computation.

    Each field is (batch, heads, queries, keys), or None without such a stage. Outputs and files use the same names. The
    last three fields are not stages but readings: what the calibrators compute from queries and keys. They are None
    unless stages are kept.

    Attributes:
        plain: softmax of the scaled products; None if it is not used and stages are not kept.
        spatial: the same after the spatial calibrator.
        mask: the adversarial mask M.
        perturbed: the attention under the adversary's loss.
        adversarial: the adversarial calibrator's result.
        calibrated: what the layer attends with: `adversarial`, mixed with `spatial` if two_level is off, or the last
            stage before it if there is no adversarial calibrator.
        order: the order term's probability that the key is later than the query.
        distance: the distance term's prediction of log(|i - j| + 1).
        gate: (batch, 1, queries, keys) share of the uncalibrated weights.
    """

    plain: Tensor | None
    spatial: Tensor | None
    mask: Tensor | None
    perturbed: Tensor | None
    adversarial: Tensor | None
    calibrated: Tensor
    order: Tensor | None = None
    distance: Tensor | None = None
    gate: Tensor | None = None


READINGS = ("order", "distance", "gate")
"""The names of the readings: what the calibrators compute from queries and keys."""
STAGES = tuple(field.name for field in fields(AttentionStages) if field.name not in READINGS)
"""The names of the stages in the order of computation."""


@dataclass(frozen=True)
class AttentionOutput:
    """What a calibrated attention returns.

    Attributes:
        attended: (batch, queries, hidden) attended values, the stream that the model continues with.
        perturbed: the same under the perturbed attention; None unless requested.
        mask: (batch, heads, queries, keys) adversarial mask, of all queries; None without the adversarial calibrator.
        stages: every stage of the attention; None unless requested.
    """

    attended: Tensor
    perturbed: Tensor | None = None
    mask: Tensor | None = None
    stages: AttentionStages | None = None
