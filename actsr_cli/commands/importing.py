"""`actsr import`: a run out of weights that another program has trained."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from actsr_cli import console
from actsr_cli.commands.options import (
    PLACES,
    ConfigFile,
    DataDir,
    DatasetName,
    ModelName,
    Overrides,
    PresetName,
    RunsDir,
)
from actsr_cli.errors import ConfigError
from actsr_cli.models.registry import model_settings
from actsr_cli.words import command

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

ITEMS = "What the weights belong to"


def import_(
    file: Annotated[
        Path, typer.Argument(metavar="FILE", help="A checkpoint of RecBole 1.2.1, or published weights: .pth or .npz.")
    ],
    dataset: DatasetName = None,
    tokens: Annotated[
        Path | None,
        typer.Option(
            help="File with the raw item ids in the order of the weights, one per line; see docs/import.md.",
            rich_help_panel=ITEMS,
        ),
    ] = None,
    user_tokens: Annotated[
        Path | None,
        typer.Option(help="File with the raw user ids in the order of the weights, for SSE-PT.", rich_help_panel=ITEMS),
    ] = None,
    model: ModelName = None,
    preset: PresetName = None,
    config: ConfigFile = None,
    overrides: Overrides = None,
    name: Annotated[
        str | None, typer.Option(help="Name of the run; default: date and time.", rich_help_panel=PLACES)
    ] = None,
    data_dir: DataDir = Path("dataset"),
    runs_dir: RunsDir = Path("runs"),
) -> None:
    """Make a finished run out of weights that another program has trained: RecBole, or the published AC-TSR code.

    The other commands then work on it: evaluate, recommend, inspect-attention,
    export. A checkpoint of RecBole has its settings in it; published weights
    take theirs from --preset or --model. The file does not name its items,
    so --tokens says which item each row belongs to.

    [bold]Example:[/]  actsr import SASRec.pth --dataset tiny --tokens tokens.txt
    """
    if tokens is None:
        raise ConfigError(
            f"{file} does not name its items, and an order that only seems right ranks other items",
            hint="Give --tokens FILE: the raw item ids in its order, one per line, see docs/import.md.",
        )
    from actsr_cli.experiment.importing import Tokens
    from actsr_cli.models.recbole import read_weights
    from actsr_cli.presets import resolve
    from actsr_cli.sessions import import_resolved

    weights = read_weights(file)
    given = {"--model": model, "--preset": preset, "--config": config}
    if weights.settings:
        _refuse_own_settings(file, given, overrides or [])
    elif not any(given.values()):
        raise ConfigError(f"{file} has no settings of its model", hint="Give --preset, --config, or --model and --set.")
    options = {"dataset": dataset} | model_settings(model, overrides=overrides or [])
    resolved = resolve(
        preset=preset, file=config, overrides=overrides or [], options=options, settings=weights.settings
    )
    made = Tokens(tokens, user_tokens)
    run = import_resolved(weights, resolved, made, name=name, data_dir=data_dir, runs_dir=runs_dir)
    console.note(f"Imported {run.name}: {run.record.items:,} items, {run.record.parameters or 0:,} parameters")
    console.note(f"Evaluate it: {command('evaluate', run.name)}")


def _refuse_own_settings(file: Path, given: Mapping[str, object], overrides: Sequence[str]) -> None:
    """Raise ConfigError where an option would change the model that the checkpoint describes."""
    from actsr_cli.config.reading import parse_override

    own = [option for option, value in given.items() if value is not None]
    own += [f"--set {text}" for text in overrides if {"model", "calibration"} & parse_override(text).keys()]
    if own:
        raise ConfigError(f"{file} has the settings of its model: leave out {own[0]}")
