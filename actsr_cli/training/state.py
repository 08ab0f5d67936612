"""The state of a training: its epochs so far, and how far the running epoch is. A checkpoint holds it."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any


@dataclass(frozen=True)
class EpochRecord:
    """The results of one epoch.

    Attributes:
        epoch: its number, from 1.
        losses: mean over batches of each loss, by name (`calibrated`, and with an adversary `perturbed`, `penalty`).
        metrics: validation metrics by name; empty if the epoch was not validated.
        train_seconds: time spent training.
        validation_seconds: time spent validating.
        learning_rate: of the epoch's last step; None of a counted model, and in checkpoints of earlier versions.
    """

    epoch: int
    losses: dict[str, float]
    metrics: dict[str, float]
    train_seconds: float
    validation_seconds: float
    learning_rate: float | None = None


@dataclass(frozen=True)
class PartialEpoch:
    """How far an epoch was trained when a checkpoint was written within it.

    Attributes:
        batches: number of batches that are done.
        sums: for each process, its sum over these batches of each value that `Tally` adds up.
        seconds: time spent training.
    """

    batches: int
    sums: list[list[float]]
    seconds: float


@dataclass
class TrainingState:
    """The state of the loop, except tensors.

    Attributes:
        history: the records of the finished epochs.
        best_epoch: the epoch with the best monitored value so far, 0 before the first validation.
        best_value: that value.
        stale_validations: validations since then.
        backoffs: each time that training went back to the last finished epoch: where and why.
        partial: the position within the epoch after the last finished one, at the last checkpoint; None at its start.
    """

    history: list[EpochRecord] = field(default_factory=list)
    best_epoch: int = 0
    best_value: float = float("-inf")
    stale_validations: int = 0
    backoffs: list[str] = field(default_factory=list)
    partial: PartialEpoch | None = None

    @property
    def epoch(self) -> int:
        """The last finished epoch."""
        return self.history[-1].epoch if self.history else 0

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)
