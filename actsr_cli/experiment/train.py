"""Training a run, and going on with one that was stopped."""

from __future__ import annotations

import csv
import io
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import numpy as np
import torch

from actsr_cli.config import CustomOptions, RunConfig, TrainingConfig
from actsr_cli.config.schema import leaves
from actsr_cli.data.batches import TrainingBatches
from actsr_cli.data.sequences import SequenceData
from actsr_cli.distributed import ALONE, Workers
from actsr_cli.errors import ConfigError, DataError, RunError
from actsr_cli.evaluation.metrics import summarize
from actsr_cli.evaluation.ranking import evaluate
from actsr_cli.experiment.run import Run, now, write_text
from actsr_cli.experiment.tensorboard import TensorBoard
from actsr_cli.models.base import CountingModel, Recommender, SequentialModel
from actsr_cli.models.registry import all_models, build_model, check_model, display_name, model_size
from actsr_cli.training.averaging import judged_model, weight_average
from actsr_cli.training.checkpoint import load_checkpoint, save_checkpoint, save_model
from actsr_cli.training.device import choose_device, make_repeatable
from actsr_cli.training.interrupt import stop_on_interrupt
from actsr_cli.training.losses import build_loss, check_loss
from actsr_cli.training.trainer import EpochRecord, Observer, Trainer, TrainingState

if TYPE_CHECKING:
    from actsr_cli.experiment.watch import AttentionWatch

RESUMABLE_KEYS = frozenset(
    {"training.epochs", "training.patience", "training.device", "training.threads", "training.log_attention"}
)
"""What may differ when a run goes on: how long and where, nothing that changes its numbers."""


def reconfigure(run: Run, config: RunConfig) -> Run:
    """The same run with `config`, as long as only what may differ does; the new config is written down.

    Raises:
        RunError: something else differs, too.
    """
    before, after = dict(leaves(run.config.model_dump())), dict(leaves(config.model_dump()))
    changed = {key for key in (before | after) if key not in before or before[key] != after.get(key)}
    if "training.epochs" in changed and run.config.training.schedule != "constant":
        raise RunError(
            f"training.epochs cannot change when a run goes on by a {run.config.training.schedule} schedule",
            hint="The learning rate has followed the former number of epochs. For another one train a new run.",
        )
    if refused := sorted(changed - RESUMABLE_KEYS):
        raise RunError(
            f"{', '.join(refused)} cannot change when a run goes on",
            hint=f"Only {', '.join(sorted(RESUMABLE_KEYS))} can. For other settings train a new run.",
        )
    if changed:
        run = Run(run.path, config)
        run.write_config()
    return run


def check_trainable(config: RunConfig, data: SequenceData) -> None:
    """Raise what a training would end with at once, so that no run is made for it.

    Raises:
        ConfigError: the device is not there, or the model and its settings do not go together.
        DataError: there is nothing to train on, nobody to validate with, or no timestamps where the model needs them.
    """
    choose_device(config.training.device)
    model = check_model(config.model, config.calibration)
    check_loss(config.loss)
    if model.needs_timestamps and data.timestamps is None:
        others = ", ".join(name for name, other in all_models().items() if not other.needs_timestamps)
        raise DataError(
            f"{model.title} reads the times of interactions, and '{data.name}' has none",
            hint=f"Prepare it from a file with timestamps, or take another model: {others}.",
        )
    starts, ends = data.training_spans()
    if not isinstance(config.model, CustomOptions):  # it may not be made to be built without memory
        model_size(config.model, config.calibration, data.n_items, data.n_users)
    if not (ends - starts > 1).any():
        raise DataError(f"'{data.name}' has nothing to train on: no user has two training interactions")
    if not len(data.held_out("valid").users):
        raise DataError(f"'{data.name}' has nobody to validate with: no user has three interactions")


def train_run(
    run: Run,
    data: SequenceData,
    observer: Observer,
    workers: Workers = ALONE,
    stop: Callable[[], bool] = lambda: False,
) -> TrainingState:
    """Train a new run until it is finished or interrupted; its folder then holds all that there is to know.

    Args:
        run: a run made by `create_run`.
        data: its prepared data.
        observer: hears of progress.
        workers: the processes that share the training; the first alone writes.
        stop: asked like Ctrl-C, and with the same effect.

    Returns:
        History and best epoch; the run's record says whether it is `finished` or `interrupted`.
    """
    return _train(run, data, _set_up(run.config.training, workers), observer, workers, stop, resume=False)


