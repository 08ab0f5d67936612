"""Prints tables of results and records results in a JSON file."""

from __future__ import annotations

import json
import os
import platform
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from rich.console import Console
from rich.table import Table

import actsr_cli

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

_WIDTH_OF_A_FILE = 200


def new_table(title: str, *columns: str, texts: int = 0) -> Table:
    """An empty table; the first `texts` columns hold text, the others numbers."""
    table = Table(title=title)
    for place, column in enumerate(columns):
        table.add_column(column, justify="left" if place < texts else "right", no_wrap=True)
    return table


def significant(value: float) -> str:
    """A number with three significant digits."""
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def show(table: Table) -> None:
    """Print a table, as wide as the terminal or, if the output is a file, in full."""
    console = Console()
    if not console.is_terminal:
        console.width = _WIDTH_OF_A_FILE
    console.print(table)


def remember(path: Path | None, benchmark: str, result: DataclassInstance, **settings: str | int) -> None:
    """Append a result with its settings, date, versions and machine to the file `path`, unless it is None."""
    if path is None:
        return
    entry = {
        "benchmark": benchmark,
        "date": datetime.now(UTC).date().isoformat(),
        "actsr": actsr_cli.__version__,
        "torch": torch.__version__,
        "machine": f"{platform.machine()}, {os.cpu_count()} cores",
        **settings,
        **{name: round(value, 3) for name, value in asdict(result).items()},
    }
    entries = json.loads(path.read_text(encoding="utf-8")) if path.exists() else []
    lines = ",\n".join(json.dumps(each) for each in [*entries, entry])
    path.write_text(f"[\n{lines}\n]\n", encoding="utf-8")
