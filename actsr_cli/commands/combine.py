"""`actsr combine`: one run out of several."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from actsr_cli import console
from actsr_cli.commands.completion import complete_run
from actsr_cli.commands.options import PLACES, DataDir, RunsDir
from actsr_cli.words import command


def combine(
    runs: Annotated[
        list[str],
        typer.Argument(
            metavar="RUN…",
            help="Finished runs, or series of runs, by their names.",
            autocompletion=complete_run,
        ),
    ],
    name: Annotated[
        str | None, typer.Option(help="Name of the new run; default: date and time.", rich_help_panel=PLACES)
    ] = None,
    data_dir: DataDir = Path("dataset"),
    runs_dir: RunsDir = Path("runs"),
) -> None:
    """Make one run out of several: it ranks by the mean of their scores.

    Such an ensemble usually ranks better than each of its models, takes as long
    as all of them together, and works with evaluate, compare, recommend,
    similar, serve and export. Its models must be trained on the same data with
    the same split.

    [bold]Example:[/]  actsr combine beauty/ac-sasrec/five --name together
    """
    from actsr_cli import sessions

    made = sessions.combine(runs, name=name, data_dir=data_dir, runs_dir=runs_dir)
    console.note(f"Combined {made.record.imported} into {made.name}: {made.record.parameters or 0:,} parameters")
    measure = "" if made.config.split.by == "none" else f"{command('evaluate', made.name)}   "
    console.note(f"Next: {measure}{command('recommend', made.name)}")
