"""`actsr train`: train a model, or go on with a run."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
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
    from actsr_cli.experiment.run import Run
    from actsr_cli.training.trainer import TrainingState

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
        int | None, typer.Option(help="Stop after so many validations without gain.", rich_help_panel=TRAINING)
    ] = None,
    batch_size: Annotated[int | None, typer.Option(help="Targets per step.", rich_help_panel=TRAINING)] = None,
    learning_rate: Annotated[float | None, typer.Option(help="Adam's.", rich_help_panel=TRAINING)] = None,
    seed: Annotated[int | None, typer.Option(help="Of weights, dropout, order.", rich_help_panel=TRAINING)] = None,
    seeds: Annotated[
        int | None,
        typer.Option(min=2, help="So many runs, from --seed on; their mean and spread.", rich_help_panel=TRAINING),
    ] = None,
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
    Data that are not prepared yet are prepared first. Ctrl-C ends cleanly
    with the best model saved; --resume goes on.

    [bold]Example:[/]  actsr train --model ac-sasrec --preset beauty

    [bold]Example:[/]  actsr train --model ac-sasrec --preset beauty --seeds 5 --name five

    [bold]Example:[/]  actsr train --resume beauty/ac-sasrec/20260131-101500
    """
    options: dict[str, Any] = {
        "dataset": dataset,
        "calibration.kind": calibration,
        "training.epochs": epochs,
        "training.patience": patience,
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
    if resume is not None:
        _refuse_with_resume({"--preset": preset, "--config": config, "--name": name, "--seeds": seeds})
        _resume(resume, options, overrides or [], data_dir, runs_dir)
        return
    _train(preset, config, overrides or [], options, name, seeds, data_dir, runs_dir)


def _train(
    preset: str | None,
    file: Path | None,
    overrides: list[str],
    options: dict[str, Any],
    name: str | None,
    seeds: int | None,
    data_dir: Path,
    runs_dir: Path,
) -> None:
    from actsr_cli.experiment.data import prepare_for
    from actsr_cli.experiment.train import check_trainable
    from actsr_cli.presets import preset_for, preset_name, resolve

    resolved = resolve(preset=preset, file=file, overrides=overrides, options=options)
    with _workers() as workers:
        fitting = preset_for(resolved.config.dataset)
        if preset is None and file is None and fitting is not None:
            console.note(f"No preset given: using defaults. There is a preset for this data set: --preset {fitting}")
        with console.working("Preparing data") as say:
            config, prepared = workers.in_turn(lambda: prepare_for(resolved, data_dir, on_step=say))
        workers.agree_on(prepared.data.fingerprint)
        warn_of_input(prepared.report)
        check_trainable(config, prepared.data)
        if seeds is None:
            _train_one(config, prepared.data, name, preset_name(resolved), workers, runs_dir)
        else:
            _train_series(config, prepared.data, name, seeds, preset_name(resolved), workers, runs_dir)


def _train_one(
    config: RunConfig, data: SequenceData, name: str | None, preset: str | None, workers: Workers, runs_dir: Path
) -> Run:
    from actsr_cli.commands.progress import training_progress
    from actsr_cli.experiment.run import create_run
    from actsr_cli.experiment.train import train_run

    run = workers.from_leader(lambda: create_run(runs_dir, config, data, name=name, command=sys.argv, preset=preset))
    console.note(f"Training {run.name}: {data.n_users:,} users, {data.n_items:,} items")
    with training_progress(config.training) as progress:
        state = train_run(run, data, progress, workers)
    if workers.leads:
        _report(run, state, runs_dir)
    return run


def _train_series(
    config: RunConfig,
    data: SequenceData,
    name: str | None,
    seeds: int,
    preset: str | None,
    workers: Workers,
    runs_dir: Path,
) -> None:
    """One run per seed, called NAME-sSEED; the same command again takes what is finished and goes on with the rest."""
    from actsr_cli.commands.tables import print_spread
    from actsr_cli.experiment.run import new_name
    from actsr_cli.experiment.series import best_metrics, finished_run

    series = workers.from_leader(new_name) if name is None else name
    runs = []
    for seed in range(config.training.seed, config.training.seed + seeds):
        own = config.model_copy(update={"training": config.training.model_copy(update={"seed": seed})})
        run = workers.from_leader(partial(finished_run, runs_dir, own, data, f"{series}-s{seed}"))
        if run is None:
            run = _train_one(own, data, f"{series}-s{seed}", preset, workers, runs_dir)
        else:
            console.note(f"{run.name} is finished already")
        runs.append(run)
    if workers.leads:
        title = f"{runs[0].name.rpartition('/')[0]}/{series}: validation split, best epochs of {seeds} seeds"
        print_spread(title, display_name(config), [best_metrics(run) for run in runs], config.evaluation.seen)


def _resume(name: str, options: dict[str, Any], overrides: list[str], data_dir: Path, runs_dir: Path) -> None:
    from actsr_cli.commands.progress import training_progress
    from actsr_cli.experiment.data import data_of
    from actsr_cli.experiment.run import find_run
    from actsr_cli.experiment.train import check_resumable, reconfigure, resume_run
    from actsr_cli.presets import resolve

    with _workers() as workers:
        run = find_run(runs_dir, name)
        check_resumable(run)
        changed = resolve(file=run.path / "config.yaml", overrides=overrides, options=options).config
        run = workers.from_leader(lambda: reconfigure(run, changed))
        data = workers.in_turn(lambda: data_of(run, data_dir)).data
        console.note(f"Going on with {run.name}")
        with training_progress(run.config.training) as progress:
            state = resume_run(run, data, progress, workers)
        if workers.leads:
            _report(run, state, runs_dir)


@contextmanager
def _workers() -> Iterator[Workers]:
    """The processes of this training, of which the first alone speaks."""
    from actsr_cli.distributed import joined_workers

    with joined_workers() as workers, console.silent(not workers.leads):
        yield workers


def _report(run: Run, state: TrainingState, runs_dir: Path) -> None:
    """The best epoch; exit code 130 where training was interrupted."""
    from actsr_cli.commands.tables import print_metrics

    config: RunConfig = run.config
    interrupted = run.record["status"] == "interrupted"
    if state.best_epoch:
        best = next(record for record in state.history if record.epoch == state.best_epoch)
        print_metrics(
            f"{run.name}: validation split, best epoch {best.epoch} of {state.epoch}",
            {display_name(config): best.metrics},
            config.evaluation.seen,
        )
    console.note(f"Saved in {run.path}")
    if interrupted:
        saved = f"the best model is that of epoch {state.best_epoch}" if state.best_epoch else "no epoch was validated"
        console.warn(f"interrupted in epoch {state.epoch + 1}; {saved}. Go on: actsr train --resume {run.name}")
        raise typer.Exit(130)
    console.note(f"Next: actsr evaluate {run.name}   Curves: tensorboard --logdir {runs_dir}")


def _refuse_with_resume(given: dict[str, object]) -> None:
    for option, value in given.items():
        if value is not None:
            raise ConfigError(f"{option} does not go with --resume: a run goes on with its own settings")
