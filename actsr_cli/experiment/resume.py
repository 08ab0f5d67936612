"""Going on with a run that was stopped."""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import replace

from actsr_cli.config import RunConfig
from actsr_cli.config.schema import leaves
from actsr_cli.data.sequences import SequenceData
from actsr_cli.distributed import ALONE, Workers
from actsr_cli.errors import RunError
from actsr_cli.experiment.record import Status
from actsr_cli.experiment.run import Run
from actsr_cli.experiment.train import Training, carry_out
from actsr_cli.models.registry import display_name
from actsr_cli.training.trainer import Observer, TrainingState

LONGER_KEYS = frozenset({"training.epochs", "training.patience"})
"""What makes a training longer."""
RESUMABLE_KEYS = LONGER_KEYS | {"training.device", "training.threads", "training.log_attention"}
"""What may differ when a run goes on: how long and where, nothing that changes its numbers."""


def changed_keys(run: Run, config: RunConfig) -> set[str]:
    """What of a run's settings `config` has otherwise, as dotted keys.

    Raises:
        RunError: it is something that may not differ when a run goes on.
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
    return changed


def reconfigure(run: Run, config: RunConfig) -> Run:
    """The same run with `config`, as long as only what may differ does; it is written down once the run goes on.

    Raises:
        RunError: something else differs, too.
    """
    return replace(run, config=config) if changed_keys(run, config) else run


def check_resumable(run: Run) -> None:
    """Raise where there is nothing to go on from.

    Raises:
        RunError: another process trains the run, or it has no checkpoint: it ended before its first epoch did, or its
            model was counted in one go.
    """
    run.check_not_training()
    if run.checkpoint_file.exists():
        return
    if run.status is Status.FINISHED:
        raise RunError(f"{run.name} is finished: {display_name(run.config)} is counted in one go")
    raise RunError(f"{run.name} has no finished epoch to go on from", hint="Train it anew: actsr train …")


def resume_run(run: Run, data: SequenceData, observer: Observer, workers: Workers = ALONE) -> TrainingState:
    """Go on with a run from its last finished epoch, exactly as if it had never stopped.

    Raises:
        RunError: it is finished, has no checkpoint, another process trains it, or its data are others.
    """
    if workers.leads:  # the others would see its lock
        check_resumable(run)
    if run.record.fingerprint != data.fingerprint:
        raise RunError(f"{run.name} was trained on other data: it cannot go on")
    with run.training_lock() if workers.leads else nullcontext():
        return carry_out(Training(run, data, observer, workers, resume=True))
