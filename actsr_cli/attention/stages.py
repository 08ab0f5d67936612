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

    Each field is (batch, heads, queries, keys), or None without such a stage. These names stand wherever the stages are
    shown or written. The last three fields are no stages: they say what the calibrators read off queries and keys, and
    are None where stages are not kept.

    Attributes:
        plain: softmax of the scaled products; None where nothing reads it and stages are not kept.
        spatial: the same after the spatial calibrator.
        mask: the adversarial mask M.
        perturbed: what the adversary's loss sees.
        adversarial: the adversarial calibrator's result.
        calibrated: what the layer attends with: `adversarial`, mixed with `spatial` where two_level is off, or the
            last stage before it where there is no adversarial calibrator.
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
"""What the calibrators read off queries and keys."""
STAGES = tuple(field.name for field in fields(AttentionStages) if field.name not in READINGS)
"""The names of the stages in the order of computation."""


@dataclass(frozen=True)
class AttentionOutput:
    """What a calibrated attention returns.

    Attributes:
        attended: (batch, queries, hidden) attended values, the stream that the model goes on with.
        perturbed: the same under the perturbed attention; None unless it was asked for.
        mask: (batch, heads, queries, keys) adversarial mask, of all queries; None without the adversarial calibrator.
        stages: every stage of the attention; None unless asked for.
    """

    attended: Tensor
    perturbed: Tensor | None = None
    mask: Tensor | None = None
    stages: AttentionStages | None = None
