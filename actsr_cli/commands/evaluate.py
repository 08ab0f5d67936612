"""`actsr evaluate`: rank the held-out items of a run's data set."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from actsr_cli import console
from actsr_cli.commands.options import DataDir, RunsDir, cutoffs

if TYPE_CHECKING:
    from actsr_cli.data.sequences import SequenceData
    from actsr_cli.experiment.evaluate import Evaluation
    from actsr_cli.experiment.run import Run

WHAT, OUTPUT = "What is measured", "Output"


def evaluate(
    run: Annotated[
        str | None,
        typer.Argument(metavar="RUN", help="Run: a folder, DATASET/MODEL/NAME or its end. Default: the latest."),
    ] = None,
    split: Annotated[
        Literal["test", "valid"],
        typer.Option(help="The last item of each user, or the one before it.", rich_help_panel=WHAT),
    ] = "test",
    seen: Annotated[
        Literal["rank", "exclude"] | None,
        typer.Option(
            help="Rank items of the user's own history (protocol A) or exclude them (B). Default: as trained.",
            rich_help_panel=WHAT,
        ),
    ] = None,
    k: Annotated[
        str | None, typer.Option("--k", help="Cut-offs, separated by commas. Default: the run's.", rich_help_panel=WHAT)
    ] = None,
    batch_size: Annotated[
        int | None, typer.Option(min=1, help="Users at a time; bounds memory.", rich_help_panel=WHAT)
    ] = None,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:N or mps.", rich_help_panel=WHAT)] = "auto",
    as_json: Annotated[
        bool, typer.Option("--json", help="Print JSON in place of the table.", rich_help_panel=OUTPUT)
    ] = False,
    per_user: Annotated[
        Path | None,
        typer.Option(help="Also write each user's rank to this .csv or .parquet file.", rich_help_panel=OUTPUT),
    ] = None,
    data_dir: DataDir = Path("dataset"),
    runs_dir: RunsDir = Path("runs"),
) -> None:
    """Hit, NDCG and MRR of a run over the whole catalogue, with popularity as the floor.

    Every held-out item is ranked among all items of the catalogue; a tie
    counts half. The metrics are kept in the run's metrics.json too.

    [bold]Example:[/]  actsr evaluate --split test --seen rank --k 5,10,20

    [bold]Example:[/]  actsr evaluate beauty/ac-sasrec/first --per-user ranks.csv
    """
    from actsr_cli.experiment.data import data_of
    from actsr_cli.experiment.evaluate import evaluate_run
    from actsr_cli.experiment.run import find_run

    found = find_run(runs_dir, run)
    defaults = found.config.evaluation
    protocol = defaults.seen if seen is None else seen
    data = data_of(found, data_dir).data
    with console.step_progress() as progress:
        bar = progress.add_task(f"ranking {found.name}", total=None, status="")
        evaluation = evaluate_run(
            found,
            data,
            split=split,
            seen=protocol,
            ks=cutoffs(k) if k is not None else defaults.k,
            batch_size=batch_size or defaults.batch_size,
            device=device,
            on_batch=lambda done, total: progress.update(bar, completed=done, total=total),
        )
    if per_user is not None:
        _write_ranks(per_user, data, evaluation)
    if as_json:
        _print_json(found, evaluation, split, protocol)
    else:
        _print_table(found, evaluation, split, protocol)


def _write_ranks(path: Path, data: SequenceData, evaluation: Evaluation) -> None:
    from actsr_cli.evaluation.export import write_ranks

    write_ranks(path, data, evaluation.ranked)
    console.note(f"Ranks of {len(evaluation.ranked.ranks):,} users written to {path}")


def _print_json(run: Run, evaluation: Evaluation, split: str, seen: str) -> None:
    console.results.print_json(
        json.dumps(
            {
                "run": run.name,
                "epoch": evaluation.epoch,
                "split": split,
                "seen": seen,
                "users": len(evaluation.ranked.ranks),
                "metrics": evaluation.metrics,
                "popularity": evaluation.popularity,
            }
        )
    )


def _print_table(run: Run, evaluation: Evaluation, split: str, seen: Literal["rank", "exclude"]) -> None:
    from actsr_cli.commands.tables import print_metrics
    from actsr_cli.models.registry import display_name

    print_metrics(
        f"{run.name}, epoch {evaluation.epoch}: {split} split, {len(evaluation.ranked.ranks):,} users",
        {display_name(run.config): evaluation.metrics, "popularity": evaluation.popularity},
        seen,
    )
