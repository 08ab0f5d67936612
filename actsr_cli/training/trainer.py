"""The training loop: epochs over shuffled batches, validation, early stopping, a checkpoint after every epoch."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Protocol

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel

from actsr_cli.attention import AdversarialCalibrator, Losses
from actsr_cli.batch import TrainingBatch
from actsr_cli.config import TrainingConfig
from actsr_cli.distributed import ALONE, Workers
from actsr_cli.errors import RunError
from actsr_cli.evaluation.metrics import parse_measure
from actsr_cli.models.base import SequentialModel
from actsr_cli.training.losses import PredictionLoss
from actsr_cli.training.objective import Objective
from actsr_cli.training.schedule import learning_rate

_BATCHES_PER_READING = 50
"""Batches between two readings of the losses, if reading makes a device or other processes wait."""


_OPTIMIZERS = {"adam": torch.optim.Adam, "adamw": torch.optim.AdamW}


class Batches(Protocol):
    """A source of shuffled training batches, each in parts (`actsr_cli.data.batches.TrainingBatches` is one)."""

    @property
    def n_batches(self) -> int: ...

    def epoch(self, generator: torch.Generator) -> Iterator[Sequence[TrainingBatch]]: ...


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


@dataclass
class TrainingState:
    """The state of the loop between epochs, except tensors.

    Attributes:
        history: the records of the finished epochs.
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
    """Is called with the progress of a training; override the methods that you need."""

    def epoch_started(self, epoch: int, n_batches: int) -> None:
        """Epoch `epoch` begins."""

    def batches_finished(self, count: int, loss: float) -> None:
        """`count` steps of this epoch are done; `loss` is the running mean of the calibrated loss."""

    def validation_progressed(self, done: int, total: int) -> None:
        """`done` of `total` validation users are ranked."""

    def epoch_finished(self, record: EpochRecord, state: TrainingState) -> None:
        """An epoch is trained, validated and saved."""


@dataclass(frozen=True)
class Hooks:
    """The callbacks of a training.

    Attributes:
        validate: returns validation metrics by name; None if nothing is held out.
        save_best: called with the epoch when its monitored value is the best so far.
        save_checkpoint: called after each epoch.
        observer: called with the progress.
        should_stop: called after each batch (on a GPU or with several processes less often); True ends training.
    """

    validate: Callable[[], dict[str, float]] | None = None
    save_best: Callable[[int], None] = lambda _: None
    save_checkpoint: Callable[[], None] = lambda: None
    observer: Observer = field(default_factory=Observer)
    should_stop: Callable[[], bool] = lambda: False


