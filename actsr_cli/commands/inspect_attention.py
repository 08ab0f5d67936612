"""`actsr inspect-attention`: show the attention of a run stage by stage, and test if it explains the predictions."""

from __future__ import annotations

from itertools import zip_longest
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, TypeVar

import typer

from actsr_cli import console
from actsr_cli.commands.completion import complete_item, complete_run, complete_user
from actsr_cli.commands.options import (
    AsJson,
    DataDir,
    HistoryItems,
    RunName,
    RunsDir,
    Threads,
    TrustCode,
    history_items,
)
from actsr_cli.errors import ConfigError
from actsr_cli.words import counted

if TYPE_CHECKING:
    from collections.abc import Sequence

    from actsr_cli.experiment.inspect import Inspected, Measurements
    from actsr_cli.inspection.findings import Findings
    from actsr_cli.inspection.views import Subject, View

WHO, WHAT, OUTPUT = "Who", "What is measured", "Output"
_T = TypeVar("_T")


def inspect_attention(
    run: RunName = None,
    user: Annotated[
        list[str] | None,
        typer.Option(
            help="Show the user with this raw id; may be repeated.",
            rich_help_panel=WHO,
            autocompletion=complete_user,
        ),
    ] = None,
    random: Annotated[
        int | None, typer.Option(min=1, help="Show N random users. Default: 3.", rich_help_panel=WHO)
    ] = None,
    improved: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="Show the N users whose target's rank the calibration improves most (by the largest factor).",
            rich_help_panel=WHO,
        ),
    ] = None,
    worsened: Annotated[
        int | None,
        typer.Option(
            min=1, help="Show the N users whose target's rank the calibration worsens most.", rich_help_panel=WHO
        ),
    ] = None,
    history: HistoryItems = None,
    target: Annotated[
        str | None,
        typer.Option(
            help="Raw id of the item that comes after --history.", rich_help_panel=WHO, autocompletion=complete_item
        ),
    ] = None,
    split: Annotated[
        Literal["test", "valid"], typer.Option(help="Split whose last items are the targets.", rich_help_panel=WHO)
    ] = "test",
    against: Annotated[
        str | None,
        typer.Option(
            metavar="RUN",
            help="Also show another run on the same data.",
            rich_help_panel=WHAT,
            autocompletion=complete_run,
        ),
    ] = None,
    explain: Annotated[
        Literal["target", "recommended"],
        typer.Option(
            help="Item whose score is explained: the target, or the best item outside the history.",
            rich_help_panel=WHAT,
        ),
    ] = "target",
    faithfulness: Annotated[
        bool,
        typer.Option(
            "--faithfulness",
            help="Compare the attention with how much each item changes the predictions.",
            rich_help_panel=WHAT,
        ),
    ] = False,
    noise: Annotated[
        str | None,
        typer.Option(
            help="Shares of noise, such as 0.1,0.2,0.3: measure how inserted, shuffled and dropped items change ranks.",
            rich_help_panel=WHAT,
        ),
    ] = None,
    sample: Annotated[
        int, typer.Option(min=1, help="Largest number of users to measure on.", rich_help_panel=WHAT)
    ] = 1000,
    seed: Annotated[
        int, typer.Option(min=0, help="Random seed: sample of users, noise and bootstrap.", rich_help_panel=WHAT)
    ] = 0,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:N or mps.", rich_help_panel=WHAT)] = "auto",
    threads: Threads = None,
    layer: Annotated[
        str, typer.Option(help="Layer shown as bars: a number from 1, last, or all.", rich_help_panel=OUTPUT)
    ] = "last",
    head: Annotated[
        str, typer.Option(help="Head shown as bars: a number from 1, mean, or all.", rich_help_panel=OUTPUT)
    ] = "mean",
    output: Annotated[
        Path | None,
        typer.Option(
            help="Write report.html, pictures, all tensors (CSV, JSON, npz) and the measurements into this folder.",
            rich_help_panel=OUTPUT,
        ),
    ] = None,
    as_json: AsJson = False,
    trust_code: TrustCode = False,
    data_dir: DataDir = Path("dataset"),
    runs_dir: RunsDir = Path("runs"),
) -> None:
    """Show where the attention of a run looks, stage by stage, and test whether the attention explains its predictions.

    The stages are: plain attention, attention after the spatial calibrator,
    the adversarial mask (small where attention matters), calibrated attention.
    Attention does not say why an item is recommended; the column importance does.

    [bold]Example:[/]  actsr inspect-attention --improved 5 --output looks

    [bold]Example:[/]  actsr inspect-attention --faithfulness --against sasrec/plain

    [bold]Example:[/]  actsr inspect-attention --history "B004756YJA B004ZT0SSG" --noise 0.1,0.3
    """
    from actsr_cli.commands.attention_view import print_findings, print_view
    from actsr_cli.experiment.data import data_of
    from actsr_cli.experiment.find import find_run
    from actsr_cli.experiment.inspect import (
        Measurements,
        SubjectChoice,
        choose_subjects,
        look,
        open_side_by_side,
        write_inspection,
    )
    from actsr_cli.inspection.output import check_output
    from actsr_cli.training.device import use_threads

    use_threads(threads)
    if output is not None:
        check_output(output)
    shares = _shares(noise)
    if target is not None and history is None:
        raise ConfigError("--target needs --history: the next item of a user of the data set is known")
    runs = [find_run(runs_dir, name) for name in (run, *([] if against is None else [against]))]
    opened = open_side_by_side(runs, data_of(runs[0], data_dir).data, device)
    choice = SubjectChoice(
        split=split,
        users=user or (),
        random=random,
        improved=improved,
        worsened=worsened,
        history=None if history is None else history_items(history, opened[0].data.item_names),
        target=target,
        seed=seed,
    )
    wanted = Measurements(
        split=split, sample=sample, faithfulness=faithfulness, noise=shares, explain=explain, seed=seed
    )
    subjects = choose_subjects(opened[0], choice)
    views = [look(inspected, subjects, wanted) for inspected in opened]
    bars = [_bars(seen[0], layer, head) for seen in views]
    if not as_json:
        for index, subject in enumerate(subjects):
            for inspected, seen, places in zip(opened, views, bars, strict=True):
                for place in places:
                    print_view(inspected, subject, seen[index], *place)
    asked = output is not None or faithfulness or bool(shares)
    findings = [_measured(inspected, wanted) for inspected in opened] if asked else []
    if as_json:
        console.print_json([_told(*each) for each in zip_longest(opened, [subjects] * len(opened), views, findings)])
    else:
        print_findings(findings)
    if output is not None:
        write_inspection(output, opened, subjects, views, findings)
        histories = counted(len(subjects), "history", "histories")
        console.note(f"{histories} and the measurements are in {output / 'report.html'}")


