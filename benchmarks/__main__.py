"""`python -m benchmarks NAME` runs one benchmark and prints its table."""

from __future__ import annotations

import typer

from benchmarks.catalogue import catalogue
from benchmarks.curves import curves
from benchmarks.evaluation import evaluation
from benchmarks.flips import flips
from benchmarks.fuzz import fuzz
from benchmarks.index import index
from benchmarks.intervals import intervals
from benchmarks.kill import kill
from benchmarks.peers import peers
from benchmarks.preparation import preparation
from benchmarks.reaching import reaching
from benchmarks.recommending import recommending
from benchmarks.serving import serving
from benchmarks.training import training

app = typer.Typer(no_args_is_help=True, help="Benchmarks of actsr. Each compares two quantities in one run.")
for _measurement in (
    training,
    evaluation,
    recommending,
    index,
    serving,
    preparation,
    catalogue,
    curves,
    intervals,
    peers,
    reaching,
    kill,
    fuzz,
    flips,
):
    app.command()(_measurement)

if __name__ == "__main__":
    app()
