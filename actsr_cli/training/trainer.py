"""The training loop: epochs over shuffled batches, validation, early stopping, checkpoints after and within epochs."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import torch
from torch import Tensor, nn
from torch.nn.utils import get_total_norm
from torch.optim.swa_utils import AveragedModel

from actsr_cli.attention import AdversarialCalibrator
from actsr_cli.batch import TrainingBatch
from actsr_cli.config import TrainingConfig
from actsr_cli.distributed import ALONE, Workers
from actsr_cli.errors import RunError
from actsr_cli.evaluation.metrics import parse_measure
from actsr_cli.evaluation.ranker import ScoreError
from actsr_cli.models.base import SequentialModel
from actsr_cli.training.losses import PredictionLoss
from actsr_cli.training.objective import Objective
from actsr_cli.training.optimizer import Optimizer
from actsr_cli.training.schedule import learning_rate
from actsr_cli.training.state import EpochRecord as EpochRecord
from actsr_cli.training.state import TrainingState as TrainingState
from actsr_cli.training.tally import NotFiniteError, Tally, all_finite
from actsr_cli.training.teachers import Teachers
from actsr_cli.training.touched import TouchedTables

_BATCHES_PER_READING = 50
"""Batches between two readings of the losses, if reading makes a device or other processes wait."""


class Batches(Protocol):
    """A source of shuffled training batches (`actsr_cli.data.batches.TrainingBatches` is one)."""

    @property
    def n_batches(self) -> int: ...

    def epoch(self, generator: torch.Generator, done: int = 0) -> Iterator[TrainingBatch | None]:
        """The batches of an epoch in an order drawn from `generator`, without the first `done`."""
        ...


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

    def noted(self, text: str) -> None:
        """Something happened that the user should know."""


@dataclass(frozen=True)
class Hooks:
    """The callbacks of a training.

    Attributes:
        validate: returns validation metrics by name; None if nothing is held out.
        save_best: called with the epoch when its monitored value is the best so far.
        save_checkpoint: called at the start and after each epoch; within an epoch if it is due or training is stopped.
        return_to_epoch: restores the trainer to the end of the last finished epoch.
        observer: called with the progress.
        should_stop: called after each batch (on a GPU or with several processes less often); True ends training.
    """

    validate: Callable[[], dict[str, float]] | None = None
    save_best: Callable[[int], None] = lambda _: None
    save_checkpoint: Callable[[], None] = lambda: None
    return_to_epoch: Callable[[], None] = lambda: None
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
        teachers: models whose expectations are a part of each target.

    Raises:
        ConfigError: the settings ask to update only touched rows, and the model or the loss cannot work with it.
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
        teachers: Teachers | None = None,
    ) -> None:
        self.model = model
        self.average = average
        self.config = config
        self.batches = batches
        self.hooks = hooks
        self.workers = workers
        self.objective = Objective(model, loss, config.precision, workers, teachers)
        self.touched = TouchedTables(model, config, loss, average)
        self.optimizer = Optimizer(self.touched.others(list(model.parameters())), config)
        self.generator = torch.Generator().manual_seed(config.seed)
        self.state = TrainingState()
        self._saved_at = time.monotonic()
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
            NotFiniteError: a number is not finite, and the settings do not say to go on, or it has happened too often.
        """
        if self.state.epoch == 0 and self.state.partial is None:
            self._save()  # what to resume from, or to go back to, before an epoch is finished
        while not self.finished and not self._asked()[0]:
            try:
                self._run_epoch(self.state.epoch + 1)
            except NotFiniteError as problem:
                self._back_off(problem)
        self.touched.catch_up()  # if it was stopped within an epoch, after the checkpoint was saved

    def _run_epoch(self, epoch: int) -> None:
        tally = self._train_epoch(epoch)
        if tally is None:
            return
        losses, trained = tally.means(), tally.seconds
        self._check_weights(tally)
        started = time.perf_counter()
        due = epoch % self.config.validate_every == 0 or epoch == self.config.last_epoch
        metrics = self._validated(tally) if due else {}
        record = EpochRecord(epoch, losses, metrics, trained, time.perf_counter() - started, self.optimizer.rate)
        self.state.history.append(record)
        self.state.partial = None
        if metrics:
            self._judge(epoch, metrics[self.config.monitor])
        self._save()
        self.hooks.observer.epoch_finished(record, self.state)

    def _validated(self, tally: Tally) -> dict[str, float]:
        """The validation metrics of an epoch; none without a validation split.

        Raises:
            NotFiniteError: a score is not a number, though every weight is.
        """
        try:
            return {} if self.hooks.validate is None else self.hooks.validate()
        except ScoreError as error:
            raise NotFiniteError(tally.epoch, tally.batches, "a score on validation is nan") from error

    def _train_epoch(self, epoch: int) -> Tally | None:
        """Pass once over the data, or over what is left of it; None if training was stopped on the way."""
        self.model.train()
        self.hooks.observer.epoch_started(epoch, self.batches.n_batches)
        tally = Tally(epoch, self.objective.recorded, self._device, self.workers, self.state.partial)
        self._set_rate(epoch, tally.batches)  # that of the last step, if no batch is left
        order = torch.Generator()  # checkpoints within the epoch keep the state that its order is drawn from
        order.set_state(self.generator.get_state())
        for batch in self.batches.epoch(order, tally.batches):
            self._set_rate(epoch, tally.batches + 1)
            if self.workers.count > 1:  # own dropout and noise per process, the same after a resume
                torch.manual_seed(hash((self.config.seed, epoch, tally.batches + 1, self.workers.rank)))
            tally.add(self._step(batch))
            if tally.batches % self._batches_per_reading == 0 and self._stopped_at(tally):
                return None
        if tally.batches % self._batches_per_reading and self._stopped_at(tally):
            return None
        self.generator.set_state(order.get_state())
        self.touched.catch_up()
        self._unite()
        return tally

    def _set_rate(self, epoch: int, batch: int) -> None:
        """Set the learning rate of a step."""
        done = (epoch - 1) * self.batches.n_batches
        factor = self.config.backoff_factor ** len(self.state.backoffs)
        self.optimizer.rate = factor * learning_rate(self.config, max(0, done + batch - 1), self.batches.n_batches)

    @property
    def _batches_per_reading(self) -> int:
        waits = self.workers.count > 1 or self._device.type != "cpu"
        return _BATCHES_PER_READING if waits else 1

    def _stopped_at(self, tally: Tally) -> bool:
        """Report the losses, save a checkpoint if it is due, and return whether training was asked to stop."""
        self.hooks.observer.batches_finished(tally.batches, tally.means()["calibrated"])
        stopped, due = self._asked()
        if stopped or due:
            self._check_weights(tally)
            self._unite()
            self.state.partial = tally.partial()
            self._save()
        return stopped

    def _asked(self) -> tuple[bool, bool]:
        """Whether any process was asked to stop, and whether by the first one's clock a checkpoint is due."""
        minutes = self.config.checkpoint_minutes
        due = self.workers.leads and minutes is not None and time.monotonic() - self._saved_at >= 60 * minutes
        flags = torch.tensor([int(self.hooks.should_stop()), int(due)], device=self._device)
        stopped, due = self.workers.sum(flags).tolist()
        return bool(stopped), bool(due)

    def _save(self) -> None:
        self.hooks.save_checkpoint()
        self._saved_at = time.monotonic()

    def _unite(self) -> None:
        """Combine what the processes have marked in the model."""
        self.workers.unite(self.model)
        if self.average is not None:
            self.workers.unite(self.average)

    def _check_weights(self, tally: Tally) -> None:
        """Raise NotFiniteError if a weight, or a value of the optimizer or the average, is not finite."""
        kept = [*self.model.state_dict().values()]
        kept += [value for values in self.optimizer.moments.values() for value in values.values()]
        kept += [moment for table in self.touched for moment in table.moments]
        kept += [] if self.average is None else self.average.state_dict().values()
        if not all_finite(kept):
            raise NotFiniteError(tally.epoch, tally.batches, "a weight or a value of the optimizer is not finite")

    def _back_off(self, problem: NotFiniteError) -> None:
        """Go back to the last finished epoch, and continue with a lower learning rate.

        Raises:
            NotFiniteError: the settings do not say so, or it was done too often.
        """
        if self.config.on_nan != "backoff" or len(self.state.backoffs) >= self.config.backoff_limit:
            raise problem
        backoffs = [*self.state.backoffs, problem.message]
        self.hooks.return_to_epoch()
        self.state.backoffs = backoffs
        self._save()
        self.hooks.observer.noted(
            f"{problem.message}. Going on from the end of epoch {self.state.epoch} with the learning rate times "
            f"{self.config.backoff_factor ** len(backoffs):g} (backoff {len(backoffs)} of {self.config.backoff_limit})"
        )

    def _step(self, batch: TrainingBatch | None) -> list[Tensor]:
        """Take one optimiser step, and return its losses and, last, the norm of its gradient."""
        self.optimizer.forget_gradients()
        losses = self.objective.losses(None if batch is None else self.model.training_inputs(batch))
        self.objective.backward(losses)
        split = self.objective.parameters
        self.touched.share_gradients(self.workers)
        self.workers.sum_gradients(self.touched.others([*split.predictor, *split.adversary]))
        norms = [self._clip(parameters) for parameters in (split.predictor, split.adversary) if parameters]
        self.optimizer.step()
        self.touched.step(self.optimizer.rate)
        for calibrator in self._annealed:
            calibrator.step += 1
        if self.average is not None:
            self.average.update_parameters(self.model)
        zero = torch.zeros_like(losses.calibrated)  # for a process without a part of the batch
        values = (getattr(losses, name) for name in self.objective.recorded)
        return [*(zero if value is None else value.detach() for value in values), torch.stack(norms).sum()]

    def _clip(self, parameters: Sequence[nn.Parameter]) -> Tensor:
        """Clip the gradient of these parameters, and return its norm before."""
        gradients = [each.grad for each in parameters if each.grad is not None]
        norm = get_total_norm([each.values() if each.is_sparse else each for each in gradients])
        if self.config.gradient_clip is not None:
            nn.utils.clip_grads_with_norm_(parameters, self.config.gradient_clip, norm)
        return norm.to(self._device)

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
