"""`actsr runs`: list, show and delete runs."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from actsr_cli import console
from actsr_cli.commands.options import RunsDir
from actsr_cli.errors import RunError

runs = typer.Typer(rich_markup_mode="rich")
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON in place of the table.")]


@runs.callback(invoke_without_command=True)
def list_runs(
    context: typer.Context,
    dataset: Annotated[str | None, typer.Option(help="Of this data set alone.")] = None,
    model: Annotated[str | None, typer.Option(help="Of this model alone.")] = None,
    status: Annotated[
        Literal["running", "finished", "interrupted", "pruned", "failed", "unreadable"] | None,
        typer.Option(help="In this state alone."),
    ] = None,
    as_json: AsJson = False,
    runs_dir: RunsDir = Path("runs"),
) -> None:
    """List the runs, the latest last, each with the best validation value of what it watched.

    [bold]Example:[/]  actsr runs --dataset beauty --status finished

    [bold]Example:[/]  actsr runs show beauty/ac-sasrec/first

    [bold]Example:[/]  actsr runs delete first second --yes
    """
    if context.invoked_subcommand is not None:
        return
    from actsr_cli.experiment.run import summaries

    wanted = {"dataset": dataset, "model": model, "status": status}
    found = [
        summary
        for summary in summaries(runs_dir)
        if all(value is None or summary[key] == value for key, value in wanted.items())
    ]
    if as_json:
        console.results.print_json(json.dumps(found))
    elif found:
        _print_table(found)
    else:
        console.note(f"No such run in {runs_dir}")


@runs.command()
def show(
    run: Annotated[
        str | None,
        typer.Argument(metavar="RUN", help="Run: a folder, DATASET/MODEL/NAME or its end. Default: the latest."),
    ] = None,
    as_json: AsJson = False,
    runs_dir: RunsDir = Path("runs"),
) -> None:
    """Show how a run was made and what it reached: command, settings that differ from the defaults, metrics.

    [bold]Example:[/]  actsr runs show

    [bold]Example:[/]  actsr runs show beauty/ac-sasrec/first --json
    """
    from actsr_cli.experiment.run import find_run, read_json

    found = find_run(runs_dir, run)
    told = {
        "run": found.name,
        **found.record,
        "command": read_json(found.path / "environment.json")["command"],
        "settings": found.config.model_dump(mode="json", exclude_defaults=True),
        "metrics": found.metrics,
    }
    if as_json:
        console.results.print_json(json.dumps(told))
    else:
        _print_run(told)


@runs.command()
def delete(
    names: Annotated[
        list[str], typer.Argument(metavar="RUN…", help="Runs: folders, DATASET/MODEL/NAME or their ends.")
    ],
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    runs_dir: RunsDir = Path("runs"),
) -> None:
    """Delete runs with everything in them, after asking. Nothing is deleted if any of them cannot be found.

    [bold]Example:[/]  actsr runs delete beauty/ac-sasrec/first
    """
    from actsr_cli.experiment.run import find_folder, name_of

    found = list(dict.fromkeys(find_folder(runs_dir, name).resolve() for name in names))
    for path in found:
        if not path.is_relative_to(runs_dir.resolve()):
            raise RunError(f"{path} is not in {runs_dir}: delete it by hand")
    if not yes:
        typer.confirm(f"Delete {', '.join(map(name_of, found))}?", abort=True, err=True)
    for path in found:
        shutil.rmtree(path)
        for above in path.parents[:2]:  # DATASET/MODEL, DATASET
            if not any(above.iterdir()):
                above.rmdir()
        console.note(f"Deleted {name_of(path)}")


def _print_table(found: list[dict[str, Any]]) -> None:
    from rich.table import Table

    table = Table(box=None, padding=(0, 2, 0, 0))
    table.add_column("run", overflow="fold")
    table.add_column("status", no_wrap=True)
    for title in ("best epoch", "validation", "minutes"):
        table.add_column(title, justify="right", no_wrap=True)
    for each in found:
        epochs = "" if each["epochs"] is None else f"{each['best_epoch']} of {each['epochs']}"
        value = "" if each["value"] is None else f"{each['monitor']} {each['value']:.4f}"
        minutes = "" if each["seconds"] is None else f"{each['seconds'] / 60:.1f}"
        table.add_row(each["run"], each["status"], epochs, value, minutes)
    console.results.print(table)


def _print_run(told: dict[str, Any]) -> None:
    import yaml
    from rich.table import Table
    from rich.text import Text

    from actsr_cli.commands.tables import metrics_of, print_metrics

    table = Table(box=None, padding=(0, 2, 0, 0), show_header=False)
    for key, value in told.items():
        if key not in ("settings", "metrics") and value is not None:
            table.add_row(key, Text(" ".join(value) if isinstance(value, list) else str(value)))
    console.results.print(table)
    console.results.print(Text(f"\n{yaml.safe_dump(told['settings'], sort_keys=False)}"))
    for key, metrics in told["metrics"].items():
        split, _, protocol = key.partition("/")
        title = f"{split} split, epoch {metrics['epoch']}"
        print_metrics(title, {told["model"]: metrics_of(metrics)}, protocol)
