"""`actsr train`: train a model, go on with a run, or train a final model on all data."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from actsr_cli import console
from actsr_cli.commands.options import DataDir, RunsDir, complete_model, complete_preset
from actsr_cli.commands.preprocess import warn_of_input
from actsr_cli.errors import ConfigError
from actsr_cli.models.registry import display_name, parse_name

if TYPE_CHECKING:
    from actsr_cli.config import RunConfig
    from actsr_cli.data.sequences import SequenceData
    from actsr_cli.distributed import Workers
    from actsr_cli.experiment.launch import Launch, Launched
    from actsr_cli.experiment.run import Run
    from actsr_cli.training.trainer import Observer

MODEL, TRAINING, PLACE = "Model and settings", "Training", "Where things are"


def train(
    model: Annotated[
        str | None,
        typer.Option(
            "--model",
            "-m",
            help="Model, see `actsr models`: sasrec, ac-sasrec …, or package.module:Class.",
            autocompletion=complete_model,
            rich_help_panel=MODEL,
        ),
    ] = None,
    calibration: Annotated[
        str | None,
        typer.Option(help="Calibrators: none, spatial, adversarial or full.", rich_help_panel=MODEL),
    ] = None,
    preset: Annotated[
        str | None,
        typer.Option(
            "--preset",
            "-p",
            help="Preset by name or file, see `actsr presets`.",
            autocompletion=complete_preset,
            rich_help_panel=MODEL,
        ),
    ] = None,
    dataset: Annotated[
        str | None,
        typer.Option("--dataset", "-d", help="Data set; default: the preset's.", rich_help_panel=MODEL),
    ] = None,
    config: Annotated[
        Path | None,
        typer.Option("--config", "-c", help="YAML file over the preset.", rich_help_panel=MODEL),
    ] = None,
    overrides: Annotated[
        list[str] | None,
        typer.Option("--set", "-s", help="section.key=value over both; repeatable.", rich_help_panel=MODEL),
    ] = None,
    epochs: Annotated[int | None, typer.Option(help="Epochs at most.", rich_help_panel=TRAINING)] = None,
    patience: Annotated[
        int | None, typer.Option(help="Stop after N validations without gain.", rich_help_panel=TRAINING)
    ] = None,
    monitor: Annotated[
        str | None, typer.Option(help="Validation metric that chooses the best epoch.", rich_help_panel=TRAINING)
    ] = None,
    batch_size: Annotated[int | None, typer.Option(help="Targets per step.", rich_help_panel=TRAINING)] = None,
    learning_rate: Annotated[
        float | None, typer.Option(help="Peak learning rate of the optimizer.", rich_help_panel=TRAINING)
    ] = None,
    seed: Annotated[
        int | None,
        typer.Option(help="Random seed: initial weights, dropout and batch order.", rich_help_panel=TRAINING),
    ] = None,
    seeds: Annotated[
        int | None,
        typer.Option(
            min=2, help="Train N runs with seeds SEED, SEED+1, … and report mean ± std.", rich_help_panel=TRAINING
        ),
    ] = None,
    refit: Annotated[
        bool,
        typer.Option(
            "--refit",
            help="Then train a final model on all data, for as many epochs as validation chose.",
            rich_help_panel=TRAINING,
        ),
    ] = False,
    device: Annotated[
        str | None, typer.Option(help="auto, cpu, cuda, cuda:N or mps.", rich_help_panel=TRAINING)
    ] = None,
    precision: Annotated[str | None, typer.Option(help="float32 or bf16.", rich_help_panel=TRAINING)] = None,
    threads: Annotated[int | None, typer.Option(help="CPU threads.", rich_help_panel=TRAINING)] = None,
    name: Annotated[
        str | None, typer.Option(help="Name of the run; default: date and time.", rich_help_panel=PLACE)
    ] = None,
    resume: Annotated[
        str | None,
        typer.Option(help="Go on with this run from its last finished epoch.", rich_help_panel=PLACE),
    ] = None,
    data_dir: DataDir = Path("dataset"),
    runs_dir: RunsDir = Path("runs"),
) -> None:
    """Train a model to its best validation epoch.

    Settings: defaults < preset < --config < --set < the options below.
    Prepares the data set first if needed. Ctrl-C ends cleanly
    with the best model saved; --resume goes on.
    --refit alone trains the final model of the latest finished run.

    [bold]Example:[/]  actsr train --model ac-sasrec --preset beauty

    [bold]Example:[/]  actsr train --model ac-sasrec --preset beauty --seeds 5 --name five

    [bold]Example:[/]  actsr train --resume beauty/ac-sasrec/20260131-101500

    [bold]Example:[/]  actsr train --refit
    """
    options: dict[str, Any] = {
        "dataset": dataset,
        "calibration.kind": calibration,
        "training.epochs": epochs,
        "training.patience": patience,
        "training.monitor": monitor,
        "training.batch_size": batch_size,
        "training.learning_rate": learning_rate,
        "training.seed": seed,
        "training.device": device,
        "training.precision": precision,
        "training.threads": threads,
    }
    if model is not None:
        backbone, implied = parse_name(model)
        options |= {"model.name": backbone, "calibration.kind": calibration or implied}
    request = Request(overrides or [], options, refit, data_dir, runs_dir)
    if resume is not None:
        _refuse_with("--resume", {"--preset": preset, "--config": config, "--name": name, "--seeds": seeds})
        _go_on(resume, request)
    elif refit and {model, preset, dataset, config} == {None}:
        _refuse_with("--refit of the latest run", {"--name": name, "--seeds": seeds})
        _go_on(None, request)
    else:
        if refit:
            _refuse_with("--refit", {"--seeds": seeds})
        _train(request, preset, config, name, seeds)


@dataclass(frozen=True)
class Request:
    """What the options ask for, however the training begins.

    Attributes:
        overrides: texts of --set.
        options: settings that have options of their own, by dotted key.
        refit: whether a final model is wanted.
        data_dir: the data root.
        runs_dir: where runs live.
    """

    overrides: list[str]
    options: dict[str, Any]
    refit: bool
    data_dir: Path
    runs_dir: Path


def _train(request: Request, preset: str | None, file: Path | None, name: str | None, seeds: int | None) -> None:
    from actsr_cli.experiment.check import check_trainable
    from actsr_cli.experiment.data import prepare_for
    from actsr_cli.experiment.launch import check_no_refit, refit, train_new
    from actsr_cli.presets import preset_name, resolve

    resolved = resolve(preset=preset, file=file, overrides=request.overrides, options=request.options)
    with _workers() as workers:
        if preset is None and file is None:
            _name_preset(resolved.config.dataset)
        with console.working("Preparing data") as say:
            config, prepared = workers.in_turn(lambda: prepare_for(resolved, request.data_dir, on_step=say))
        data = prepared.data
        workers.agree_on(data.fingerprint)
        warn_of_input(prepared.report)
        check_trainable(config, data)
        if request.refit and name is not None:
            check_no_refit(request.runs_dir, config, name)
        launch = _launch(request, workers, data, prepared.folder, preset_name(resolved))
        if seeds is not None:
            _train_series(config, data, launch, seeds, name)
            return
        launched = train_new(config, data, launch, name)
        _report(launched, launch)
        if request.refit:
            _report(refit(launched.run, data, launch), launch)


def _train_series(config: RunConfig, data: SequenceData, launch: Launch, seeds: int, name: str | None) -> None:
    """One run per seed, called NAME-sSEED; the same command again takes what is finished and goes on with the rest."""
    from actsr_cli.commands.tables import print_spread
    from actsr_cli.evaluation.protocol import Protocol
    from actsr_cli.experiment.launch import train_series
    from actsr_cli.experiment.series import best_metrics

    runs = []
    for launched in train_series(config, data, launch, seeds, name):
        _report(launched, launch)
        runs.append(launched.run)
    if launch.workers.leads:
        protocol = Protocol.of(config.evaluation).title
        title = f"{runs[0].name.rpartition('-s')[0]}: validation split, best epochs of {seeds} seeds"
        print_spread(title, display_name(config), [best_metrics(run) for run in runs], protocol)


def _go_on(name: str | None, request: Request) -> None:
    """Go on with a run, or only train the final model of a finished one; None takes the latest finished run."""
    from actsr_cli.experiment.data import data_of
    from actsr_cli.experiment.find import find_run
    from actsr_cli.experiment.launch import check_no_refit, refit
    from actsr_cli.experiment.resume import LONGER_KEYS, changed_keys, check_resumable, reconfigure
    from actsr_cli.presets import resolve

    with _workers() as workers:
        run = find_run(request.runs_dir, name)
        wanted = resolve(file=run.path / "config.yaml", overrides=request.overrides, options=request.options).config
        if name is None:
            console.note(f"The latest finished run is {run.name}")
        if request.refit:
            check_no_refit(request.runs_dir, run.config, run.record.name)
        only_refit = request.refit and run.record.finished and not LONGER_KEYS & changed_keys(run, wanted)
        if not only_refit:
            check_resumable(run)
            run = reconfigure(run, wanted)
        prepared = workers.in_turn(lambda: data_of(run, request.data_dir))
        launch = _launch(request, workers, prepared.data, prepared.folder, run.record.preset)
        if not only_refit:
            _resume(run, prepared.data, launch)
        if request.refit:
            _report(refit(replace(run, config=wanted), prepared.data, launch), launch)


def _resume(run: Run, data: SequenceData, launch: Launch) -> None:
    from actsr_cli.commands.progress import training_progress
    from actsr_cli.experiment.launch import Launched
    from actsr_cli.experiment.resume import resume_run

    console.note(f"Going on with {run.name}")
    with training_progress(run.config.training) as progress:
        state = resume_run(run, data, progress, launch.workers)
    _report(Launched(run, state), launch)


def _launch(request: Request, workers: Workers, data: SequenceData, folder: Path, preset: str | None) -> Launch:
    from actsr_cli.experiment.launch import Launch
    from actsr_cli.experiment.run import Origin

    return Launch(request.runs_dir, Origin(sys.argv, preset, folder), workers, observe=partial(_observed, data))


@contextmanager
def _observed(data: SequenceData, run: Run) -> Iterator[Observer]:
    """Progress of a new run in the terminal."""
    from actsr_cli.commands.progress import training_progress

    everything = "" if run.config.split.by != "none" else f" for {run.config.training.last_epoch} epochs on all data"
    console.note(f"Training {run.name}{everything}: {data.n_users:,} users, {data.n_items:,} items")
    with training_progress(run.config.training) as progress:
        yield progress


@contextmanager
def _workers() -> Iterator[Workers]:
    """The processes of this training, of which the first alone speaks."""
    from actsr_cli.distributed import joined_workers

    interrupted: typer.Exit | None = None
    with joined_workers() as workers, console.silent(not workers.leads):
        try:
            yield workers
        except typer.Exit as error:  # raised in all of them: they take leave of one another first
            interrupted = error
    if interrupted is not None:
        raise interrupted


def _report(launched: Launched, launch: Launch) -> None:
    """The best epoch; exit code 130, in every process, where training was interrupted."""
    from actsr_cli.commands.tables import print_metrics
    from actsr_cli.evaluation.protocol import Protocol
    from actsr_cli.experiment.record import Status

    run, state = launched.run, launched.state
    if state is None:
        console.note(f"{run.name} is finished already")
        return
    if state.best_epoch:
        best = next(record for record in state.history if record.epoch == state.best_epoch)
        print_metrics(
            f"{run.name}: validation split, best epoch {best.epoch} of {state.epoch}",
            {display_name(run.config): best.metrics},
            Protocol.of(run.config.evaluation).title,
        )
    console.note(f"Saved in {run.path}")
    if launch.workers.from_leader(lambda: run.status is Status.INTERRUPTED):
        saved = f"the best model is that of epoch {state.best_epoch}" if state.best_epoch else "no epoch was validated"
        console.warn(f"interrupted in epoch {state.epoch + 1}; {saved}. Go on: actsr train --resume {run.name}")
        raise typer.Exit(130)
    if run.config.split.by != "none":
        console.note(f"Next: actsr evaluate {run.name}   Curves: tensorboard --logdir {launch.runs_dir}")


def _name_preset(dataset: str) -> None:
    """Say which preset there is for a data set."""
    from actsr_cli.data.catalog import all_names
    from actsr_cli.presets import preset_for

    if (fitting := preset_for(*all_names(dataset))) is not None:
        console.note(f"No preset given: using defaults. There is a preset for this data set: --preset {fitting}")


def _refuse_with(option: str, given: Mapping[str, object]) -> None:
    for other in (name for name, value in given.items() if value is not None):
        raise ConfigError(f"{other} does not go with {option}")