def _bars(view: View, layer: str, head: str) -> list[tuple[int, int | None]]:
    """The layers and heads whose weights are shown as bars, from 0; None: the mean over heads."""
    traces = view.trace.layers
    return [
        (chosen, which)
        for chosen in _chosen("--layer", layer, len(traces), {"last": [len(traces) - 1]})
        for which in _chosen("--head", head, traces[chosen].calibrated.shape[1], {"mean": [None]})
    ]


def _told(
    inspected: Inspected, subjects: Sequence[Subject], views: Sequence[View], findings: Findings | None
) -> dict[str, Any]:
    """The histories and measurements of a run for JSON; `measured` is null if no measurement was asked for."""
    from actsr_cli.inspection.answers import PROTOCOL
    from actsr_cli.inspection.export import view_record
    from actsr_cli.inspection.output import findings_record

    name = inspected.data.display_name
    return {
        "run": inspected.run.name,
        "protocol": PROTOCOL.key,
        "histories": [view_record(subject, view, name) for subject, view in zip(subjects, views, strict=True)],
        "measured": None if findings is None else findings_record(findings),
    }


def _chosen(option: str, text: str, count: int, words: dict[str, list[_T]]) -> list[_T] | list[int]:
    """The indices (from 0) that an option names by a number from 1, by `all`, or by one of its own words."""
    if text in words:
        return words[text]
    if text == "all":
        return list(range(count))
    if text.isdecimal() and 1 <= int(text) <= count:
        return [int(text) - 1]
    raise ConfigError(f"{option} takes a number from 1 to {count}, {' or '.join([*words, 'all'])}, not '{text}'")


def _shares(noise: str | None) -> list[float]:
    if noise is None:
        return []
    try:
        shares = sorted({float(part) for part in noise.split(",")})
    except ValueError:
        shares = [0.0]
    if not all(0 < share <= 1 for share in shares):
        raise ConfigError(f"--noise takes shares above 0 and up to 1, separated by commas, not '{noise}'")
    return shares


def _measured(inspected: Inspected, measurements: Measurements) -> Findings:
    from actsr_cli.experiment.inspect import measure

    with console.working(f"measuring {inspected.run.name}") as say:
        return measure(inspected, measurements, say)
