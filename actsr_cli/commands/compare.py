"""`actsr compare`: whether one run, or series of runs, ranks better than another."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from actsr_cli import console
from actsr_cli.commands.options import DataDir, RunsDir, cutoffs
from actsr_cli.errors import ConfigError

if TYPE_CHECKING:
    from rich.table import Table

    from actsr_cli.experiment.compare import Comparison


def compare(
    names: Annotated[
        list[str],
        typer.Argument(metavar="RUN…", help="Runs, or series by their name without -sSEED; the first is the baseline."),
    ],
    split: Annotated[
        Literal["test", "valid"], typer.Option(help="The last item of each user, or the one before it.")
    ] = "test",
    seen: Annotated[
        Literal["rank", "exclude"] | None,
        typer.Option(help="Rank items of the user's own history or leave them out; default: the runs'."),
    ] = None,
    k: Annotated[str, typer.Option(help="Cut-offs, separated by commas.")] = "10",
    by: Annotated[
        str | None,
        typer.Option(metavar="METRIC", help="Shown by history length and item popularity; default: NDCG."),
    ] = None,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:N or mps.")] = "auto",
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", help="Folder for CSV, Markdown, LaTeX and a picture.", show_default=False),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON in place of the tables.")] = False,
    data_dir: DataDir = Path("dataset"),
    runs_dir: RunsDir = Path("runs"),
) -> None:
    """Compare runs, or series of seeds, with the first one named.

    Paired tests over users and, of series, over seeds; intervals, effect sizes,
    and for whom the gain is. All must have been trained on the same data.

    [bold]Example:[/]  actsr compare beauty/sasrec/five beauty/ac-sasrec/five

    [bold]Example:[/]  actsr compare plain full --k 5,10 --output compared
    """
    from actsr_cli.experiment.compare import common_protocol, find_groups
    from actsr_cli.experiment.compare import compare as compare_groups
    from actsr_cli.experiment.compare_export import write_comparison
    from actsr_cli.experiment.data import data_of
    from actsr_cli.experiment.record import Status

    ks = cutoffs(k)
    metrics = [*(f"{name}@{cutoff}" for cutoff in ks for name in ("hit", "ndcg", "mrr")), "rank"]
    sliced = by or f"ndcg@{ks[0]}"
    if sliced not in metrics:
        raise ConfigError(f"--by takes one of {', '.join(metrics)}, not '{sliced}'")
    groups = find_groups(runs_dir, names)
    for run in (run for group in groups for run in group.runs if run.status is not Status.FINISHED):
        console.warn(f"{run.name} is not finished: it is {run.status}")
    protocol = seen or common_protocol(groups)
    with console.working("Ranking") as say:
        data = data_of(groups[0].runs[0], data_dir).data
        comparison = compare_groups(
            groups,
            data,
            split=split,
            seen=protocol,
            metrics=metrics,
            sliced=sliced,
            device=device,
            on_run=lambda run: say(run.name),
        )
    if as_json:
        _print_json(comparison)
    else:
        _print_tables(comparison)
    if output is not None:
        files = write_comparison(output, comparison)
        console.note(f"Written to {output}: {', '.join(path.name for path in files)}")


def _print_json(comparison: Comparison) -> None:
    told = {
        "split": comparison.split,
        "seen": comparison.seen,
        "users": comparison.contenders[0].ranks.shape[1],
        "differences": [asdict(each) | {"verdict": each.verdict} for each in comparison.differences],
        "slices": [asdict(each) for each in comparison.slices],
    }
    console.results.print_json(json.dumps(told))


def _print_tables(comparison: Comparison) -> None:
    from actsr_cli.experiment.compare_export import notes

    for number in range(1, len(comparison.contenders)):
        _print_differences(comparison, number)
    _print_slices(comparison)
    for note in notes(comparison):
        console.results.print(note, soft_wrap=True)


def _print_differences(comparison: Comparison, number: int) -> None:
    """A contender against the baseline; what chance may explain is not in bold."""
    from actsr_cli.experiment.compare_export import bounds, p_value, signed, spread, titled

    baseline, contender = comparison.contenders[0], comparison.contenders[number]
    own = [each for each in comparison.differences if each.contender == contender.name]
    with_seeds = any(each.seeds is not None for each in own)
    table = _table(f"({number}) {contender.name} against {baseline.name}")
    table.add_column()
    for column in (
        "baseline",
        f"({number})",
        "difference",
        "p users\n(effect)",
        *(["p seeds"] if with_seeds else []),
        "",
    ):
        table.add_column(column, justify="right")
    for each in own:
        table.add_row(
            titled(each.metric),
            spread(each.metric, each.of_baseline).replace(" ± ", "\n±"),
            spread(each.metric, each.of_contender).replace(" ± ", "\n±"),
            f"{signed(each.metric, each.difference.mean)}\n{bounds(each.metric, each.difference)}",
            f"{p_value(each.users_holm)}\n({each.users.effect:+.3f})",
            *([p_value(each.seeds_holm) if each.seeds_holm is not None else ""] if with_seeds else []),
            "" if each.verdict == "open" else each.verdict,
            style=None if each.verdict == "open" else "bold",
        )
    console.results.print(table)


def _print_slices(comparison: Comparison) -> None:
    """The means of parts of the users, and below those of a contender the interval of its difference."""
    from actsr_cli.experiment.compare_export import bounds, number, titled

    metric = comparison.sliced
    for by in dict.fromkeys(each.by for each in comparison.slices):
        table = _table(f"{titled(metric)} by {by}, with the interval of the difference")
        table.add_column(by)
        for column in ("users", "baseline", *(f"({index})" for index in range(1, len(comparison.contenders)))):
            table.add_column(column, justify="right")
        for each in comparison.slices:
            if each.by == by:
                others = zip(each.means[1:], each.differences, strict=True)
                cells = [f"{number(metric, mean)}\n{bounds(metric, gap)}" for mean, gap in others]
                table.add_row(each.label, f"{each.users:,}", number(metric, each.means[0]), *cells)
        console.results.print(table)


def _table(title: str) -> Table:
    from rich.box import SIMPLE_HEAD
    from rich.table import Table

    return Table(title=title, title_justify="left", box=SIMPLE_HEAD)
