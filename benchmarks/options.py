"""Command-line options that several benchmarks share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

Users = Annotated[
    int | None,
    typer.Option(min=1, metavar="N", help="Use generated data with N users instead of Beauty.", show_default=False),
]
Threads = Annotated[int, typer.Option(min=1, help="Number of CPU threads.")]
Record = Annotated[Path | None, typer.Option(help="Append the results to this JSON file.", show_default=False)]
