"""`actsr tune`: search the settings of a model on the validation split."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from actsr_cli import console
from actsr_cli.commands.options import (
    PLACES,
    SETTINGS,
    AsJson,
    DataDir,
    DatasetName,
    ModelName,
    Overrides,
    PresetName,
    RunsDir,
    TrustCode,
)
from actsr_cli.errors import ConfigError, RunError
from actsr_cli.models.registry import display_name, model_settings
from actsr_cli.words import counted

if TYPE_CHECKING:
    from actsr_cli.experiment.run import Run
    from actsr_cli.tuning.planning import Basis, Search
    from actsr_cli.tuning.study import Plan, Sampler

SEARCH = "Search"


def tune(
    grid: Annotated[
        bool, typer.Option("--grid", help="Try every combination of the values.", rich_help_panel=SEARCH)
    ] = False,
    random: Annotated[bool, typer.Option("--random", help="Try random combinations.", rich_help_panel=SEARCH)] = False,
    tpe: Annotated[
        bool, typer.Option("--tpe", help="Try combinations like the best ones so far (TPE).", rich_help_panel=SEARCH)
    ] = False,
    preset: PresetName = None,
    model: ModelName = None,
    dataset: DatasetName = None,
    overrides: Overrides = None,
    epochs: Annotated[
        int | None, typer.Option(help="Largest number of epochs of a trial.", rich_help_panel=SETTINGS)
    ] = None,
    space: Annotated[
        Path | None,
        typer.Option(
            help="YAML file with the search space. Default: the space of the preset, else of the model.",
            rich_help_panel=SEARCH,
        ),
    ] = None,
    trials: Annotated[
        int | None,
        typer.Option(
            min=1, help="Number of trials in the study. Default: the whole grid, else 20.", rich_help_panel=SEARCH
        ),
    ] = None,
    timeout: Annotated[
        float | None,
        typer.Option(
            min=0, metavar="MINUTES", help="Start no new trial after this many minutes.", rich_help_panel=SEARCH
        ),
    ] = None,
    pruning: Annotated[
        bool, typer.Option(help="Stop trials that fall behind the others.", rich_help_panel=SEARCH)
    ] = True,
    test: Annotated[
        bool,
        typer.Option("--test", help="At the end, evaluate the best trial on the test split.", rich_help_panel=SEARCH),
    ] = False,
    workers: Annotated[
        int, typer.Option(min=1, max=1_024, help="Number of processes on this machine.", rich_help_panel=SEARCH)
    ] = 1,
    name: Annotated[
        str | None,
        typer.Option(help="Name of the study. Default: grid, random or tpe.", rich_help_panel=PLACES),
    ] = None,
    storage: Annotated[
        str | None,
        typer.Option(
            metavar="URL",
            help="Database of the trials. Default: a journal file in the folder of the study.",
            rich_help_panel=PLACES,
        ),
    ] = None,
    as_json: AsJson = False,
    trust_code: TrustCode = False,
    data_dir: DataDir = Path("dataset"),
    runs_dir: RunsDir = Path("runs"),
) -> None:
    """Search settings by their best value on the validation split, and write the best ones as a preset.

    Settings are those of --preset, or of the latest finished run. Each trial
    is a run like any other. Give the same command again to continue a study
    that stopped; a larger --trials makes it longer. Machines that share a
    --storage work on the same study.

    [bold]Example:[/]  actsr tune --grid --preset beauty --model ac-sasrec --workers 2

    [bold]Example:[/]  actsr tune --tpe --trials 40 --space mine.yaml --timeout 90

    [bold]Example:[/]  actsr tune --random --storage sqlite:///studies.db --name wide
    """
    from actsr_cli.tuning.planning import Search, basis_of

    sampler = _chosen({"grid": grid, "random": random, "tpe": tpe})
    overrides = overrides or []
    options: dict[str, Any] = {"dataset": dataset, "training.epochs": epochs}
    options |= model_settings(model, overrides=overrides)
    basis = basis_of(preset, overrides, options, runs_dir)
    search = Search(sampler, space, trials, timeout, pruning, workers, name, storage)
    _search(_plan(basis, search, data_dir, runs_dir), test=test, as_json=as_json)


def _chosen(given: dict[Sampler, bool]) -> Sampler:
    chosen = [name for name, wanted in given.items() if wanted]
    if len(chosen) != 1:
        raise ConfigError("give one of --grid, --random and --tpe" + (", not several" if chosen else ""))
    return chosen[0]


def _plan(basis: Basis, search: Search, data_dir: Path, runs_dir: Path) -> Plan:
    """The plan of the study. Prints notes about keys that are not searched and about its data."""
    from actsr_cli.tuning.planning import make_plan, space_of

    if basis.run is not None:
        behind = f", which had preset {basis.preset}" if basis.preset else ""
        console.note(f"No preset given: taking all settings of the latest finished run, {basis.run.name}{behind}")
    if basis.note and search.space is None:
        console.note(f"{basis.note}; searching the default space of the model")
    space, without = space_of(basis, search.space)
    for key, reason in without.items():
        console.note(f"Not searched: {key}, {reason}")
    with console.working("Preparing data") as say:
        plan, report = make_plan(basis, search, space, data_dir=data_dir, runs_dir=runs_dir, on_step=say)
    for text in report.warnings:
        console.warn(text)
    return plan


def _search(plan: Plan, *, test: bool, as_json: bool) -> None:
    import optuna

    from actsr_cli.commands.tune_view import StudyView, outcome_record, print_outcome
    from actsr_cli.training.interrupt import stop_on_interrupt
    from actsr_cli.tuning.outcome import outcome_of, winner
    from actsr_cli.tuning.output import write_outcome
    from actsr_cli.tuning.study import extent, open_study, total
    from actsr_cli.tuning.worker import check_ends, wait, workers

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    study = open_study(plan)
    command = [word.replace(plan.storage, plan.place) if plan.storage else word for word in sys.argv]
    view = StudyView(plan, study)
    console.note(f"Study {plan.title}: {extent(plan)}; kept in {plan.place}")
    if plan.trials is not None and total(plan) < plan.trials:
        console.note(f"The search space has only {counted(total(plan), 'combination')}: the study ends after them")
    with stop_on_interrupt() as interrupted:
        with workers(plan, command) as processes, view.live():
            while not wait(processes, seconds=0.5) and not interrupted():
                view.update()
        view.update()
        outcome = outcome_of(plan, study)
        write_outcome(plan, study, outcome, shlex.join(["actsr", *command[1:]]))
    if not as_json:
        print_outcome(plan, outcome)
    tested: dict[str, dict[str, float]] = {}
    try:
        if interrupted():
            console.warn("interrupted: the same command continues the study")
            raise typer.Exit(130)
        try:
            check_ends(processes)
        except RunError as error:
            if outcome.left:
                raise
            console.warn(f"{error.message}; the others have finished the study")
        if outcome.best is None:
            raise RunError(f"no trial of study {plan.title} has finished{view.first_error()}")
        if test and not outcome.left:
            tested = _tested(plan, winner(plan, outcome), show=not as_json)
        elif test:
            console.note(f"Not tested yet: {outcome.left} trials are left, so the best trial may change")
    finally:
        if as_json:
            console.print_json(outcome_record(plan, outcome) | {"test": tested})


def _tested(plan: Plan, run: Run, *, show: bool) -> dict[str, dict[str, float]]:
    """The winner's metrics on the test split by the protocol of the study, A and B; evaluates it if needed.

    Args:
        plan: the study.
        run: the winner.
        show: whether they are printed as tables.

    Returns:
        The metrics by the key of the protocol.
    """
    from actsr_cli.commands.tables import print_metrics
    from actsr_cli.evaluation.judging import configured_measures
    from actsr_cli.evaluation.protocol import Protocol
    from actsr_cli.experiment.data import data_of
    from actsr_cli.experiment.evaluate import Request, evaluate_run

    settings = run.config.evaluation
    wanted = tuple(configured_measures(settings))
    names = [measure.name for measure in wanted]
    tested = {}
    protocols = (Protocol.of(settings), Protocol("rank"), Protocol("exclude"))
    for protocol in {each.key: each for each in protocols}.values():
        found = run.metrics.get(f"test/{protocol.key}", {})
        if found.get("epoch") != run.record.best_epoch or not found.keys() >= set(names):
            data = data_of(run, plan.data_dir).data
            request = Request("test", protocol, wanted, settings.batch_size)
            found = evaluate_run(run, data, request).metrics
        tested[protocol.key] = {name: found[name] for name in names}
        if show:
            print_metrics(f"{run.name}: test split", {display_name(run.config): tested[protocol.key]}, protocol.title)
    return tested
