"""`actsr train`: train a model, continue a run, or train a final model on all data."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from actsr_cli import console
from actsr_cli.commands.completion import complete_run
from actsr_cli.commands.options import (
    PLACES,
    SETTINGS,
    AsJson,
    ConfigFile,
    DataDir,
    DatasetName,
    ModelName,
    Overrides,
    PresetName,
    RunsDir,
    TrustCode,
)
from actsr_cli.errors import ConfigError
from actsr_cli.models.registry import display_name, model_settings
from actsr_cli.words import command

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from actsr_cli.experiment.launch import Launched
    from actsr_cli.experiment.run import Run
    from actsr_cli.training.trainer import TrainingState

TRAINING = "Training"


def train(
    model: ModelName = None,
    calibration: Annotated[
        str | None,
        typer.Option(help="Calibrators: none, spatial, adversarial or full.", rich_help_panel=SETTINGS),
    ] = None,
    preset: PresetName = None,
    dataset: DatasetName = None,
    config: ConfigFile = None,
    overrides: Overrides = None,
    epochs: Annotated[int | None, typer.Option(help="Maximum number of epochs.", rich_help_panel=TRAINING)] = None,
    patience: Annotated[
        int | None, typer.Option(help="Stop after N validations without improvement.", rich_help_panel=TRAINING)
    ] = None,
    monitor: Annotated[
        str | None, typer.Option(help="Validation metric that selects the best epoch.", rich_help_panel=TRAINING)
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
            help="Also train a final model on all data, for as many epochs as validation chose.",
            rich_help_panel=TRAINING,
        ),
    ] = False,
    device: Annotated[
        str | None, typer.Option(help="auto, cpu, cuda, cuda:N or mps.", rich_help_panel=TRAINING)
    ] = None,
    precision: Annotated[
        str | None, typer.Option(help="float32, bf16 or auto (the faster one).", rich_help_panel=TRAINING)
    ] = None,
    threads: Annotated[int | None, typer.Option(help="CPU threads of each process.", rich_help_panel=TRAINING)] = None,
    processes: Annotated[
        int, typer.Option(min=1, help="Share the training among N processes on this machine.", rich_help_panel=TRAINING)
    ] = 1,
    checkpoint_minutes: Annotated[
        float | None,
        typer.Option(help="Minutes between checkpoints within an epoch; default: 30.", rich_help_panel=TRAINING),
    ] = None,
    on_nan: Annotated[
        str | None,
        typer.Option(
            help="If a number is not finite: stop, or backoff to the last epoch and lower the learning rate.",
            rich_help_panel=TRAINING,
        ),
    ] = None,
    name: Annotated[
        str | None, typer.Option(help="Name of the run; default: date and time.", rich_help_panel=PLACES)
    ] = None,
    resume: Annotated[
        str | None,
        typer.Option(
            help="Continue this run from its last checkpoint.", rich_help_panel=PLACES, autocompletion=complete_run
        ),
    ] = None,
    as_json: AsJson = False,
    trust_code: TrustCode = False,
    data_dir: DataDir = Path("dataset"),
    runs_dir: RunsDir = Path("runs"),
) -> None:
    """Train a model to its best validation epoch.

    Settings: defaults < preset < --config < --set < the options below.
    Prepares the data set first if needed. Ctrl-C stops the training after the
    current batch and keeps the best model; --resume continues with the next batch. --refit without other options trains
    the final model of the latest finished run.

    [bold]Example:[/]  actsr train --model ac-sasrec --preset beauty

    [bold]Example:[/]  actsr train --model ac-sasrec --preset beauty --seeds 5 --name five

    [bold]Example:[/]  actsr train --resume beauty/ac-sasrec/20260131-101500

    [bold]Example:[/]  actsr train --refit
    """
    from actsr_cli.distributed import failures_reported, started_here
    from actsr_cli.experiment.find import find_run
    from actsr_cli.presets import resolve
    from actsr_cli.sessions import continue_run, train_in_processes, train_resolved

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
        "training.checkpoint_minutes": checkpoint_minutes,
        "training.on_nan": on_nan,
    }
    options |= model_settings(model, calibration, overrides or [])
    report = _Report(runs_dir, as_json=as_json)
    continues = resume is not None or (refit and {model, preset, dataset, config} == {None})
    with failures_reported():
        if continues:
            how = "--resume" if resume is not None else "--refit of the latest run"
            _refuse_with(how, {"--preset": preset, "--config": config, "--name": name, "--seeds": seeds})
        elif refit:
            _refuse_with("--refit", {"--seeds": seeds})
        resolved = (
            None if continues else resolve(preset=preset, file=config, overrides=overrides or [], options=options)
        )
        if processes > 1 and not started_here():
            settings = resolved or resolve(
                file=find_run(runs_dir, resume).path / "config.yaml",
                overrides=overrides or [],
                options=options,
                of_run=True,
            )
            raise typer.Exit(train_in_processes(processes, settings.config.training.device))
        if resolved is None:
            continue_run(
                resume,
                overrides=overrides or [],
                options=options,
                final=refit,
                data_dir=data_dir,
                runs_dir=runs_dir,
                on_trained=report,
            )
        else:
            launched = train_resolved(
                resolved, name=name, seeds=seeds, final=refit, data_dir=data_dir, runs_dir=runs_dir, on_trained=report
            )
            validated = resolved.config.split.by != "none"
            if seeds is not None and validated and not as_json and not report.interrupted and launched[0].leads:
                _print_series([each.run for each in launched])
    if report.told:
        console.print_json(report.told)
    if report.interrupted:
        raise typer.Exit(130)


class _Report:
    """Prints the best epoch of each trained run, and what to do next; or keeps them for JSON.

    Attributes:
        interrupted: whether a training was interrupted.
        told: the runs for JSON; empty if they are printed.
    """

    def __init__(self, runs_dir: Path, *, as_json: bool) -> None:
        self.interrupted = False
        self.told: list[dict[str, Any]] = []
        self._runs_dir = runs_dir
        self._as_json = as_json

    def __call__(self, launched: Launched) -> None:
        self.interrupted = self.interrupted or launched.interrupted
        if not launched.leads:
            return
        if self._as_json:
            self.told.append(_told(launched.run))
        elif launched.state is None:
            console.note(f"{launched.run.name} is finished already")
        else:
            self._print(launched, launched.state)

    def _print(self, launched: Launched, state: TrainingState) -> None:
        from actsr_cli.commands.tables import print_metrics
        from actsr_cli.evaluation.protocol import Protocol

        run = launched.run
        best = next((record for record in state.history if record.epoch == state.best_epoch), None)
        if best is not None:
            title = f"{run.name}: validation split, best epoch {best.epoch} of {state.epoch}"
            protocol = Protocol.of(run.config.evaluation).title
            print_metrics(title, {display_name(run.config): best.metrics}, protocol)
        console.note(f"Saved in {run.path}")
        if launched.interrupted:
            saved = f"the best model is from epoch {best.epoch}" if best else "no epoch was validated"
            place = f"epoch {state.epoch + 1}" + (f", batch {state.partial.batches}" if state.partial else "")
            console.warn(f"interrupted in {place}; {saved}. Continue: {run.record.resumed_by(run.name)}")
        elif run.config.split.by == "none":
            console.note(f"Next: {command('recommend', run.name)}")
        else:
            console.note(f"Next: {command('evaluate', run.name)}   {command('recommend', run.name)}")
            console.note(f"Curves: {shlex.join(('tensorboard', '--logdir', str(self._runs_dir)))}")


def _told(run: Run) -> dict[str, Any]:
    """A trained run for JSON."""
    record = run.record
    return {
        "run": run.name,
        "path": str(run.path),
        "status": run.status.value,
        "epochs": record.epochs,
        "best_epoch": record.best_epoch,
        "monitor": record.monitor,
        "value": record.value,
        "metrics": run.metrics,
    }


def _print_series(runs: Sequence[Run]) -> None:
    """Mean and standard deviation of the best validation metrics."""
    from actsr_cli.commands.tables import print_spread
    from actsr_cli.evaluation.protocol import Protocol
    from actsr_cli.experiment.series import best_metrics

    config = runs[0].config
    title = f"{runs[0].name.rpartition('-s')[0]}: validation split, best epochs of {len(runs)} seeds"
    metrics = [best_metrics(run) for run in runs]
    print_spread(title, display_name(config), metrics, Protocol.of(config.evaluation).title)


def _refuse_with(option: str, given: Mapping[str, object]) -> None:
    for other in (name for name, value in given.items() if value is not None):
        raise ConfigError(f"{other} does not go with {option}")
