"""Trains a run."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from actsr_cli.config import RunConfig, TrainingConfig
from actsr_cli.data.batches import TrainingBatches
from actsr_cli.data.sequences import SequenceData
from actsr_cli.distributed import ALONE, Workers, told_to_end
from actsr_cli.errors import ConfigError, RunError
from actsr_cli.evaluation.judging import configured_measures, judge, ranker_for
from actsr_cli.evaluation.protocol import Protocol
from actsr_cli.experiment.checkpoints import newest_checkpoint, save_best, save_state
from actsr_cli.experiment.precision import chosen_precision
from actsr_cli.experiment.record import Status
from actsr_cli.experiment.recorder import Recorder, failure_recorded, record_end, record_start
from actsr_cli.experiment.run import Run
from actsr_cli.experiment.teachers import open_teachers
from actsr_cli.experiment.tensorboard import TensorBoard
from actsr_cli.models.base import CountingModel, Model, SequentialModel
from actsr_cli.models.registry import build_model
from actsr_cli.training.averaging import judged_model, weight_average
from actsr_cli.training.checkpoint import load_checkpoint, save_model
from actsr_cli.training.device import choose_device, make_repeatable, use_threads
from actsr_cli.training.interrupt import stop_on_interrupt
from actsr_cli.training.losses import build_loss
from actsr_cli.training.state import EpochRecord, TrainingState
from actsr_cli.training.tally import NotFiniteError
from actsr_cli.training.trainer import Hooks, Observer, Trainer
from actsr_cli.words import command, counted

if TYPE_CHECKING:
    from actsr_cli.experiment.watch import AttentionWatch


def _never() -> bool:
    return False


@dataclass(frozen=True)
class Training:
    """What to train, and how.

    Attributes:
        run: the run.
        data: its prepared data.
        observer: is notified of progress.
        workers: the processes that share the training; only the first writes files.
        stop: returns True to interrupt the training, as Ctrl-C does.
        resume: whether to continue from the last checkpoint.
        runs_dir: root of the runs, where its teachers are; None if it has none.
    """

    run: Run
    data: SequenceData
    observer: Observer
    workers: Workers = ALONE
    stop: Callable[[], bool] = _never
    resume: bool = False
    runs_dir: Path | None = None

    @property
    def config(self) -> RunConfig:
        return self.run.config

    @property
    def validates(self) -> bool:
        """Whether there is a validation split."""
        return self.config.split.by != "none"

    @property
    def begins_here(self) -> bool:
        """Whether this process records a failure to start; a failure to resume leaves the record unchanged."""
        return self.workers.leads and not self.resume


def train_run(
    run: Run,
    data: SequenceData,
    observer: Observer,
    workers: Workers = ALONE,
    stop: Callable[[], bool] = _never,
    runs_dir: Path | None = None,
) -> TrainingState:
    """Train a new run until it is finished or interrupted; all results are in its folder.

    Args:
        run: a run made by `new_run`, which holds its lock.
        data: its prepared data.
        observer: is notified of progress.
        workers: the processes that share the training; only the first writes files.
        stop: returns True to interrupt the training, as Ctrl-C does.
        runs_dir: root of the runs, where its teachers are; None if it has none.

    Returns:
        History and best epoch; the run's record says whether it is `finished` or `interrupted`.

    Raises:
        RunError: a loss is not finite.
    """
    return carry_out(Training(run, data, observer, workers, stop, runs_dir=runs_dir))


def carry_out(training: Training) -> TrainingState:
    """Start or resume a training; the leading process must hold the run's lock."""
    run, data, workers, config = training.run, training.data, training.workers, training.config
    with failure_recorded(run, leads=training.begins_here):
        device = _set_up(config.training, workers)
        model = build_model(config.model, config.calibration, data.n_items, data.n_users).to(device)
        if isinstance(model, CountingModel):
            if workers.count > 1:
                raise ConfigError(f"{run.record.model} is not trained by gradients: start it in one process")
            return _count(training, model, device)
    return _train(training, model, device)


def _set_up(config: TrainingConfig, workers: Workers) -> torch.device:
    """Set the seeds and threads of this process; returns its device."""
    device = workers.own_device(choose_device(config.device))
    make_repeatable(config.seed, device)
    use_threads(config.threads)
    return device


