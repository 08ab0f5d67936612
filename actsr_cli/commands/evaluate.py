"""`actsr evaluate`: rank the held-out items of a run's data set."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from actsr_cli import console
from actsr_cli.commands.options import (
    MEASURED,
    OUTPUT,
    CandidateItems,
    DataDir,
    NCandidates,
    RunsDir,
    SeenItems,
    Split,
    chosen_protocol,
    cutoffs,
    metric_names,
)
from actsr_cli.errors import ConfigError
from actsr_cli.files import without_nan

if TYPE_CHECKING:
    from collections.abc import Sequence

    from actsr_cli.data.sequences import SequenceData
    from actsr_cli.evaluation.judging import SplitFacts
    from actsr_cli.experiment.evaluate import Evaluation, Request
    from actsr_cli.experiment.run import Run
    from actsr_cli.experiment.series import Group


def evaluate(
    run: Annotated[
        str | None,
        typer.Argument(
            metavar="RUN",
            help="Run: a folder, DATASET/MODEL/NAME or its end; or a series of seeds by its name. Default: the latest "
            "finished run.",
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
    batch_size: Annotated[
        int | None,
        typer.Option(
            min=1, help="Histories scored at a time; bounds memory, changes no number.", rich_help_panel=MEASURED
        ),
    ] = None,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:N or mps.", rich_help_panel=MEASURED)] = "auto",
    as_json: Annotated[
        bool, typer.Option("--json", help="Print JSON in place of the table.", rich_help_panel=OUTPUT)
    ] = False,
    per_user: Annotated[
        Path | None,
        typer.Option(
            help="Also write rank and metrics of each target to this .csv or .parquet file.", rich_help_panel=OUTPUT
        ),
    ] = None,
    data_dir: DataDir = Path("dataset"),
    runs_dir: RunsDir = Path("runs"),
) -> None:
    """Measure how well a run ranks the held-out items, with popularity as the floor.

    Every held-out item is ranked among all items of the catalogue. Items
    with equal scores count as if they stood in random order. The metrics are
    kept in the run's metrics.json too.

    [bold]Example:[/]  actsr evaluate --split test --seen rank --k 5,10,20

    [bold]Example:[/]  actsr evaluate beauty/ac-sasrec/first --metrics hit,ndcg,coverage,novelty

    [bold]Example:[/]  actsr evaluate beauty/ac-sasrec/first --per-user ranks.csv
    """
    from actsr_cli.evaluation.metrics import measures
    from actsr_cli.experiment.data import data_of
    from actsr_cli.experiment.evaluate import Request
    from actsr_cli.experiment.series import find_group

    group = find_group(runs_dir, run)
    if per_user is not None and len(group.runs) > 1:
        raise ConfigError(f"--per-user takes one run, and {group.name} has {len(group.runs)}")
    settings = group.runs[0].config.evaluation
    data = data_of(group.runs[0], data_dir).data
    names = settings.metrics if metrics is None else metric_names(metrics, has_categories=data.categories is not None)
    request = Request(
        split=split,
        protocol=chosen_protocol(settings, seen, candidates, n_candidates),
        wanted=tuple(measures(names, settings.k if k is None else cutoffs(k), "--metrics")),
        batch_size=batch_size or settings.batch_size,
        device=device,
    )
    found = [_evaluated(each, data, request) for each in group.runs]
    if per_user is not None:
        _write_ranks(per_user, data, found[0], request)
    if as_json:
        _print_json(group, found, request)
    else:
        _print_tables(group, found, request)


def _evaluated(run: Run, data: SequenceData, request: Request) -> Evaluation:
    from actsr_cli.experiment.evaluate import evaluate_run

    with console.step_progress() as progress:
        bar = progress.add_task(f"ranking {run.name}", total=None, status="")
        return evaluate_run(run, data, request, lambda done, total: progress.update(bar, completed=done, total=total))


def _write_ranks(path: Path, data: SequenceData, evaluation: Evaluation, request: Request) -> None:
    from actsr_cli.evaluation.export import write_ranks

    write_ranks(path, data, evaluation.judgement.judged, request.wanted)
    console.note(f"Ranks of {evaluation.facts.targets:,} targets written to {path}")


def _print_json(group: Group, found: Sequence[Evaluation], request: Request) -> None:
    told = [
        {
            "run": run.name,
            "epoch": evaluation.epoch,
            "split": request.split,
            "protocol": request.protocol.key,
            **asdict(evaluation.facts),
            "metrics": evaluation.judgement.values,
            "popularity": evaluation.popularity,
        }
        for run, evaluation in zip(group.runs, found, strict=True)
    ]
    whole = told[0] if len(told) == 1 else {"series": group.name, "runs": told}
    console.results.print_json(json.dumps(without_nan(whole), allow_nan=False))


def _print_tables(group: Group, found: Sequence[Evaluation], request: Request) -> None:
    from actsr_cli.commands.tables import print_metrics, print_spread
    from actsr_cli.models.registry import display_name

    model = display_name(group.runs[0].config)
    facts, title = found[0].facts, request.protocol.title
    where = f"{request.split} split, {_counted(facts)}"
    if len(found) == 1:
        rows = {model: found[0].judgement.values, "popularity": found[0].popularity}
        print_metrics(f"{group.name}, epoch {found[0].epoch}: {where}", rows, title)
    else:
        values = [evaluation.judgement.values for evaluation in found]
        print_spread(f"{group.name}, {len(found)} seeds: {where}", model, values, title)
        print_metrics("The floor", {"popularity": found[0].popularity}, title)
    if facts.users_without_history:
        console.note(f"{facts.users_without_history:,} users have no history before the cut and are left out.")
    if facts.untrained_targets:
        console.note(f"{facts.untrained_targets:,} of {facts.targets:,} targets are items that were never trained.")


def _counted(facts: SplitFacts) -> str:
    users = f"{facts.users:,} users"
    return users if facts.targets == facts.users else f"{users}, {facts.targets:,} targets"
