"""Trains new runs: a single run, a series of seeds, or a refit on all data."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, nullcontext
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

from actsr_cli.config import NoSplit, RunConfig
from actsr_cli.config.training import LARGEST_SEED
from actsr_cli.data.sequences import SequenceData
from actsr_cli.distributed import ALONE, Workers
from actsr_cli.errors import ConfigError, RunError
from actsr_cli.experiment.place import check_place, new_name
from actsr_cli.experiment.record import Status
from actsr_cli.experiment.run import Origin, Run, new_run
from actsr_cli.experiment.series import finished_run
from actsr_cli.experiment.teachers import pin_teachers
from actsr_cli.experiment.train import train_run
from actsr_cli.models.registry import display_name
from actsr_cli.training.trainer import Observer, TrainingState
from actsr_cli.words import command


def _quietly(_: Run) -> AbstractContextManager[Observer]:
    return nullcontext(Observer())


@dataclass(frozen=True)
class Launch:
    """What new runs need besides settings and data.

    Attributes:
        runs_dir: where runs live.
        origin: preset, study and source of the runs, for their records.
        workers: the processes that share the training.
        observe: opens an observer of a run's progress.
    """

    runs_dir: Path
    origin: Origin = field(default_factory=Origin)
    workers: Workers = ALONE
    observe: Callable[[Run], AbstractContextManager[Observer]] = _quietly


@dataclass(frozen=True)
class Launched:
    """A run after its training.

    Attributes:
        run: the run.
        state: how its training ended; None if it was finished before.
        interrupted: whether the training was interrupted; it has the same value in every process.
        leads: whether this is the process that writes and prints.
    """

    run: Run
    state: TrainingState | None
    interrupted: bool = False
    leads: bool = True


def train_new(config: RunConfig, data: SequenceData, launch: Launch, name: str | None = None) -> Launched:
    """Create a run and train it.

    Args:
        config: its resolved configuration.
        data: its prepared data.
        launch: what else it needs.
        name: last part of its name. Default: date and time.

    Raises:
        RunError: a run of this name exists already, or the training fails.
    """
    made = new_run(launch.runs_dir, config, data, name=name, origin=launch.origin)
    with ExitStack() as held:
        run = launch.workers.from_leader(lambda: held.enter_context(made))
        observer = held.enter_context(launch.observe(run))
        return ended(run, train_run(run, data, observer, launch.workers, runs_dir=launch.runs_dir), launch.workers)


def ended(run: Run, state: TrainingState, workers: Workers) -> Launched:
    """The result of a training that has ended, the same in all its processes."""
    return Launched(run, state, workers.from_leader(lambda: run.status is Status.INTERRUPTED), workers.leads)


def train_series(
    config: RunConfig, data: SequenceData, launch: Launch, seeds: int, name: str | None = None
) -> Iterator[Launched]:
    """Train one run per seed, called NAME-sSEED. The seeds count up from that of `config`. Finished runs are kept.

    Args:
        config: the resolved configuration of the first run.
        data: the prepared data.
        launch: what else the runs need.
        seeds: number of runs.
        name: name of the series. Default: date and time.

    Yields:
        Each run when it is finished or interrupted. An interrupted run is the last one.

    Raises:
        ConfigError: a seed is too large.
        RunError: a run of the series exists with other settings or data, or is unfinished.
    """
    if config.training.seed + seeds - 1 > LARGEST_SEED:
        raise ConfigError(f"the last seed, {config.training.seed + seeds - 1}, is larger than {LARGEST_SEED}")
    workers = launch.workers
    series = workers.from_leader(new_name) if name is None else name
    for seed in range(config.training.seed, config.training.seed + seeds):
        own = config.model_copy(update={"training": config.training.model_copy(update={"seed": seed})})
        there = workers.from_leader(partial(finished_run, launch.runs_dir, own, data, f"{series}-s{seed}"))
        if there is None:
            launched = train_new(own, data, launch, f"{series}-s{seed}")
        else:
            launched = Launched(there, None, leads=workers.leads)
        yield launched
        if launched.interrupted:
            return


def check_refittable(run: Run) -> None:
    """Check that a run can be refitted.

    Raises:
        RunError: the run is not finished, or it is a refit itself.
    """
    if run.record.source is not None:
        raise RunError(f"{run.name} is a refit already")
    run.record.check_trained_here("refitted")
    if run.config.split.by == "none":
        raise RunError(f"{run.name} was trained on all data already")
    status = run.status
    if status is not Status.FINISHED:
        raise RunError(f"{run.name} is not finished: it is {status}", hint=run.record.resumed_by(run.name, "--refit"))


def check_no_refit(runs_dir: Path, config: RunConfig, name: str) -> None:
    """Check, before a run is trained, that it has no refit with results yet.

    Args:
        runs_dir: where runs live.
        config: the run's settings.
        name: last part of the run's name.

    Raises:
        RunError: a refit exists.
    """
    refitted = f"{config.dataset}/{display_name(config)}/{name}-refit"
    if (runs_dir / refitted).exists():
        check_place(runs_dir / refitted, hint=f"Delete it first: {command('runs', 'delete', refitted)}")


def refit_config(run: Run) -> RunConfig:
    """The settings of a refit: those of a finished run, but all data, and as many epochs as validation chose."""
    training: dict[str, object] = {"stop_after": run.record.best_epoch, "log_attention": 0}
    if run.record.precision is not None:
        training["precision"] = run.record.precision
    return run.config.model_copy(
        update={"split": NoSplit(), "training": run.config.training.model_copy(update=training)}
    )


def refit(run: Run, data: SequenceData, launch: Launch) -> Launched:
    """Train a final model on all data, without held-out items, as a new run NAME-refit.

    Args:
        run: a finished run.
        data: its prepared data.
        launch: what else the new run needs.

    Raises:
        RunError: the run cannot be refitted, a run of the new name exists already, or the training fails.
    """

    def checked() -> tuple[RunConfig, Origin, str]:
        check_refittable(run)
        record = run.record
        if record.fingerprint != data.fingerprint:
            raise RunError(f"{run.name} was trained on other data")
        check_no_refit(launch.runs_dir, run.config, record.name)
        origin = replace(launch.origin, preset=record.preset, source=run.name)
        config = pin_teachers(refit_config(run), data, launch.runs_dir)
        return config, origin, f"{record.name}-refit"

    config, origin, name = launch.workers.from_leader(checked)
    return train_new(config, data.split_by(config.split), replace(launch, origin=origin), name)
