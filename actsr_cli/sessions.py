"""Starts trainings for commands and notebooks: preparation, processes, progress, one run or several; or imports one."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from actsr_cli import console
from actsr_cli.config import RunConfig
from actsr_cli.data.catalog import all_names
from actsr_cli.data.prepare import Prepared
from actsr_cli.data.sequences import SequenceData
from actsr_cli.distributed import Workers, joined_workers, start_processes
from actsr_cli.errors import ConfigError
from actsr_cli.experiment.check import check_trainable
from actsr_cli.experiment.combining import find_parts, make_ensemble
from actsr_cli.experiment.data import data_of, prepare_for
from actsr_cli.experiment.find import find_run, latest_run
from actsr_cli.experiment.importing import Tokens, import_weights
from actsr_cli.experiment.launch import Launch, Launched, check_no_refit, ended, refit, train_new, train_series
from actsr_cli.experiment.resume import changed_keys, check_resumable, reconfigure, resume_run
from actsr_cli.experiment.run import Origin, Run
from actsr_cli.experiment.status import LONGER_KEYS
from actsr_cli.experiment.teachers import pin_teachers
from actsr_cli.presets import ResolvedConfig, preset_for, preset_name, resolve
from actsr_cli.progress import training_progress
from actsr_cli.training.device import choose_device
from actsr_cli.words import counted

if TYPE_CHECKING:
    from actsr_cli.models.recbole import Weights
    from actsr_cli.training.trainer import Observer

Place = str | Path | None
OnTrained = Callable[[Launched], None]


def train_resolved(
    resolved: ResolvedConfig,
    *,
    name: str | None = None,
    seeds: int | None = None,
    final: bool = False,
    data_dir: Place = None,
    runs_dir: Place = None,
    on_trained: OnTrained | None = None,
) -> list[Launched]:
    """Train one run or a series with resolved settings, for `train` and `train_seeds`.

    Args:
        resolved: the settings and their sources.
        name: last part of the run's name, or the name of the series.
        seeds: train one run per seed; None trains one run.
        final: then train a final model on all data.
        data_dir: see `train`.
        runs_dir: see `train`.
        on_trained: called with each trained run.

    Raises:
        RunError: see `train`.
    """
    with _workers() as workers:
        if resolved.preset is None and not any(source.startswith("file ") for source in resolved.sources.values()):
            _name_preset(resolved.config.dataset)
        with console.working("Preparing data") as say:
            config, prepared = workers.in_turn(lambda: prepare_for(resolved, data_root(data_dir), on_step=say))
        workers.agree_on(prepared.data.fingerprint)
        for text in prepared.report.warnings:
            console.warn(text)
        check_trainable(config, prepared.data)
        config = pin_teachers(config, prepared.data, runs_root(runs_dir))
        if final and config.split.by == "none":
            raise ConfigError("--refit needs a validation split, which chooses the number of epochs, and split is none")
        if final and name is not None:
            # in one process: two that try a lock at the same moment take each other for its owner
            workers.from_leader(lambda: check_no_refit(runs_root(runs_dir), config, name))
        launch = _launch(runs_root(runs_dir), workers, prepared, preset_name(resolved))
        trained = []
        for launched in _trained(config, prepared.data, launch, name, seeds, final):
            _tell(on_trained, launched)
            trained.append(launched)
        return trained


def continue_run(
    name: str | None,
    *,
    overrides: Sequence[str] = (),
    options: Mapping[str, Any] | None = None,
    settings: Mapping[str, Any] | None = None,
    final: bool = False,
    data_dir: Place = None,
    runs_dir: Place = None,
    on_trained: OnTrained | None = None,
) -> list[Launched]:
    """Continue a run, or only train the final model of a finished one, for `resume`.

    Args:
        name: a folder, DATASET/MODEL/NAME or its end; None takes the latest finished run.
        overrides: `section.key=value` texts, below `options`.
        options: settings by dotted key; None means not given.
        settings: settings by dotted key, given in Python.
        final: also train the final model on all data.
        data_dir: see `train`.
        runs_dir: see `train`.
        on_trained: called with each trained run.

    Raises:
        RunError: see `resume`.
    """
    root = runs_root(runs_dir)
    with _workers() as workers:
        run = find_run(root, name)
        wanted = resolve(
            file=run.path / "config.yaml", overrides=overrides, options=options, settings=settings, of_run=True
        ).config
        if name is None:
            console.note(f"The latest finished run is {run.name}")
        if final:
            workers.from_leader(lambda: check_no_refit(root, run.config, run.record.name))
        only_final = final and run.record.finished and not LONGER_KEYS & changed_keys(run, wanted)
        if not only_final:
            workers.from_leader(lambda: check_resumable(run))
            run = reconfigure(run, wanted)
        prepared = workers.in_turn(lambda: data_of(run, data_root(data_dir)))
        launch = _launch(root, workers, prepared, run.record.preset)
        trained = []
        if not only_final:
            console.note(f"Continuing {run.name}")
            with training_progress(run.config.training) as progress:
                state = resume_run(run, prepared.data, progress, workers, runs_dir=root)
                trained.append(ended(run, state, workers))
            _tell(on_trained, trained[-1])
        if final and not any(each.interrupted for each in trained):
            trained.append(refit(replace(run, config=wanted), prepared.data, launch))
            _tell(on_trained, trained[-1])
        return trained


def import_resolved(
    weights: Weights,
    resolved: ResolvedConfig,
    tokens: Tokens,
    *,
    name: str | None = None,
    data_dir: Place = None,
    runs_dir: Place = None,
) -> Run:
    """Make a finished run out of weights that another program has trained.

    Args:
        weights: the weights.
        resolved: the settings and their sources.
        tokens: the order of items, and of users, in the weights.
        name: last part of the run's name. Default: date and time.
        data_dir: see `train`.
        runs_dir: see `train`.

    Raises:
        DataError: the weights do not fit the settings, the data or the tokens.
        RunError: a run of this name exists already.
    """
    with console.working("Preparing data") as say:
        config, prepared = prepare_for(resolved, data_root(data_dir), on_step=say)
    for text in prepared.report.warnings:
        console.warn(text)
    origin = Origin(sys.argv, preset_name(resolved))
    return import_weights(weights, config, prepared, tokens, runs_dir=runs_root(runs_dir), name=name, origin=origin)


def combine(
    runs: str | Path | Run | Sequence[str | Path | Run],
    *,
    name: str | None = None,
    data_dir: Place = None,
    runs_dir: Place = None,
) -> Run:
    """Make one run out of several, which ranks by the mean of their scores.

    Args:
        runs: finished runs, or series of runs, or one series: a folder, DATASET/MODEL/NAME or its end.
        name: last part of the new run's name. Default: date and time.
        data_dir: root of the data sets. Default: ACTSR_DATA, or `dataset`.
        runs_dir: root of the runs. Default: ACTSR_RUNS, or `runs`.

    Raises:
        RunError: a run is not there or not finished, the runs do not fit together, or there is one of the new name.
    """
    root = runs_root(runs_dir)
    if isinstance(runs, str | Path | Run):
        runs = [runs]
    members = find_parts(root, [str(run.path if isinstance(run, Run) else run) for run in runs])
    prepared = data_of(members[0], data_root(data_dir))
    return make_ensemble(members, prepared, runs_dir=root, name=name, origin=Origin(sys.argv))


def train_in_processes(count: int, device_name: str) -> int:
    """Carry out this command in several processes on this machine; see `start_processes`.

    Args:
        count: number of processes, 2 or more.
        device_name: the device in the settings of the training.

    Raises:
        ConfigError: there are processes already, or not so many devices.
        RunError: a process has failed or was killed.
    """
    if "WORLD_SIZE" in os.environ:
        raise ConfigError("--processes does not go with torchrun, which starts the processes itself")
    device = choose_device(device_name)
    if device.type == "cuda" and (device.index is not None or count > torch.cuda.device_count()):
        gpus = "1 GPU" if device.index is not None else counted(torch.cuda.device_count(), "GPU")
        raise ConfigError(f"{count} processes need as many GPUs, and '{device_name}' is {gpus}")
    if device.type not in ("cpu", "cuda"):
        raise ConfigError(f"several processes cannot share a training on {device.type}", hint="Add --device cpu.")
    return start_processes(count)


def _trained(
    config: RunConfig, data: SequenceData, launch: Launch, name: str | None, seeds: int | None, final: bool
) -> Iterator[Launched]:
    """Each run after its training. An interrupted run is the last one."""
    if seeds is not None:
        yield from train_series(config, data, launch, seeds, name)
        return
    launched = train_new(config, data, launch, name)
    yield launched
    if final and not launched.interrupted:
        yield refit(launched.run, data, launch)


def _tell(on_trained: OnTrained | None, launched: Launched) -> None:
    if on_trained is not None:
        on_trained(launched)


def _launch(runs_dir: Path, workers: Workers, prepared: Prepared, preset: str | None) -> Launch:
    return Launch(
        runs_dir, Origin(sys.argv, preset, prepared.folder), workers, observe=partial(_observed, prepared.data)
    )


@contextmanager
def _observed(data: SequenceData, run: Run) -> Iterator[Observer]:
    """Progress of a new run in the terminal."""
    everything = (
        "" if run.config.split.by != "none" else f" for {counted(run.config.training.last_epoch, 'epoch')} on all data"
    )
    console.note(f"Training {run.name}{everything}: {data.n_users:,} users, {data.n_items:,} items")
    with training_progress(run.config.training) as progress:
        yield progress


@contextmanager
def _workers() -> Iterator[Workers]:
    """The processes of this training; only the first one prints."""
    with joined_workers() as workers, console.silent(not workers.leads):
        yield workers


def _name_preset(dataset: str) -> None:
    """Print a note about the preset for a data set."""
    if (fitting := preset_for(*all_names(dataset))) is not None:
        console.note(f"No preset given: using defaults. There is a preset for this data set: --preset {fitting}")


def opened_run(run: str | Path | Run | None, runs_dir: Place, trust_code: bool, *, refits: bool = False) -> Run:
    """The named run, or the latest one; if `trust_code`, with leave to import the code that its folder names."""
    root = runs_root(runs_dir)
    opened = (
        run if isinstance(run, Run) else latest_run(root, refits=refits) if run is None else find_run(root, str(run))
    )
    if trust_code:
        opened.trust_code()
    return opened


def data_root(folder: Place) -> Path:
    """The root of the data sets: the folder, or ACTSR_DATA, or `dataset`."""
    return Path(folder or os.environ.get("ACTSR_DATA") or "dataset")


def runs_root(folder: Place) -> Path:
    """The root of the runs: the folder, or ACTSR_RUNS, or `runs`."""
    return Path(folder or os.environ.get("ACTSR_RUNS") or "runs")
