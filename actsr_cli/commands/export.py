"""`actsr export`: a trained model for other programs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from actsr_cli import console
from actsr_cli.commands.options import OUTPUT, RunName, RunsDir, TrustCode
from actsr_cli.errors import ConfigError
from actsr_cli.words import counted


def export(
    run: RunName = None,
    form: Annotated[
        Literal["onnx", "torch-export", "safetensors"],
        typer.Option(
            "--format",
            help="onnx: for ONNX Runtime and others. torch-export: for PyTorch, without actsr. safetensors: the "
            "weights only.",
            rich_help_panel=OUTPUT,
        ),
    ] = "onnx",
    output: Annotated[
        Path | None,
        typer.Option(help="New folder. Default: DATASET-MODEL-NAME-FORMAT.", rich_help_panel=OUTPUT),
    ] = None,
    k: Annotated[
        int | None,
        typer.Option("--k", min=1, help="Items per list that the graph returns; default: 10.", rich_help_panel=OUTPUT),
    ] = None,
    scores: Annotated[
        bool, typer.Option("--scores", help="Return the scores of all items in place of lists.", rich_help_panel=OUTPUT)
    ] = False,
    trust_code: TrustCode = False,
    runs_dir: RunsDir = Path("runs"),
) -> None:
    """Write a trained model for other programs: histories in, lists of items out.

    The folder has the model, the raw id of each item, and a manifest that says
    what goes in and out. An exported graph is run and compared with the model
    before the folder appears.

    [bold]Example:[/]  actsr export --format torch-export --k 20

    [bold]Example:[/]  actsr export beauty/ac-sasrec/first --format safetensors --output weights
    """
    if scores and k is not None:
        raise ConfigError("--scores and --k do not go together: a graph returns scores or lists")
    if form == "safetensors" and (scores or k is not None):
        raise ConfigError(f"{'--scores' if scores else '--k'} does not go with safetensors: weights return nothing")
    from actsr_cli import api
    from actsr_cli.recommending.export import export as write

    recommender = api.load(run, device="cpu", trust_code=trust_code, runs_dir=runs_dir)
    folder = output or Path(f"{recommender.name.replace('/', '-')}-{form}")
    with console.working(f"Exporting {recommender.name}"):
        record = write(recommender, folder, form, k=None if scores else k or 10)
    for path in sorted(folder.iterdir()):
        console.echo(f"{path}  {path.stat().st_size:,} bytes")
    if record.checked is not None:
        number = counted(record.histories, "history", "histories")
        console.note(f"Checked against the model on {number}: scores differ by {record.checked:.1g} at most.")
