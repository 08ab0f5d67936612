"""The training loop: epochs over shuffled batches, validation, early stopping, a checkpoint after every epoch."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from actsr_cli.attention import AdversarialCalibrator, Losses
from actsr_cli.batch import TrainingBatch
from actsr_cli.config import TrainingConfig
from actsr_cli.models.base import SequentialModel
from actsr_cli.training.objective import Objective


class Batches(Protocol):
    """A source of shuffled training batches (`actsr_cli.data.batches.TrainingBatches` is one)."""

    @property
    def n_batches(self) -> int: ...

    def epoch(self, generator: torch.Generator) -> Iterator[TrainingBatch]: ...


@dataclass(frozen=True)
class EpochRecord:
    """What one epoch did.

    Attributes:
        epoch: its number, from 1.
        losses: mean over batches of each loss, by name (`combined`, and with an adversary `perturbed`, `penalty`).
        metrics: validation metrics by name, empty where the epoch was not validated.
        train_seconds: time spent training.
        validation_seconds: time spent validating.
    """

    epoch: int
    losses: dict[str, float]
    metrics: dict[str, float]
    train_seconds: float
    validation_seconds: float


@dataclass
class TrainingState:
    """Everything that the loop remembers between epochs besides tensors.

    Attributes:
        history: the epochs that are done.
        best_epoch: the epoch with the best monitored value so far, 0 before the first validation.
        best_value: that value.
        stale_validations: validations since then.
    """

    history: list[EpochRecord] = field(default_factory=list)
    best_epoch: int = 0
    best_value: float = float("-inf")
    stale_validations: int = 0

    @property
    def epoch(self) -> int:
        """The last finished epoch."""
        return self.history[-1].epoch if self.history else 0

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> TrainingState:
        history = [EpochRecord(**record) for record in values["history"]]
        return cls(**{**values, "history": history})


class Observer:
    """Hears what the trainer does; override what is of interest."""

    def epoch_started(self, epoch: int, n_batches: int) -> None:
        """Epoch `epoch` begins."""

    def batch_finished(self, loss: float) -> None:
        """One optimiser step is done; `loss` is the running mean of the combined loss."""

    def validation_progressed(self, done: int, total: int) -> None:
        """`done` of `total` validation users are ranked."""

    def epoch_finished(self, record: EpochRecord, state: TrainingState) -> None:
        """An epoch is trained, validated and saved."""


class Trainer:
    """Trains a model to its best validation epoch.

    Args:
        model: the model, on the device it trains on.
        config: the optimisation.
        batches: training batches.
        validate: returns validation metrics by name.
        save_best: called when an epoch's monitored value is the best so far.
        save_checkpoint: called after each epoch.
        observer: hears of progress.
        should_stop: asked after each batch; true ends training at once.
    """

    def __init__(
        self,
        model: SequentialModel,
        config: TrainingConfig,
        batches: Batches,
        *,
        validate: Callable[[], dict[str, float]],
        save_best: Callable[[int], None],
        save_checkpoint: Callable[[], None],
        observer: Observer,
        should_stop: Callable[[], bool],
    ) -> None:
        self.model = model
        self.config = config
        self.batches = batches
        self.validate = validate
        self.save_best = save_best
        self.save_checkpoint = save_checkpoint
        self.observer = observer
        self.should_stop = should_stop
        self.objective = Objective(model, config)
        self.optimizer = torch.optim.Adam(
            model.parameters(), lr=config.learning_rate, weight_decay=config.weight_decay, fused=True
        )
        self.generator = torch.Generator().manual_seed(config.seed)
        self.state = TrainingState()
        self._annealed = [module for module in model.modules() if isinstance(module, AdversarialCalibrator)]

    @property
    def finished(self) -> bool:
        """Whether the last epoch is reached or patience has run out."""
        return self.state.epoch >= self.config.epochs or self.state.stale_validations >= self.config.patience

    def fit(self) -> None:
        """Train until the last epoch, until patience runs out, or until `should_stop`."""
        while not self.finished and not self.should_stop():
            self._run_epoch(self.state.epoch + 1)

    def _run_epoch(self, epoch: int) -> None:
        started = time.perf_counter()
        losses = self._train_epoch(epoch)
        trained = time.perf_counter()
        if losses is None:
            return
        due = epoch % self.config.validate_every == 0 or epoch == self.config.epochs
        metrics = self.validate() if due else {}
        record = EpochRecord(epoch, losses, metrics, trained - started, time.perf_counter() - trained)
        self.state.history.append(record)
        if due:
            self._judge(epoch, metrics[self.config.monitor])
        self.save_checkpoint()
        self.observer.epoch_finished(record, self.state)

    def _train_epoch(self, epoch: int) -> dict[str, float] | None:
        """Mean losses of one pass over the data; None if training was stopped on the way."""
        self.model.train()
        self.observer.epoch_started(epoch, self.batches.n_batches)
        sums: dict[str, Tensor] = {}
        for count, batch in enumerate(self.batches.epoch(self.generator), start=1):
            losses = self._step(batch)
            for name in ("combined", "perturbed", "penalty"):
                value: Tensor | None = getattr(losses, name)
                if value is not None:
                    sums[name] = sums.get(name, 0) + value.detach()
            self.observer.batch_finished(sums["combined"].item() / count)
            if self.should_stop():
                return None
        return {name: total.item() / count for name, total in sums.items()}

    def _step(self, batch: TrainingBatch) -> Losses:
        self.optimizer.zero_grad(set_to_none=True)
        with torch.autocast(batch.item_ids.device.type, torch.bfloat16, enabled=self.config.precision == "bf16"):
            losses = self.objective.losses(self.model.training_inputs(batch))
        self.objective.backward(losses)
        if self.config.gradient_clip is not None:
            split = self.objective.parameters
            for parameters in filter(None, (split.predictor, split.adversary)):
                nn.utils.clip_grad_norm_(parameters, self.config.gradient_clip)
        self.optimizer.step()
        for calibrator in self._annealed:
            calibrator.step += 1
        return losses

    def _judge(self, epoch: int, value: float) -> None:
        """Remember the best epoch; the earliest of equals."""
        if value > self.state.best_value:
            self.state.best_epoch, self.state.best_value, self.state.stale_validations = epoch, value, 0
            self.save_best(epoch)
        else:
            self.state.stale_validations += 1
