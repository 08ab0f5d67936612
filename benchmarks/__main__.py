"""`python -m benchmarks NAME` runs one measurement and prints its table."""

from __future__ import annotations

import typer

from benchmarks.intervals import intervals

app = typer.Typer(no_args_is_help=True, help="Measurements of actsr, each a ratio of two things in one run.")
app.command()(intervals)


@app.callback()
def _named() -> None:
    """Keeps the name of a single command."""


app()
