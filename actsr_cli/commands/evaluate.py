"""`actsr evaluate`: rank the held-out items of a run's data set."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from actsr_cli import console
from actsr_cli.commands.completion import complete_run
from actsr_cli.commands.options import (
    MEASURED,
    OUTPUT,
    AsJson,
    BatchSize,
    CandidateItems,
    DataDir,
    Device,
    NCandidates,
    RunsDir,
    SeenItems,
    Split,
    Threads,
    TrustCode,
    cutoffs,
    listed,
)
from actsr_cli.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from actsr_cli.evaluation.judging import SplitFacts
    from actsr_cli.experiment.evaluate import Evaluation
    from actsr_cli.experiment.series import Group


def evaluate(
    run: Annotated[
        str | None,
        typer.Argument(
            metavar="RUN",
            help="Run: a folder, DATASET/MODEL/NAME or its end; or a series of seeds by its name. Default: the latest "
            "finished run.",
            autocompletion=complete_run,
        ),
    ] = None,
    split: Split = "test",
    seen: SeenItems = None,
    candidates: CandidateItems = None,
    n_candidates: NCandidates = None,
    metrics: Annotated[
        str | None,
        typer.Option(
            help="Metrics, separated by commas, or all; see docs/evaluate.md. Default: the run's.",
            rich_help_panel=MEASURED,
        ),
    ] = None,
    k: Annotated[
        str | None,
        typer.Option("--k", help="Cut-offs, separated by commas. Default: the run's.", rich_help_panel=MEASURED),
    ] = None,
    batch_size: BatchSize = None,
    device: Device = "auto",
    threads: Threads = None,
    as_json: AsJson = False,
    per_user: Annotated[
        Path | None,
        typer.Option(
            help="Also write the rank and metrics of each target to this .csv or .parquet file.", rich_help_panel=OUTPUT
        ),
    ] = None,
    trust_code: TrustCode = False,
    data_dir: DataDir = Path("dataset"),
    runs_dir: RunsDir = Path("runs"),
) -> None:
    """Measure how well a run ranks the held-out items, compared with ranking by popularity.

    Every held-out item is ranked among all items of the catalogue. Items
    with equal scores count as if they were in random order. The metrics are also saved in the run's metrics.json.

    [bold]Example:[/]  actsr evaluate --split test --seen rank --k 5,10,20

    [bold]Example:[/]  actsr evaluate beauty/ac-sasrec/first --metrics hit,ndcg,coverage,novelty

    [bold]Example:[/]  actsr evaluate beauty/ac-sasrec/first --per-user ranks.csv
    """
    from actsr_cli import api
    from actsr_cli.evaluation.export import check_ranks
    from actsr_cli.experiment.series import find_group

    group = find_group(runs_dir, run)
    if per_user is not None and len(group.runs) > 1:
        raise ConfigError(f"--per-user takes one run, and {group.name} has {len(group.runs)}")
    if per_user is not None:
        check_ranks(per_user)
    found = [
        api.evaluate(
            each,
            split=split,
            seen=seen,
            candidates=candidates,
            n_candidates=n_candidates,
            metrics=None if metrics is None else listed(metrics),
            k=None if k is None else cutoffs(k),
            batch_size=batch_size,
            device=device,
            threads=threads,
            data_dir=data_dir,
        )
        for each in group.runs
    ]
    if per_user is not None:
        _write_ranks(per_user, found[0])
    if as_json:
        _print_json(group, found)
    else:
        _print_tables(group, found)


def _write_ranks(path: Path, evaluation: Evaluation) -> None:
    from actsr_cli.evaluation.export import write_ranks

    write_ranks(path, evaluation.data, evaluation.judgement.judged, evaluation.request.wanted)
    console.note(f"Ranks of {evaluation.facts.targets:,} targets written to {path}")


def _print_json(group: Group, found: Sequence[Evaluation]) -> None:
    told = [
        {
            "run": evaluation.run,
            "epoch": evaluation.epoch,
            "split": evaluation.request.split,
            "protocol": evaluation.request.protocol.key,
            **asdict(evaluation.facts),
            "metrics": evaluation.metrics,
            "popularity": evaluation.popularity,
        }
        for evaluation in found
    ]
    console.print_json(told[0] if len(told) == 1 else {"series": group.name, "runs": told})


def _print_tables(group: Group, found: Sequence[Evaluation]) -> None:
    from actsr_cli.commands.tables import print_metrics, print_spread
    from actsr_cli.models.registry import display_name

    model = display_name(group.runs[0].config)
    facts, title = found[0].facts, found[0].request.protocol.title
    where = f"{found[0].request.split} split, {_counted(facts)}"
    if len(found) == 1:
        rows = {model: found[0].metrics, "popularity": found[0].popularity}
        of_epoch = f", epoch {found[0].epoch}" if found[0].epoch else ""  # an ensemble has none
        print_metrics(f"{group.name}{of_epoch}: {where}", rows, title)
    else:
        values = [evaluation.metrics for evaluation in found]
        print_spread(f"{group.name}, {len(found)} seeds: {where}", model, values, title)
        print_metrics("For comparison", {"popularity": found[0].popularity}, title)
    if facts.users_without_history:
        console.note(f"{facts.users_without_history:,} users have no history before the cut. They are left out.")
    if facts.untrained_targets:
        console.note(
            f"{facts.untrained_targets:,} of {facts.targets:,} targets are items without any training interaction."
        )


def _counted(facts: SplitFacts) -> str:
    users = f"{facts.users:,} users"
    return users if facts.targets == facts.users else f"{users}, {facts.targets:,} targets"
