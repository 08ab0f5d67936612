"""`actsr tune`: search the settings of a model on the validation split."""

from __future__ import annotations

import shlex
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from actsr_cli import console
from actsr_cli.commands.options import DataDir, RunsDir, complete_model, complete_preset
from actsr_cli.errors import ConfigError, RunError
from actsr_cli.models.registry import display_name, parse_name

if TYPE_CHECKING:
    from actsr_cli.experiment.run import Run
    from actsr_cli.presets import ResolvedConfig
    from actsr_cli.tuning.space import Space
    from actsr_cli.tuning.study import Plan, Sampler

MODEL, SEARCH, PLACE = "Model and settings", "Search", "Where things are"
_GIVE_PRESET = "Give one: --preset NAME, see actsr presets."
_TRIALS = 20
"""Of a search that has no end of its own."""


def tune(
    grid: Annotated[bool, typer.Option("--grid", help="Every combination.", rich_help_panel=SEARCH)] = False,
    random: Annotated[
        bool, typer.Option("--random", help="Combinations drawn evenly.", rich_help_panel=SEARCH)
    ] = False,
    tpe: Annotated[
        bool, typer.Option("--tpe", help="Combinations like the good ones so far.", rich_help_panel=SEARCH)
    ] = False,
    preset: Annotated[
        str | None,
        typer.Option(
            "--preset",
            "-p",
            help="Preset by name or file; default: the last run's.",
            autocompletion=complete_preset,
            rich_help_panel=MODEL,
        ),
    ] = None,
    model: Annotated[
        str | None,
        typer.Option(
            "--model",
            "-m",
            help="Model, see `actsr models`.",
            autocompletion=complete_model,
            rich_help_panel=MODEL,
        ),
    ] = None,
    dataset: Annotated[
        str | None, typer.Option("--dataset", "-d", help="Data set; default: the preset's.", rich_help_panel=MODEL)
    ] = None,
    overrides: Annotated[
        list[str] | None,
        typer.Option("--set", "-s", help="section.key=value for all trials; repeatable.", rich_help_panel=MODEL),
    ] = None,
    epochs: Annotated[int | None, typer.Option(help="Epochs at most.", rich_help_panel=MODEL)] = None,
    space: Annotated[
        Path | None,
        typer.Option(help="YAML file with the search space; default: the preset's.", rich_help_panel=SEARCH),
    ] = None,
    trials: Annotated[
        int | None,
        typer.Option(min=1, help="Trials in all; default: all of a grid, else 20.", rich_help_panel=SEARCH),
    ] = None,
    timeout: Annotated[
        float | None,
        typer.Option(min=0, metavar="MINUTES", help="Begin no trial after so long.", rich_help_panel=SEARCH),
    ] = None,
    pruning: Annotated[bool, typer.Option(help="Give up trials that fall behind.", rich_help_panel=SEARCH)] = True,
    test: Annotated[
        bool, typer.Option("--test", help="At the end evaluate the best on the test split.", rich_help_panel=SEARCH)
    ] = False,
    workers: Annotated[int, typer.Option(min=1, help="Processes on this machine.", rich_help_panel=SEARCH)] = 1,
    name: Annotated[
        str | None,
        typer.Option(help="Name of the study; default: grid, random or tpe.", rich_help_panel=PLACE),
    ] = None,
    storage: Annotated[
        str | None,
        typer.Option(metavar="URL", help="Database; default: a journal in the study.", rich_help_panel=PLACE),
    ] = None,
    data_dir: DataDir = Path("dataset"),
    runs_dir: RunsDir = Path("runs"),
) -> None:
    """Search settings by their best value on the validation split, and write the winner as a preset.

    Each trial is a run like any other. The same command again goes on where it stopped;
    more --trials make the study longer. Machines that share a --storage work on one study.

    [bold]Example:[/]  actsr tune --grid --preset beauty --model ac-sasrec --workers 2

    [bold]Example:[/]  actsr tune --tpe --trials 40 --space mine.yaml --timeout 90

    [bold]Example:[/]  actsr tune --random --storage sqlite:///studies.db --name wide
    """
    sampler = _chosen({"grid": grid, "random": random, "tpe": tpe})
    resolved = _resolved(preset, model, dataset, overrides or [], epochs, runs_dir)
    plan = _plan(resolved, space, sampler, trials, timeout, pruning, workers, name, storage, data_dir, runs_dir)
    _search(plan, test=test)


def _chosen(given: dict[Sampler, bool]) -> Sampler:
    chosen = [name for name, wanted in given.items() if wanted]
    if len(chosen) != 1:
        raise ConfigError("give one of --grid, --random and --tpe" + (", not several" if chosen else ""))
    return chosen[0]


def _resolved(
    preset: str | None, model: str | None, dataset: str | None, overrides: list[str], epochs: int | None, runs_dir: Path
) -> ResolvedConfig:
    """The settings of all trials; preset, model and data set of the last run where no preset is given."""
    from actsr_cli.presets import resolve

    options: dict[str, Any] = {"dataset": dataset, "training.epochs": epochs}
    if preset is None:
        preset, last = _last_preset(runs_dir)
        options = {**last, **{key: value for key, value in options.items() if value is not None}}
    if model is not None:
        options["model.name"], options["calibration.kind"] = parse_name(model)
    return resolve(preset=preset, overrides=overrides, options=options)


