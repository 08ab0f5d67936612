"""Progress of a training in a terminal: a bar for the running epoch, a line per finished epoch."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from rich.progress import Progress, TaskID

from actsr_cli import console
from actsr_cli.config import TrainingConfig
from actsr_cli.training.trainer import EpochRecord, Observer, TrainingState


class TrainingProgress(Observer):
    """Draws the running epoch's bar and prints a line for each finished one.

    Args:
        progress: draws the bars.
        config: the training, for the number of epochs and the monitored metric.
    """

    def __init__(self, progress: Progress, config: TrainingConfig) -> None:
        self.progress = progress
        self.config = config
        self.outlook = ""
        self.bar: TaskID = progress.add_task("training", total=None, status="")

    def epoch_started(self, epoch: int, n_batches: int) -> None:
        description = f"epoch {epoch}/{self.config.last_epoch}"
        self.progress.reset(self.bar, description=description, total=n_batches, status=self.outlook)

    def batches_finished(self, count: int, loss: float) -> None:
        status = ", ".join(filter(None, (f"loss {loss:.4f}", self.outlook)))
        self.progress.update(self.bar, completed=count, status=status)

    def validation_progressed(self, done: int, total: int) -> None:
        self.progress.update(self.bar, description="validation", completed=done, total=total)

    def noted(self, text: str) -> None:
        console.note(text)

    def epoch_finished(self, record: EpochRecord, state: TrainingState) -> None:
        monitor = self.config.monitor
        parts = [f"epoch {record.epoch:>3}"]
        if record.losses:  # a model that only counts has no losses
            parts.append(f"loss {record.losses['calibrated']:.4f}")
        if record.metrics:
            shown = dict.fromkeys((monitor, "hit@10", "ndcg@10"))
            parts += [f"{name} {record.metrics[name]:.4f}" for name in shown if name in record.metrics]
        parts.append(f"{record.train_seconds:.1f} s + {record.validation_seconds:.1f} s")
        if record.epoch == state.best_epoch:
            parts.append("best so far")
        console.note("   ".join(parts))
        self.outlook = self._outlook(state)

    def _outlook(self, state: TrainingState) -> str:
        """The best value so far, and the longest remaining time."""
        seconds = sum(record.train_seconds + record.validation_seconds for record in state.history)
        left = (self.config.last_epoch - state.epoch) * seconds / len(state.history)
        time = f"at most {left / 60:.0f} min left" if left >= 60 else f"at most {left:.0f} s left"
        return f"best {self.config.monitor} {state.best_value:.4f}, {time}" if state.best_epoch else time


@contextmanager
def training_progress(config: TrainingConfig) -> Iterator[Observer]:
    """An observer that draws on standard error while the context lasts; silent with --quiet."""
    with console.step_progress() as progress:
        yield TrainingProgress(progress, config)