def check_resumable(run: Run) -> None:
    """Raise where there is nothing to go on from.

    Raises:
        RunError: the run has no checkpoint: it ended before its first epoch did, or its model was counted in one go.
    """
    if run.checkpoint_file.exists():
        return
    if run.record["status"] == "finished":
        raise RunError(f"{run.name} is finished: {display_name(run.config)} is counted in one go")
    raise RunError(f"{run.name} has no finished epoch to go on from", hint="Train it anew: actsr train …")


def resume_run(run: Run, data: SequenceData, observer: Observer, workers: Workers = ALONE) -> TrainingState:
    """Go on with a run from its last finished epoch, exactly as if it had never stopped.

    Raises:
        RunError: it is finished, has no checkpoint, or its data have changed.
    """
    check_resumable(run)
    if run.record["fingerprint"] != data.fingerprint:
        raise RunError(f"the data of {run.name} have changed since it was trained: it cannot go on")
    return _train(run, data, _set_up(run.config.training, workers), observer, workers, lambda: False, resume=True)


def _set_up(config: TrainingConfig, workers: Workers) -> torch.device:
    """Seeds and threads of this process, and its device."""
    device = workers.own_device(choose_device(config.device))
    make_repeatable(config.seed, device)
    if config.threads is not None:
        torch.set_num_threads(config.threads)
    return device


def _train(
    run: Run,
    data: SequenceData,
    device: torch.device,
    observer: Observer,
    workers: Workers,
    stop: Callable[[], bool],
    *,
    resume: bool,
) -> TrainingState:
    with _failure_recorded(run, workers):
        model = build_model(run.config.model, run.config.calibration, data.n_items, data.n_users).to(device)
        if isinstance(model, CountingModel):
            if workers.count > 1:
                raise ConfigError(f"{display_name(run.config)} is counted in one go: start it without torchrun")
            return _count(run, model, data, device, observer)
        loss = build_loss(run.config.loss, data.n_items, _item_counts(data, device))

    average = weight_average(model, run.config.training.ema)
    judged = judged_model(model, average)

    def save_best(epoch: int) -> None:
        if workers.leads:
            save_model(run.model_file, judged, epoch)

    def save_state() -> None:
        if workers.leads:
            save_checkpoint(run.checkpoint_file, trainer)

    with TensorBoard(run.path / "tensorboard", resume=resume) as board, stop_on_interrupt() as interrupted:
        with _failure_recorded(run, workers):
            watch = _watch(run, judged, data, board, device) if workers.leads else None
            if watch is not None and not resume:
                watch.epoch_finished(0)  # what the attention is like before it learns anything
        trainer = Trainer(
            model,
            run.config.training,
            batches_for(run.config, data, model.causal, device, workers),
            loss,
            validate=lambda: _validate(run.config, judged, data, device, observer, workers),
            save_best=save_best,
            save_checkpoint=save_state,
            observer=_Recorder(run, board, observer, watch) if workers.leads else observer,
            should_stop=lambda: interrupted() or stop(),
            workers=workers,
            average=average,
        )
        if resume:
            _take_up(run, trainer)
        if not workers.leads:
            trainer.fit()
            return trainer.state
        _record_start(run, model, device, board, workers, resume)
        _fit(run, trainer)
        board.hyper_parameters(run.config, trainer.state)
    return trainer.state


def _watch(
    run: Run, model: SequentialModel, data: SequenceData, board: TensorBoard, device: torch.device
) -> AttentionWatch | None:
    if not run.config.training.log_attention:
        return None
    from actsr_cli.experiment.watch import AttentionWatch  # brings matplotlib, which takes its time

    return AttentionWatch(model, data, board, run.config.training.log_attention, device)


def _take_up(run: Run, trainer: Trainer) -> None:
    load_checkpoint(run.checkpoint_file, trainer)
    if trainer.finished:
        raise RunError(
            f"{run.name} is finished: {_why_finished(trainer)}",
            hint="To train it further, give more --epochs or more patience (--set training.patience=N).",
        )


@contextmanager
def _failure_recorded(run: Run, workers: Workers = ALONE) -> Iterator[None]:
    try:
        yield
    except BaseException as error:
        if workers.leads:
            run.update(status="failed", error=f"{type(error).__name__}: {error}", ended=now())
        raise


def _count(
    run: Run, model: CountingModel, data: SequenceData, device: torch.device, observer: Observer
) -> TrainingState:
    """One pass over the data is all that a counting model needs: it is recorded as a run of one epoch."""
    with TensorBoard(run.path / "tensorboard", resume=False) as board:
        _record_start(run, model, device, board, ALONE, resume=False)
        started = time.perf_counter()
        model.fit(*data.training_part())
        fitted = time.perf_counter()
        metrics = _validate(run.config, model, data, device, observer)
        record = EpochRecord(1, {}, metrics, fitted - started, time.perf_counter() - fitted)
        state = TrainingState([record], best_epoch=1, best_value=metrics[run.config.training.monitor])
        save_model(run.model_file, model, epoch=1)
        _Recorder(run, board, observer).epoch_finished(record, state)
        _record_end(run, state, "finished")
        board.hyper_parameters(run.config, state)
    return state


