"""The checkpoints of a run in training, and which of them it continues from."""

from __future__ import annotations

from logging import getLogger
from pathlib import Path

from actsr_cli.errors import RunError
from actsr_cli.experiment.run import Run
from actsr_cli.models.base import SequentialModel
from actsr_cli.training.checkpoint import save_checkpoint, save_model, saved_state
from actsr_cli.training.trainer import Trainer

_log = getLogger("actsr")


def save_best(run: Run, model: SequentialModel, epoch: int) -> None:
    """Write the model of the best epoch so far."""
    run.check_ours()
    save_model(run.model_file, model, epoch)


def save_state(run: Run, trainer: Trainer) -> None:
    """Write the checkpoint of a finished epoch, or of a batch within the next one."""
    run.check_ours()
    if trainer.state.partial is not None:
        save_checkpoint(run.batch_checkpoint_file, trainer)
        return
    save_checkpoint(run.checkpoint_file, trainer)
    run.batch_checkpoint_file.unlink(missing_ok=True)


def newest_checkpoint(run: Run) -> Path:
    """The checkpoint of a batch if it continues that of the last finished epoch, else that one."""
    if not run.batch_checkpoint_file.exists():
        return run.checkpoint_file
    after_epoch = saved_state(run.checkpoint_file)
    try:
        within = saved_state(run.batch_checkpoint_file)
    except RunError as error:
        _log.warning("%s; training continues from the last finished epoch", error.message)
        return run.checkpoint_file
    goes_on = (within.epoch, within.backoffs) == (after_epoch.epoch, after_epoch.backoffs)  # else a kill has left it
    return run.batch_checkpoint_file if goes_on else run.checkpoint_file
