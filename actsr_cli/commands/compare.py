"""`actsr compare`: test whether one run or series of runs ranks better than another."""

from __future__ import annotations

from dataclasses import asdict, fields, is_dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from actsr_cli import console
from actsr_cli.commands.completion import complete_run
from actsr_cli.commands.options import (
    MEASURED,
    OUTPUT,
    AsJson,
    CandidateItems,
    DataDir,
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
    from rich.table import Table

    from actsr_cli.evaluation.comparison import Difference
    from actsr_cli.evaluation.metrics import Measure
    from actsr_cli.experiment.compare import Comparison


def compare(
    names: Annotated[
        list[str],
        typer.Argument(
            metavar="RUN…",
            help="Runs, or series by their name without -sSEED; the first is the baseline.",
            autocompletion=complete_run,
        ),
    ],
    split: Split = "test",
    seen: SeenItems = None,
    candidates: CandidateItems = None,
    n_candidates: NCandidates = None,
    metrics: Annotated[
        str,
        typer.Option(help="Metrics, separated by commas, or all; see docs/evaluate.md.", rich_help_panel=MEASURED),
    ] = "hit,ndcg,mrr,rank",
    k: Annotated[str, typer.Option(help="Cut-offs, separated by commas.", rich_help_panel=MEASURED)] = "10",
    by: Annotated[
        str | None,
        typer.Option(
            metavar="METRIC",
            help="Metric shown by history length and item popularity. Default: NDCG, else the first metric.",
            rich_help_panel=MEASURED,
        ),
    ] = None,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:N or mps.", rich_help_panel=MEASURED)] = "auto",
    threads: Threads = None,
    output: Annotated[
        Path | None,
        typer.Option(
            "--output",
            "-o",
            help="Write the tables (CSV, Markdown, LaTeX) and a picture into this folder.",
            show_default=False,
            rich_help_panel=OUTPUT,
        ),
    ] = None,
    as_json: AsJson = False,
    trust_code: TrustCode = False,
    data_dir: DataDir = Path("dataset"),
    runs_dir: RunsDir = Path("runs"),
) -> None:
    """Compare runs, or series of seeds, with the first one.

    Shows paired tests over users (and over seeds, for series), intervals, effect
    sizes, and which users gain. All runs must be trained on the same data.

    [bold]Example:[/]  actsr compare beauty/sasrec/five beauty/ac-sasrec/five

    [bold]Example:[/]  actsr compare plain full --k 5,10 --output compared
    """
    from actsr_cli.evaluation.protocol import Protocol
    from actsr_cli.experiment.compare import common_protocol, find_groups
    from actsr_cli.experiment.compare import compare as compare_groups
    from actsr_cli.experiment.compare_export import write_comparison
    from actsr_cli.experiment.data import data_of
    from actsr_cli.experiment.evaluate import request_for
    from actsr_cli.experiment.record import Status
    from actsr_cli.files import check_folder
    from actsr_cli.training.device import use_threads

    use_threads(threads)
    if output is not None:
        check_folder(output)
    groups = find_groups(runs_dir, names)
    for run in (run for group in groups for run in group.runs if run.status is not Status.FINISHED):
        console.warn(f"{run.name} is not finished: it is {run.status}")
    settings = groups[0].runs[0].config.evaluation
    if seen is None and candidates is None and n_candidates is None:
        protocol = common_protocol(groups)
    else:
        protocol = Protocol.chosen(settings, seen, candidates, n_candidates)
    with console.working("Ranking") as say:
        data = data_of(groups[0].runs[0], data_dir).data
        request = request_for(
            settings, data, protocol, split=split, metrics=listed(metrics), k=cutoffs(k), device=device
        )
        comparison = compare_groups(groups, data, request, _sliced(by, request.wanted), lambda run: say(run.name))
    if as_json:
        _print_json(comparison)
    else:
        _print_tables(comparison)
    if output is not None:
        files = write_comparison(output, comparison)
        console.note(f"Written to {output}: {', '.join(path.name for path in files)}")


def _sliced(by: str | None, wanted: tuple[Measure, ...]) -> Measure:
    """The metric to show for groups of users.

    Raises:
        ConfigError: --metrics or --by names no metric with a value per user.
    """
    per_user = [measure for measure in wanted if not measure.metric.of_catalogue]
    if not per_user:
        raise ConfigError("--metrics has no metric with a value per user: add one, such as ndcg")
    if by is None:
        return next((measure for measure in per_user if measure.metric.name == "ndcg"), per_user[0])
    found = next((measure for measure in per_user if measure.name == by), None)
    if found is None:
        raise ConfigError(f"--by takes one of {', '.join(each.name for each in per_user)}, not '{by}'")
    return found


def _print_json(comparison: Comparison) -> None:
    told = {
        "split": comparison.request.split,
        "protocol": comparison.request.protocol.key,
        "users": comparison.users,
        "differences": [_told(each) for each in comparison.differences],
        "slices": [asdict(each) for each in comparison.slices],
    }
    console.print_json(told)


def _told(difference: Difference) -> dict[str, Any]:
    facts = {field.name: getattr(difference, field.name) for field in fields(difference)}
    facts = {"metric": difference.measure.name, **facts, "verdict": difference.verdict}
    del facts["measure"]
    return {key: vars(value) if is_dataclass(value) else value for key, value in facts.items()}


def _print_tables(comparison: Comparison) -> None:
    from actsr_cli.experiment.compare_export import notes

    for number in range(1, len(comparison.contenders)):
        _print_differences(comparison, number)
    _print_slices(comparison)
    for note in notes(comparison):
        console.results.print(note, soft_wrap=True)


def _print_differences(comparison: Comparison, number: int) -> None:
    """Print a contender against the baseline; significant differences are in bold."""
    from actsr_cli.experiment.compare_export import bounds, p_value, titled

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
            titled(each.measure),
            each.measure.spread(each.of_baseline).replace(" ± ", "\n±"),
            each.measure.spread(each.of_contender).replace(" ± ", "\n±"),
            f"{each.measure.text(each.difference.mean, '+')}\n{bounds(each.measure, each.difference)}",
            "" if each.users is None else f"{p_value(each.users_holm)}\n({each.users.effect:+.3f})",
            *([p_value(each.seeds_holm)] if with_seeds else []),
            "" if each.verdict == "open" else each.verdict,
            style=None if each.verdict == "open" else "bold",
        )
    console.results.print(table)


def _print_slices(comparison: Comparison) -> None:
    """Print the mean of each group of users; for a contender, also the interval of its difference."""
    from actsr_cli.experiment.compare_export import bounds, titled

    measure = comparison.sliced
    for by in dict.fromkeys(each.by for each in comparison.slices):
        table = _table(f"{titled(measure)} by {by}, with the interval of the difference")
        table.add_column(by)
        for column in ("users", "baseline", *(f"({index})" for index in range(1, len(comparison.contenders)))):
            table.add_column(column, justify="right")
        for each in comparison.slices:
            if each.by == by:
                others = zip(each.means[1:], each.differences, strict=True)
                cells = [f"{measure.text(mean)}\n{bounds(measure, gap)}" for mean, gap in others]
                table.add_row(each.label, f"{each.users:,}", measure.text(each.means[0]), *cells)
        console.results.print(table)


def _table(title: str) -> Table:
    from rich.box import SIMPLE_HEAD
    from rich.table import Table

    return Table(title=title, title_justify="left", box=SIMPLE_HEAD)