def _fit(run: Run, trainer: Trainer) -> None:
    with _failure_recorded(run):
        trainer.fit()
    state = trainer.state
    if not run.model_file.exists():  # stopped before the first validation: what there is, is better than nothing
        save_model(run.model_file, trainer.model, state.epoch)
    _record_end(run, state, "finished" if trainer.finished else "interrupted")


def _record_end(run: Run, state: TrainingState, status: str) -> None:
    run.update(
        status=status,
        ended=now(),
        epochs=state.epoch,
        best_epoch=state.best_epoch,
        train_seconds=sum(record.train_seconds for record in state.history),
        validation_seconds=sum(record.validation_seconds for record in state.history),
    )
    best = next((record for record in state.history if record.epoch == state.best_epoch), None)
    if best is not None:
        run.add_metrics(f"valid/{run.config.evaluation.seen}", {"epoch": best.epoch, **best.metrics})


def _record_start(
    run: Run, model: Recommender, device: torch.device, board: TensorBoard, workers: Workers, resume: bool
) -> None:
    run.update(
        status="running",
        parameters=sum(parameter.numel() for parameter in model.parameters()),
        device=str(device),
        threads=torch.get_num_threads(),
        processes=workers.count,
        error=None,
    )
    if not resume:
        board.text("config", f"```\n{(run.path / 'config.yaml').read_text(encoding='utf-8')}\n```")


def batches_for(
    config: RunConfig, data: SequenceData, causal: bool, device: torch.device, workers: Workers = ALONE
) -> TrainingBatches:
    """The batches that a config trains on.

    A pass that is not causal trains places all over a window, so that windows need not overlap.
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


def _item_counts(data: SequenceData, device: torch.device) -> torch.Tensor:
    """(n_items + 1,) training interactions of each item."""
    items, _ = data.training_part()
    return torch.from_numpy(np.bincount(items, minlength=data.n_items + 1)).to(device)


def _validate(
    config: RunConfig,
    model: Recommender,
    data: SequenceData,
    device: torch.device,
    observer: Observer,
    workers: Workers = ALONE,
) -> dict[str, float]:
    model.eval()
    ranked = evaluate(
        model.score,
        data,
        "valid",
        max_length=config.model.max_length,
        seen=config.evaluation.seen,
        batch_size=config.evaluation.batch_size,
        device=device,
        on_batch=observer.validation_progressed,
        workers=workers,
    )
    monitored = int(config.training.monitor.partition("@")[2])
    return summarize(ranked.ranks, sorted({*config.evaluation.k, monitored}))


def _why_finished(trainer: Trainer) -> str:
    if trainer.state.epoch >= trainer.config.epochs:
        return f"epoch {trainer.state.epoch} of {trainer.config.epochs} is done"
    return f"{trainer.config.monitor} has not grown in {trainer.state.stale_validations} validations"


class _Recorder(Observer):
    """Writes each epoch into the run's folder, and passes everything on."""

    def __init__(self, run: Run, board: TensorBoard, observer: Observer, watch: AttentionWatch | None = None) -> None:
        self.run = run
        self.board = board
        self.observer = observer
        self.watch = watch

    def epoch_started(self, epoch: int, n_batches: int) -> None:
        self.observer.epoch_started(epoch, n_batches)

    def batches_finished(self, count: int, loss: float) -> None:
        self.observer.batches_finished(count, loss)

    def epoch_finished(self, record: EpochRecord, state: TrainingState) -> None:
        write_text(self.run.path / "history.csv", _history_csv(state.history))
        self.board.epoch(record)
        if self.watch is not None:
            self.watch.epoch_finished(record.epoch)
        self.observer.epoch_finished(record, state)


def _history_csv(history: list[EpochRecord]) -> str:
    rows = [
        {
            "epoch": record.epoch,
            **{f"loss/{name}": value for name, value in record.losses.items()},
            **record.metrics,
            "train_seconds": round(record.train_seconds, 3),
            "validation_seconds": round(record.validation_seconds, 3),
        }
        for record in history
    ]
    columns = list(dict.fromkeys(column for row in sorted(rows, key=len, reverse=True) for column in row))
    text = io.StringIO()
    writer = csv.DictWriter(text, columns, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()
