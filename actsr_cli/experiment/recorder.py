"""Writes the progress of a training into the folder of its run."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

import torch

from actsr_cli.config.training import FixedPrecision
from actsr_cli.distributed import Workers
from actsr_cli.errors import ActsrError, RunError
from actsr_cli.evaluation.protocol import Protocol
from actsr_cli.experiment.record import Status, now
from actsr_cli.experiment.run import Run
from actsr_cli.experiment.tensorboard import TensorBoard
from actsr_cli.files import write_text
from actsr_cli.models.base import Model
from actsr_cli.training.trainer import EpochRecord, Observer, TrainingState

if TYPE_CHECKING:
    from actsr_cli.experiment.watch import AttentionWatch


_NO_MEMORY = re.compile("out of memory|not enough memory|can't allocate memory|invalid buffer size|overflow", re.I)


class Recorder(Observer):
    """Writes each epoch into the folder of a run, and passes every event on.

    Args:
        run: the run.
        board: its TensorBoard.
        observer: also gets every event.
        watch: draws the attention, or None.
    """

    def __init__(self, run: Run, board: TensorBoard, observer: Observer, watch: AttentionWatch | None = None) -> None:
        self.run = run
        self.board = board
        self.observer = observer
        self.watch = watch

    def epoch_started(self, epoch: int, n_batches: int) -> None:
        self.observer.epoch_started(epoch, n_batches)

    def batches_finished(self, count: int, loss: float) -> None:
        self.observer.batches_finished(count, loss)

    def noted(self, text: str) -> None:
        self.observer.noted(text)

    def epoch_finished(self, record: EpochRecord, state: TrainingState) -> None:
        _record_progress(self.run, state)
        self.board.epoch(record)
        if self.watch is not None:
            self.watch.epoch_finished(record.epoch)
        self.observer.epoch_finished(record, state)


@contextmanager
def failure_recorded(run: Run, *, leads: bool = True) -> Iterator[None]:
    """Record an error within this context as the failure of the run.

    Args:
        run: the run.
        leads: whether this is the process that writes.

    Raises:
        RunError: there is too little memory.
    """
    try:
        with _memory_errors(run):
            yield
    except BaseException as error:
        if leads:
            with suppress(ActsrError):  # a full disk, or a damaged record: the error itself matters more
                run.update(status=Status.FAILED, error=f"{type(error).__name__}: {error}", ended=now())
        raise


@contextmanager
def _memory_errors(run: Run) -> Iterator[None]:
    """Turn the errors that say that there is too little memory into one; PyTorch has several."""
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        if isinstance(error, RuntimeError) and not _NO_MEMORY.search(str(error)):
            raise
        reason = next(iter(str(error).splitlines()), type(error).__name__)
        raise RunError(
            f"{run.name} needs more memory than there is: {reason}",
            hint="Lower training.batch_size, evaluation.batch_size, model.max_length or the size of the model.",
        ) from error


def record_start(
    run: Run,
    model: Model,
    device: torch.device,
    board: TensorBoard,
    workers: Workers,
    *,
    resume: bool,
    precision: FixedPrecision = "float32",
) -> None:
    """Record where and how a training runs, when it begins or is resumed."""
    run.update(
        status=Status.RUNNING,
        parameters=sum(parameter.numel() for parameter in model.parameters()),
        device=str(device),
        threads=torch.get_num_threads(),
        processes=workers.count,
        precision=precision,
        error=None,
        ended=None,
    )
    if resume:
        run.write_config()  # a resumed run may have more epochs or another device
    else:
        board.text("config", f"```\n{(run.path / 'config.yaml').read_text(encoding='utf-8')}\n```")


def record_end(run: Run, state: TrainingState, status: Status) -> None:
    """Record the metrics of the best epoch, and then the status: a finished run always has its metrics."""
    _record_progress(run, state)
    best = next((record for record in state.history if record.epoch == state.best_epoch), None)
    if best is not None:
        run.add_metrics(f"valid/{Protocol.of(run.config.evaluation).key}", {"epoch": best.epoch, **best.metrics})
    run.update(status=status, ended=now())


def history_csv(history: Sequence[EpochRecord]) -> str:
    """The text of history.csv: per epoch losses, metrics, learning rate and seconds; empty where it has no value."""
    rows = [
        {
            "epoch": record.epoch,
            **{f"loss/{name}": value for name, value in record.losses.items()},
            **record.metrics,
            **({} if record.learning_rate is None else {"learning_rate": record.learning_rate}),
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


def _record_progress(run: Run, state: TrainingState) -> None:
    write_text(run.path / "history.csv", history_csv(state.history))
    run.update(
        epochs=state.epoch,
        best_epoch=state.best_epoch or None,
        value=state.best_value if state.best_epoch else None,
        backoffs=state.backoffs or None,
        train_seconds=sum(record.train_seconds for record in state.history),
        validation_seconds=sum(record.validation_seconds for record in state.history),
    )
