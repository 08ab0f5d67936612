"""The curves of a run for TensorBoard."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from actsr_cli.config import RunConfig
from actsr_cli.files import disk_errors
from actsr_cli.training.trainer import EpochRecord, TrainingState

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from torch.utils.tensorboard import SummaryWriter


class TensorBoard:
    """Writes scalars per epoch, and at the end the hyper-parameters with the best metrics.

    Each method raises DiskError if the events cannot be written.

    Args:
        folder: the folder of the events.
        resume: whether a run is resumed: earlier events stay, and TensorBoard hides those of epochs that are trained
            again.
    """

    def __init__(self, folder: Path, *, resume: bool) -> None:
        self._folder = folder
        self._resume = resume
        self._opened: SummaryWriter | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._opened is not None:
            with disk_errors(self._folder, self._folder), _threads_fail_quietly():
                self._opened.close()

    def text(self, tag: str, text: str) -> None:
        """Write a text in Markdown."""
        with self._writing(0) as writer:
            writer.add_text(tag, text)

    def figure(self, tag: str, figure: Figure, epoch: int) -> None:
        """Write a picture of an epoch."""
        with self._writing(epoch) as writer:
            writer.add_figure(tag, figure, epoch)

    def epoch(self, record: EpochRecord) -> None:
        """Write losses, metrics, learning rate and seconds of an epoch."""
        with self._writing(record.epoch) as writer:
            for name, value in record.losses.items():
                writer.add_scalar(f"loss/{name}", value, record.epoch)
            for name, value in record.metrics.items():
                writer.add_scalar(f"valid/{name}", value, record.epoch)
            if record.learning_rate is not None:
                writer.add_scalar("learning_rate", record.learning_rate, record.epoch)
            writer.add_scalar("seconds/train", record.train_seconds, record.epoch)
            if record.metrics:
                writer.add_scalar("seconds/validation", record.validation_seconds, record.epoch)

    def hyper_parameters(self, config: RunConfig, state: TrainingState) -> None:
        """Write the settings with the best validation metrics, for the HPARAMS page of TensorBoard."""
        from torch.utils.tensorboard.summary import hparams

        best = next((record for record in state.history if record.epoch == state.best_epoch), None)
        if best is None:
            return
        shown = {"dataset", "model", "calibration", "loss", "training"}
        settings = _flat(config.model_dump(mode="json", include=shown))
        metrics = {f"best/{name}": value for name, value in best.metrics.items()}
        with self._writing(state.epoch) as writer:
            for summary in hparams(settings, metrics):  # type: ignore[no-untyped-call]
                writer._get_file_writer().add_summary(summary)  # type: ignore[no-untyped-call]
            for name, value in metrics.items():
                writer.add_scalar(name, value, best.epoch)

    @contextmanager
    def _writing(self, epoch: int) -> Iterator[SummaryWriter]:
        """The writer; what it gets within this context is in its file at the end."""
        with disk_errors(self._folder, self._folder), _threads_fail_quietly():
            if self._opened is None:
                from torch.utils.tensorboard import SummaryWriter  # takes long, and only trainings need it

                self._opened = SummaryWriter(str(self._folder), purge_step=epoch if self._resume else None)
            yield self._opened
            self._opened.flush()


@contextmanager
def _threads_fail_quietly() -> Iterator[None]:
    """Within this context, threads print no traceback: the writer raises the error of its thread itself."""
    before = threading.excepthook
    threading.excepthook = lambda _: None
    try:
        yield
    finally:
        threading.excepthook = before


def _flat(values: dict[str, Any], prefix: str = "") -> dict[str, bool | int | float | str]:
    """Nested settings by dotted names; values of types that TensorBoard does not store become text."""
    flat: dict[str, bool | int | float | str] = {}
    for name, value in values.items():
        if isinstance(value, dict):
            flat |= _flat(value, f"{prefix}{name}.")
        else:
            flat[prefix + name] = value if isinstance(value, bool | int | float | str) else str(value)
    return flat