def _train(training: Training, model: SequentialModel, device: torch.device) -> TrainingState:
    run, data, workers, config = training.run, training.data, training.workers, training.config
    average = weight_average(model, config.training.ema)
    judged = judged_model(model, average)
    with TensorBoard(run.path / "tensorboard", resume=training.resume) as board, stop_on_interrupt() as interrupted:
        with failure_recorded(run, leads=training.begins_here):
            batches = batches_for(config, data, model.causal, device, workers)
            loss = build_loss(config.loss, data.n_items, target_counts(data, model.causal, device))
            teachers = open_teachers(config, data, training.runs_dir, device)
            watch = _watch(training, judged, board, device) if workers.leads else None
            if watch is not None and not training.resume:
                watch.epoch_finished(0)  # the attention before training
        hooks = Hooks(
            validate=_validation(training, judged, device),
            save_best=lambda epoch: save_best(run, judged, epoch) if workers.leads else None,
            save_checkpoint=lambda: save_state(run, trainer) if workers.leads else None,
            return_to_epoch=lambda: load_checkpoint(run.checkpoint_file, trainer),
            observer=Recorder(run, board, training.observer, watch) if workers.leads else training.observer,
            should_stop=lambda: interrupted() or training.stop() or told_to_end(),
        )
        with failure_recorded(run, leads=training.begins_here):
            items = model.item_vectors().detach()
            precision = workers.from_leader(lambda: chosen_precision(run, items, loss, training.observer))
            settings = config.training.model_copy(update={"precision": precision})
            trainer = Trainer(
                model, settings, batches, loss, hooks, workers=workers, average=average, teachers=teachers
            )
        if training.resume:
            _take_up(training, trainer)
        if not workers.leads:
            trainer.fit()
            return trainer.state
        with failure_recorded(run):
            resume = training.resume
            record_start(run, model, device, board, workers, resume=resume, precision=precision)
            _fit(run, trainer)
            state = trainer.state
            if not state.best_epoch and state.epoch and state.partial is None:  # never validated: the last epoch counts
                save_model(run.model_file, judged, state.epoch)
            record_end(run, state, Status.FINISHED if trainer.finished else Status.INTERRUPTED)
        board.hyper_parameters(config, trainer.state)
    return trainer.state


def _validation(
    training: Training, model: SequentialModel, device: torch.device
) -> Callable[[], dict[str, float]] | None:
    """The function that validates an epoch; None without a validation split."""
    if not training.validates:
        return None
    return lambda: _validate(training.config, model, training.data, device, training.observer, training.workers)


def _watch(
    training: Training, model: SequentialModel, board: TensorBoard, device: torch.device
) -> AttentionWatch | None:
    every = training.config.training.log_attention
    if not every or not training.validates:
        return None
    from actsr_cli.experiment.watch import AttentionWatch  # imports matplotlib, which is slow

    return AttentionWatch(model, training.data, board, every, device)


def _fit(run: Run, trainer: Trainer) -> None:
    """Train; if a number is not finite, say what is left of the run."""
    try:
        trainer.fit()
    except NotFiniteError as problem:
        state, message, hint = trainer.state, problem.message, problem.hint
        if state.backoffs:
            if trainer.workers.leads:
                run.update(backoffs=state.backoffs)
            message += f", after {counted(len(state.backoffs), 'backoff')}"
        if state.best_epoch:
            best = f"{trainer.config.monitor} {state.best_value:.4f}"
            message += f". The model of epoch {state.best_epoch} ({best}) is kept: {command('evaluate', run.name)}"
        else:
            message += ". No epoch was validated before, so there is no model to evaluate"
        if trainer.config.on_nan == "stop":
            start = f"the end of epoch {state.epoch}" if state.epoch else "the start"
            hint = (
                f"To continue from {start} with a lower learning rate: "
                f"{run.record.resumed_by(run.name, '--on-nan', 'backoff')}\n{hint}"
            )
        raise RunError(message, hint=hint) from problem