class Trainer:
    """Trains a model to its best validation epoch.

    Args:
        model: the model, on the device it trains on.
        config: the settings of the training.
        batches: training batches.
        loss: the prediction loss.
        hooks: the callbacks: validation, saving, progress and stopping.
        workers: the processes that share the training.
        average: the moving average of the model, updated after each step.
    """

    def __init__(
        self,
        model: SequentialModel,
        config: TrainingConfig,
        batches: Batches,
        loss: PredictionLoss,
        hooks: Hooks,
        *,
        workers: Workers = ALONE,
        average: AveragedModel | None = None,
    ) -> None:
        self.model = model
        self.average = average
        self.config = config
        self.batches = batches
        self.hooks = hooks
        self.workers = workers
        self.objective = Objective(model, loss, config.precision, workers)
        self.optimizer = _OPTIMIZERS[config.optimizer](
            model.parameters(), lr=config.learning_rate, weight_decay=config.weight_decay, fused=True
        )
        self.generator = torch.Generator().manual_seed(config.seed)
        self.state = TrainingState()
        self._lower_is_better = parse_measure(config.monitor).lower_is_better
        self._device = next(model.parameters()).device
        self._annealed = [module for module in model.modules() if isinstance(module, AdversarialCalibrator)]

    @property
    def finished(self) -> bool:
        """Whether the last epoch is reached or patience has run out."""
        return self.state.epoch >= self.config.last_epoch or self.state.stale_validations >= self.config.patience

    def fit(self) -> None:
        """Train until the last epoch, until patience runs out, or until `should_stop`.

        Raises:
            RunError: a loss is not a finite number.
        """
        while not self.finished and not self._stopped():
            self._run_epoch(self.state.epoch + 1)

    def _run_epoch(self, epoch: int) -> None:
        started = time.perf_counter()
        losses = self._train_epoch(epoch)
        trained = time.perf_counter()
        if losses is None:
            return
        due = epoch % self.config.validate_every == 0 or epoch == self.config.last_epoch
        metrics = self.hooks.validate() if self.hooks.validate is not None and due else {}
        rate = float(self.optimizer.param_groups[0]["lr"])
        record = EpochRecord(epoch, losses, metrics, trained - started, time.perf_counter() - trained, rate)
        self.state.history.append(record)
        if metrics:
            self._judge(epoch, metrics[self.config.monitor])
        self.hooks.save_checkpoint()
        self.hooks.observer.epoch_finished(record, self.state)

    def _train_epoch(self, epoch: int) -> dict[str, float] | None:
        """Mean losses of one pass over the data; None if training was stopped on the way."""
        self.model.train()
        self.hooks.observer.epoch_started(epoch, self.batches.n_batches)
        if self.workers.count > 1:  # own dropout and noise per process, the same after a resume
            torch.manual_seed(hash((self.config.seed, epoch, self.workers.rank)))
        sums: dict[str, Tensor] = {}
        count = 0
        done = (epoch - 1) * self.batches.n_batches
        for count, parts in enumerate(self.batches.epoch(self.generator), start=1):
            self._set_learning_rate(done + count - 1)
            for name, value in self._step(parts).items():
                sums[name] = sums.get(name, 0) + value
            if count % self._batches_per_reading == 0:
                self.hooks.observer.batches_finished(count, self._means(sums, count)["calibrated"])
                if self._stopped():
                    return None
        means = self._means(sums, count)
        self.workers.unite(self.model)
        if self.average is not None:
            self.workers.unite(self.average)
        return None if self._stopped() else means

    def _set_learning_rate(self, step: int) -> None:
        for group in self.optimizer.param_groups:
            group["lr"] = learning_rate(self.config, step, self.batches.n_batches)

    @property
    def _batches_per_reading(self) -> int:
        waits = self.workers.count > 1 or self._device.type != "cpu"
        return _BATCHES_PER_READING if waits else 1

    def _stopped(self) -> bool:
        """Whether any process was asked to stop."""
        return bool(self.workers.sum(torch.tensor(int(self.hooks.should_stop()), device=self._device)))

    def _means(self, sums: dict[str, Tensor], count: int) -> dict[str, float]:
        values = (self.workers.sum(torch.stack(list(sums.values()))) / count).tolist()
        if not all(map(math.isfinite, values)):
            raise RunError(
                "the loss is no longer a finite number",
                hint="Lower training.learning_rate, set training.gradient_clip, or train in float32.",
            )
        return dict(zip(sums, values, strict=True))

    def _step(self, parts: Sequence[TrainingBatch]) -> dict[str, Tensor]:
        """Take one optimiser step, and return the losses to record."""
        self.optimizer.zero_grad(set_to_none=True)
        losses = self.objective.losses(*map(self.model.training_inputs, parts))
        self.objective.backward(losses)
        split = self.objective.parameters
        self.workers.sum_gradients([*split.predictor, *split.adversary])
        if self.config.gradient_clip is not None:
            for parameters in filter(None, (split.predictor, split.adversary)):
                nn.utils.clip_grad_norm_(parameters, self.config.gradient_clip)
        self.optimizer.step()
        for calibrator in self._annealed:
            calibrator.step += 1
        if self.average is not None:
            self.average.update_parameters(self.model)
        return self._recorded(losses)

    def _recorded(self, losses: Losses) -> dict[str, Tensor]:
        names = ("calibrated", "perturbed", "penalty") if self.objective.parameters.adversary else ("calibrated",)
        zero = torch.zeros_like(losses.calibrated)  # for a process without a part of the batch
        values = {name: getattr(losses, name) for name in names}
        return {name: (zero if value is None else value).detach() for name, value in values.items()}

    def _judge(self, epoch: int, value: float) -> None:
        """Update the best epoch; of equal ones the earliest is the best.

        Raises:
            RunError: the monitored value is not a number.
        """
        if math.isnan(value):
            raise RunError(f"{self.config.monitor} has no value on validation: it cannot choose the best epoch")
        best = self.state.best_value
        if self.state.best_epoch == 0 or (value < best if self._lower_is_better else value > best):
            self.state.best_epoch, self.state.best_value, self.state.stale_validations = epoch, value, 0
            self.hooks.save_best(epoch)
        else:
            self.state.stale_validations += 1
