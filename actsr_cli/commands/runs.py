"""`actsr runs`: list, show and delete runs."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from actsr_cli import console
from actsr_cli.commands.completion import complete_dataset, complete_model, complete_run
from actsr_cli.commands.options import AsJson, RunsDir
from actsr_cli.commands.tables import duration, metric_text, moment, print_metrics, print_rows, print_spread
from actsr_cli.errors import RunError
from actsr_cli.experiment.status import Status

if TYPE_CHECKING:
    from actsr_cli.experiment.find import Summary
    from actsr_cli.experiment.run import Run
    from actsr_cli.experiment.series import Group

runs = typer.Typer(rich_markup_mode="rich", add_completion=False)
_WHOLE_LINES = 10_000
RUN = "Run or series: a folder, DATASET/MODEL/NAME or its end."


@runs.callback(invoke_without_command=True)
def list_runs(
    context: typer.Context,
    dataset: Annotated[
        str | None, typer.Option(help="List only runs on this data set.", autocompletion=complete_dataset)
    ] = None,
    model: Annotated[
        str | None, typer.Option(help="List only runs of this model.", autocompletion=complete_model)
    ] = None,
    status: Annotated[Status | None, typer.Option(help="List only runs in this state.")] = None,
    as_json: AsJson = False,
    runs_dir: RunsDir = Path("runs"),
) -> None:
    """List the runs with their best value on the validation split; the latest comes last.

    [bold]Example:[/]  actsr runs --dataset beauty --status finished

    [bold]Example:[/]  actsr runs show beauty/ac-sasrec/first

    [bold]Example:[/]  actsr runs delete first second --yes
    """
    if context.invoked_subcommand is not None:
        return
    from actsr_cli.experiment.find import summaries

    found = summaries(runs_dir, dataset=dataset, model=model, status=status)
    if as_json:
        console.print_json([each.model_dump(mode="json") for each in found])
    elif found:
        _print_table(found)
    else:
        console.note(f"There is no such run in {runs_dir}")


@runs.command()
def show(
    run: Annotated[
        str | None,
        typer.Argument(metavar="RUN", help=f"{RUN} Default: the latest finished run.", autocompletion=complete_run),
    ] = None,
    as_json: AsJson = False,
    runs_dir: RunsDir = Path("runs"),
) -> None:
    """Show the command of a run, its settings that differ from the defaults, and its metrics.

    For a series (the name given to `train --seeds`), show the mean and the standard deviation over its runs.

    [bold]Example:[/]  actsr runs show

    [bold]Example:[/]  actsr runs show beauty/ac-sasrec/first --json
    """
    from actsr_cli.experiment.series import find_group

    group = find_group(runs_dir, run, finished=False)
    told = _told_of_series(group) if group.is_series else _told_of_run(group.runs[0])
    if as_json:
        console.print_json(told)
    elif group.is_series:
        _print_series(group, told)
    else:
        _print_run(told)


@runs.command()
def delete(
    names: Annotated[
        list[str],
        typer.Argument(
            metavar="RUN…",
            help="Runs or series: folders, DATASET/MODEL/NAME or their ends.",
            autocompletion=complete_run,
        ),
    ],
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask for confirmation.")] = False,
    force: Annotated[bool, typer.Option("--force", help="Also delete runs that are being trained.")] = False,
    runs_dir: RunsDir = Path("runs"),
) -> None:
    """Delete runs with all their files; asks first.

    If any of the runs is not found, or is being trained, nothing is deleted.

    [bold]Example:[/]  actsr runs delete beauty/ac-sasrec/first
    """
    from actsr_cli.experiment.place import check_deletable, delete_run
    from actsr_cli.experiment.series import find_folders

    root = runs_dir.resolve()
    found = list(dict.fromkeys(path.resolve() for name in names for path in find_folders(runs_dir, name)))
    for path in found:
        if not path.is_relative_to(root):
            raise RunError(f"{path} is not in {runs_dir}: delete it by hand")
        if not force:
            check_deletable(path, root)
    if not yes:
        typer.confirm(f"Delete {', '.join(str(path.relative_to(root)) for path in found)}?", abort=True, err=True)
    for path in found:
        delete_run(path, root, force=force)
        console.note(f"Deleted {path.relative_to(root)}")


def _print_table(found: list[Summary]) -> None:
    rows = [
        (
            each.run,
            each.status,
            "" if each.started is None else moment(each.started),
            "" if each.best_epoch is None else f"{each.best_epoch} of {each.epochs}",
            "" if each.value is None else f"{each.monitor} {each.value:.4f}",
            "" if each.seconds is None else duration(each.seconds),
        )
        for each in found
    ]
    numbers = ("best epoch", "validation", "time")
    print_rows(("run", "status", "started", *numbers), rows, right=numbers)


def _told_of_run(run: Run) -> dict[str, Any]:
    """Record, settings and metrics of a run, for JSON."""
    record = run.record.model_dump(mode="json")
    environment = record.pop("environment")
    return {
        "run": run.name,
        **record,
        "status": run.status.value,
        **environment,
        "settings": run.config.model_dump(mode="json", exclude_defaults=True),
        "metrics": run.metrics,
    }


def _told_of_series(group: Group) -> dict[str, Any]:
    """Runs, settings and metrics of a series, for JSON; each metric is a list with the values of the runs."""
    from actsr_cli.experiment.series import shared_metrics

    return {
        "series": group.name,
        "runs": [run.name for run in group.runs],
        "status": [run.status.value for run in group.runs],
        "settings": group.runs[0].config.model_dump(mode="json", exclude_defaults=True),
        "metrics": shared_metrics(group),
    }


def _print_run(told: dict[str, Any]) -> None:
    from actsr_cli.evaluation.protocol import Protocol
    from actsr_cli.experiment.series import metrics_of

    _print_facts(told)
    for key, metrics in told["metrics"].items():
        split, _, protocol = key.partition("/")
        title = f"{split} split" + (f", epoch {metrics['epoch']}" if metrics["epoch"] else "")
        print_metrics(title, {told["model"]: metrics_of(metrics)}, Protocol.from_key(protocol).title)


def _print_series(group: Group, told: dict[str, Any]) -> None:
    from actsr_cli.evaluation.protocol import Protocol

    _print_facts(told)
    model = group.runs[0].record.model
    for key, metrics in told["metrics"].items():
        split, _, protocol = key.partition("/")
        seeds = "1 seed" if len(group.runs) == 1 else f"{len(group.runs)} seeds"
        print_spread(f"{split} split, {seeds}", model, metrics, Protocol.from_key(protocol).title)


def _print_facts(told: dict[str, Any]) -> None:
    import yaml

    facts = [
        (key, _fact(key, value, told))
        for key, value in told.items()
        if key not in ("settings", "metrics") and value is not None
    ]
    print_rows(("fact", "value"), facts, header=False)
    console.echo("")
    console.echo(yaml.safe_dump(told["settings"], sort_keys=False, width=_WHOLE_LINES))


def _fact(key: str, value: Any, told: dict[str, Any]) -> str:
    """A value of a record as text: rounded, in local time."""
    if key == "command":
        return shlex.join(value)
    if isinstance(value, list):
        return " ".join(map(str, value))
    if key in ("started", "ended"):
        return moment(value)
    if key.endswith("_seconds"):
        return duration(value)
    if key == "value":
        return metric_text(told["monitor"], value)
    return f"{value:,}" if isinstance(value, int) else str(value)
