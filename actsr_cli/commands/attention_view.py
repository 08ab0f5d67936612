"""Attention in the terminal: a bar per item of the history, and the tables of the measurements."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from rich.table import Table
from rich.text import Text

from actsr_cli import console
from actsr_cli.inspection.answers import PROTOCOL
from actsr_cli.inspection.export import place_names
from actsr_cli.inspection.tables import findings_tables
from actsr_cli.inspection.views import rank_text
from actsr_cli.words import counted

if TYPE_CHECKING:
    from actsr_cli.experiment.inspect import Inspected
    from actsr_cli.inspection.findings import Findings
    from actsr_cli.inspection.views import Subject, View

_EIGHTHS = " ▏▎▍▌▋▊▉█"
_IMPORTANCE = len("importance") + 3
"""Width of that column with its frame."""


def print_view(inspected: Inspected, subject: Subject, view: View, layer: int, head: int | None) -> None:
    """Print the history of a subject with a bar per item and stage.

    Args:
        inspected: the run.
        subject: the history to show.
        view: the attention of the run's model on it.
        layer: index of the layer, from 0.
        head: index of the head, from 0; None takes the mean over heads.
    """
    places = place_names(view, inspected.data.display_name)
    stages, explained = view.trace.stages, view.explained
    width = console.results.width - (0 if explained is None else _IMPORTANCE)
    room = width - 8  # without frames and numbers of places
    label = max(4, min(max(map(len, places)), width // 3, room - _needed(stages, bar=3)))
    bar = next((size for size in range(24, 0, -1) if _needed(stages, size) <= room - label), 0)
    which = "mean over heads" if head is None else f"head {head + 1}"
    table = Table(pad_edge=False)
    table.add_column("", justify="right", no_wrap=True)
    table.add_column("item", no_wrap=True, width=label, overflow="ellipsis")
    if explained is not None:
        table.add_column("importance", justify="right", no_wrap=True)
    for stage in stages:
        table.add_column(stage, no_wrap=True)
    weights = {stage: row[0].cpu().tolist() for stage, row in view.trace.prediction_rows(layer, head).items()}
    highest = max(max(values[: len(places)]) for values in weights.values())
    for place, item in enumerate(places):
        bars = (_bar(weights[stage][place], highest, bar) for stage in stages)
        importance = [] if explained is None else [_signed(explained.importance, place)]
        table.add_row(str(place + 1), Text(item), *importance, *bars)
    caption = f"layer {layer + 1}, {which}: share of the attention of the prediction, in percent"
    if explained is not None:
        name = inspected.data.display_name(explained.item)
        caption += f"\nimportance: what the item adds to the log-probability of {name} (integrated gradients)"
    _print(_headline(inspected, subject, view), table, caption)
    recommended = ", ".join(
        f"{inspected.data.display_name(item)} ({probability:.1%})" for item, probability in view.recommended
    )
    console.results.print(Text(f"recommended (not in the history): {recommended}"), style="dim")
    console.results.print()


def print_findings(findings: Sequence[Findings]) -> None:
    """Print the tables of the measurements, one run after the other."""
    for found in findings:
        for measured in findings_tables(found):
            table = Table(box=None, padding=(0, 1, 0, 0), header_style="bold underline")  # fits into 80 columns
            for index, column in enumerate(measured.columns):
                table.add_column(Text(column), justify="right" if index else "left", no_wrap=True)
            for row in measured.rows:
                table.add_row(*map(Text, row))
            _print(Text(measured.title), table, measured.note)
            console.results.print()


def _needed(stages: Sequence[str], bar: int) -> int:
    """The width of the columns of stages with their frames, if bars have this width."""
    return sum(max(len(stage), bar + len(" 100.0")) + 3 for stage in stages)


def _bar(weight: float, highest: float, width: int) -> Text:
    eighths = round(8 * width * weight / highest) if highest else 0
    filled = "█" * (eighths // 8) + (_EIGHTHS[eighths % 8] if eighths % 8 else "")
    return Text(f"{filled:<{width}} {100 * weight:5.1f}", style="cyan")


def _signed(importance: Sequence[float], place: int) -> Text:
    """The importance of a place with its sign; nothing for the mask of a cloze model, which has none."""
    if place >= len(importance):
        return Text()
    shown = round(importance[place], 2)
    return Text(f"{shown:+.2f}" if shown else "0.00", style="green" if shown > 0 else "red" if shown < 0 else "")


def _headline(inspected: Inspected, subject: Subject, view: View) -> Text:
    name = f"{inspected.run.name}: "
    if view.rank is None or view.plain_rank is None or view.probability is None:
        return Text(f"{name}a history of {counted(len(subject.case.items), 'item')}")
    ranks = f"rank {rank_text(view.rank)}"
    if inspected.calibrated:
        ranks += f", without calibration {rank_text(view.plain_rank)}"
    target = inspected.data.display_name(subject.case.target)
    return Text(f"{name}user {subject.label}, next: {target}\n{ranks} (protocol {PROTOCOL.title})")


def _print(title: Text, table: Table, caption: str) -> None:
    title.stylize("bold")
    for part in (title, table, Text(caption, style="dim")):
        console.results.print(part)