def _take_up(training: Training, trainer: Trainer) -> None:
    """Restore the state of the run, and say what is different from an uninterrupted training."""
    run = training.run
    load_checkpoint(training.workers.from_leader(lambda: newest_checkpoint(run)), trainer)
    if trainer.state.partial is not None:
        done = counted(trainer.state.partial.batches, "batch", "batches")
        training.observer.noted(f"Epoch {trainer.state.epoch + 1} goes on after {done}")
    if trainer.state.best_epoch and not run.model_file.exists():
        raise RunError(
            f"the model of {run.name} is missing: only {run.model_file} had that of its best epoch, "
            f"{trainer.state.best_epoch}",
            hint="Copy the file back, or train the run again under another --name.",
        )
    record, device, threads = run.record, str(next(trainer.model.parameters()).device), torch.get_num_threads()
    if (record.device, record.threads) not in ((device, threads), (None, None)):
        before = f"{record.device} with {counted(record.threads or 0, 'thread')}"
        training.observer.noted(
            f"Trained on {before} before, and now on {device} with {counted(threads, 'thread')}: the last digits may "
            "differ from those of a training that never stopped"
        )
    if trainer.finished and record.finished:  # else it ended before it could record its end
        raise RunError(f"{run.name} is finished: {_why_finished(trainer)}", hint=_how_to_go_on(trainer))


def _count(training: Training, model: CountingModel, device: torch.device) -> TrainingState:
    """Fit a counting model in one pass over the data, recorded as a run of one epoch."""
    run, data = training.run, training.data
    with TensorBoard(run.path / "tensorboard", resume=False) as board:
        record_start(run, model, device, board, ALONE, resume=False)
        started = time.perf_counter()
        model.fit(*data.training_part())
        fitted = time.perf_counter()
        metrics = _validate(run.config, model, data, device, training.observer) if training.validates else {}
        monitor = run.config.training.monitor
        if math.isnan(metrics.get(monitor, 0.0)):
            raise RunError(f"{monitor} has no value on validation")
        record = EpochRecord(1, {}, metrics, fitted - started, time.perf_counter() - fitted)
        state = TrainingState([record])
        if metrics:
            state.best_epoch, state.best_value = 1, metrics[monitor]
        save_model(run.model_file, model, epoch=1)
        Recorder(run, board, training.observer).epoch_finished(record, state)
        record_end(run, state, Status.FINISHED)
        board.hyper_parameters(run.config, state)
    return state


def batches_for(
    config: RunConfig, data: SequenceData, causal: bool, device: torch.device, workers: Workers = ALONE
) -> TrainingBatches:
    """The training batches of a config.

    A model that is not causal trains on all positions of a window, so by default its windows do not overlap.
    """
    return TrainingBatches(
        data,
        max_length=config.model.max_length,
        batch_size=config.training.batch_size,
        stride=config.training.window_stride or (1 if causal else config.model.max_length),
        whole=not causal,
        device=device,
        workers=workers,
    )


def target_counts(data: SequenceData, causal: bool, device: torch.device) -> torch.Tensor:
    """(n_items + 1,) how often each item can be a target in training.

    A causal model predicts all items of a user but the first; any other masks each of them.
    """
    return torch.from_numpy(data.target_counts if causal else data.item_counts).to(device)


def _validate(
    config: RunConfig,
    model: Model,
    data: SequenceData,
    device: torch.device,
    observer: Observer,
    workers: Workers = ALONE,
) -> dict[str, float]:
    model.eval()
    protocol, batch_size = Protocol.of(config.evaluation), config.evaluation.batch_size
    ranker = ranker_for(model, data, protocol, device=device, batch_size=batch_size, workers=workers)
    wanted = configured_measures(config.evaluation, config.training.monitor)
    return judge(ranker, data, "valid", wanted, observer.validation_progressed).values


def _why_finished(trainer: Trainer) -> str:
    epoch, last = trainer.state.epoch, trainer.config.last_epoch
    if epoch >= last:
        return f"epoch {epoch} of {last} is done" if epoch == last else f"it has {epoch} epochs, more than {last}"
    return f"{trainer.config.monitor} has not improved in {trainer.state.stale_validations} validations"


def _how_to_go_on(trainer: Trainer) -> str:
    last = trainer.config.stop_after
    if last is not None and trainer.state.epoch >= last:
        return f"It ends after epoch {last} (training.stop_after). To train longer, train a new run."
    return "To train it further, give more --epochs or more patience (--set training.patience=N)."