def _last_preset(runs_dir: Path) -> tuple[str, dict[str, Any]]:
    from actsr_cli.experiment.run import list_runs, open_run

    folders = list_runs(runs_dir)
    if not folders:
        raise ConfigError(f"no preset is given, and {runs_dir} has no run to take it from", hint=_GIVE_PRESET)
    run = open_run(folders[-1])
    preset = run.record.get("preset")
    if preset is None:
        raise ConfigError(f"no preset is given, and the last run, {run.name}, had none", hint=_GIVE_PRESET)
    console.note(f"No preset given: taking preset {preset}, model and data set of the last run, {run.name}")
    config = run.config
    taken = {"dataset": config.dataset, "model.name": config.model.name, "calibration.kind": config.calibration.kind}
    return str(preset), taken


def _plan(
    resolved: ResolvedConfig,
    space_file: Path | None,
    sampler: Sampler,
    trials: int | None,
    timeout: float | None,
    pruning: bool,
    workers: int,
    name: str | None,
    storage: str | None,
    data_dir: Path,
    runs_dir: Path,
) -> Plan:
    from actsr_cli.commands.preprocess import warn_of_input
    from actsr_cli.experiment.data import prepare_for
    from actsr_cli.experiment.train import check_trainable
    from actsr_cli.presets import preset_name
    from actsr_cli.tuning.study import Plan

    space = _space(resolved, space_file)
    with console.working("Preparing data") as say:
        config, prepared = prepare_for(resolved, data_dir, on_step=say)
    warn_of_input(prepared.report)
    check_trainable(config, prepared.data)
    name = name or sampler
    if Path(name).name != name or name in (".", ".."):
        raise ConfigError(f"'{name}' is no name for a study: it must be one plain folder name")
    return Plan(
        name=name,
        sampler=sampler,
        config=config,
        preset=preset_name(resolved),
        space=space,
        fingerprint=prepared.data.fingerprint,
        trials=trials if trials or sampler == "grid" else _TRIALS,
        pruning=pruning,
        storage=storage,
        runs_dir=runs_dir,
        data_dir=data_dir,
        workers=workers,
        deadline=None if timeout is None else time.time() + 60 * timeout,
    )


def _space(resolved: ResolvedConfig, file: Path | None) -> Space:
    """What is searched; a note for each key that has its value already."""
    from actsr_cli.tuning.space import space_of

    space, given = space_of(resolved, file)
    for key in given:
        console.note(f"Not searched: {key}, which has its value from {resolved.given[key]}")
    return space


def _search(plan: Plan, *, test: bool) -> None:
    import optuna

    from actsr_cli.commands.tune_view import StudyView, print_outcome
    from actsr_cli.training.interrupt import stop_on_interrupt
    from actsr_cli.tuning.outcome import outcome_of, winner, write_outcome
    from actsr_cli.tuning.study import open_study
    from actsr_cli.tuning.worker import check_ends, wait, workers

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    study = open_study(plan)
    command = [word.replace(plan.storage, plan.place) if plan.storage else word for word in sys.argv]
    view = StudyView(plan, study)
    console.note(f"Study {plan.title}: {view.extent()}; kept in {plan.place}")
    with stop_on_interrupt() as interrupted:
        with workers(plan, command) as processes, view.live():
            while not wait(processes, seconds=0.5) and not interrupted():
                view.update()
        view.update()
        outcome = outcome_of(plan, study)
        write_outcome(plan, study, outcome, shlex.join(["actsr", *command[1:]]))
    print_outcome(plan, outcome)
    if interrupted():
        console.warn("interrupted: the same command goes on with the study")
        raise typer.Exit(130)
    check_ends(processes)
    if outcome.best is None:
        raise RunError(f"no trial of study {plan.title} has finished{view.first_error()}")
    if test and not outcome.left:
        _test(plan, winner(plan, outcome))
    elif test:
        console.note(f"Not tested yet: {outcome.left} trials are left, so that the winner is not certain")


def _test(plan: Plan, run: Run) -> None:
    """Show the winner's metrics on the test split by both protocols, evaluated where no former call has done so."""
    from actsr_cli.commands.tables import print_metrics
    from actsr_cli.evaluation.ranking import Seen
    from actsr_cli.experiment.data import data_of
    from actsr_cli.experiment.evaluate import evaluate_run

    protocols: tuple[Seen, ...] = ("rank", "exclude")
    for seen in protocols:
        found = run.metrics.get(f"test/{seen}")
        if found is None:
            data = data_of(run, plan.data_dir).data
            settings = run.config.evaluation
            found = evaluate_run(
                run, data, split="test", seen=seen, ks=settings.k, batch_size=settings.batch_size
            ).metrics
        metrics = {name: value for name, value in found.items() if "@" in name}
        print_metrics(f"{run.name}: test split", {display_name(run.config): metrics}, seen)
