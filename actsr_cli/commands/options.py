"""Options that several subcommands share, and what the shell completes for them."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from actsr_cli.errors import ConfigError

PLACES = "Where things are"

DataDir = Annotated[
    Path, typer.Option("--data-dir", envvar="ACTSR_DATA", help="Root of the data sets.", rich_help_panel=PLACES)
]
RunsDir = Annotated[
    Path, typer.Option("--runs-dir", envvar="ACTSR_RUNS", help="Root of the runs.", rich_help_panel=PLACES)
]


def complete_model(incomplete: str) -> list[str]:
    """Model names that begin like `incomplete`."""
    from actsr_cli.models.registry import model_names

    return [name for name in model_names() if name.startswith(incomplete)]


def complete_preset(incomplete: str) -> list[str]:
    """Preset names that begin like `incomplete`."""
    from actsr_cli.presets import preset_names

    return [name for name in preset_names() if name.startswith(incomplete)]


def cutoffs(text: str) -> list[int]:
    """The cut-offs that an option holds, separated by commas, in their order.

    Raises:
        ConfigError: they are no positive whole numbers.
    """
    try:
        found = sorted({int(part) for part in text.split(",")})
    except ValueError:
        found = [0]
    if found[0] < 1:
        raise ConfigError(f"--k takes positive whole numbers separated by commas, not '{text}'")
    return found
