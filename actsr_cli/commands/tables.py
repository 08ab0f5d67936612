"""Prints tables, facts and numbers for people.

On a terminal, tables are drawn. Elsewhere, such as in a pipe or a file, each row is one line with aligned columns: no
line is wrapped, and no name is cut.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from typing import Literal

from actsr_cli import console
from actsr_cli.words import visible

_GAP = 2
"""Number of blanks between two columns."""


def duration(seconds: float) -> str:
    """Seconds as readable text: `20.8 s`, `3 min 12 s`, `1 h 12 min`."""
    if round(seconds, 1) < 60:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    minutes = round(seconds / 60)
    return f"{minutes // 60} h {minutes % 60} min"


def moment(text: str) -> str:
    """A moment in ISO 8601 as local time: `2026-11-26 14:03`."""
    return datetime.fromisoformat(text).astimezone().strftime("%Y-%m-%d %H:%M")


def print_line(text: str, *, style: str = "") -> None:
    """Print one line of a result, styled on a terminal and never wrapped."""
    if console.on_terminal():
        console.results.print(visible(text), style=style, soft_wrap=True)
    else:
        console.echo(visible(text))


def print_rows(
    columns: Sequence[str], rows: Sequence[Sequence[str]], *, right: Collection[str] = (), header: bool = True
) -> None:
    """Print a table without lines. On a narrow terminal its widest column is wrapped.

    Args:
        columns: the titles.
        rows: the cells of each row.
        right: titles of the columns that are aligned to the right.
        header: whether the titles are printed.
    """
    if not console.on_terminal():
        for line in _lines(([columns] if header else []) + list(rows), [column in right for column in columns]):
            console.echo(line)
        return
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, padding=(0, _GAP, 0, 0), show_header=header)
    widths = [max(map(len, cells)) for cells in zip(*rows, strict=True)]
    for column, width in zip(columns, widths, strict=True):
        side: Literal["left", "right"] = "right" if column in right else "left"
        table.add_column(Text(column), justify=side, overflow="fold", no_wrap=width < max(widths))
    for row in rows:
        table.add_row(*(Text(visible(cell)) for cell in row))
    console.results.print(table)


def print_spread(title: str, name: str, runs: Sequence[Mapping[str, float | None]], protocol: str) -> None:
    """Print mean ± sample standard deviation (n - 1) of the metrics of runs that differ only in their seed.

    A single run has values without a spread. Runs without a value of a metric do not count.
    """
    from actsr_cli.evaluation.metrics import parse_measure

    cells = {metric: parse_measure(metric).spread([run[metric] for run in runs]) for metric in runs[0]}
    _print_table(title, {name: cells}, protocol)


def print_metrics(title: str, rows: Mapping[str, Mapping[str, float]], protocol: str) -> None:
    """Print a group of lines per named row of metrics: one line per metric, one column per cut-off.

    Args:
        title: title of the table.
        rows: metrics such as {"hit@10": 0.08} by the name of the model.
        protocol: the protocol's title, which every table shows.
    """
    texts = {name: {metric: metric_text(metric, value) for metric, value in of.items()} for name, of in rows.items()}
    _print_table(title, texts, protocol)


def metric_text(metric: str, value: float | None) -> str:
    """A value with the decimals of its metric; a dash if there is no value."""
    from actsr_cli.evaluation.metrics import parse_measure

    return parse_measure(metric).text(value)


def _print_table(title: str, rows: Mapping[str, Mapping[str, str]], protocol: str) -> None:
    from actsr_cli.evaluation.metrics import parse_measure

    measures = {name: parse_measure(name) for cells in rows.values() for name in cells}
    cutoffs = sorted({measure.k for measure in measures.values()}, key=lambda k: k or float("inf"))
    columns = ["", *(f"@{cutoff}" if cutoff else "" for cutoff in cutoffs)]
    groups = []
    for name, cells in rows.items():
        texts = {(measures[metric].metric, measures[metric].k): text for metric, text in cells.items()}
        lines = dict.fromkeys(metric for metric, _ in texts)
        groups.append(
            [[f"{name}  {each.label}", *(texts.get((each, cutoff), "") for cutoff in cutoffs)] for each in lines]
        )
    print_line(title, style="italic")
    if console.on_terminal():
        _draw(columns, groups)
    else:
        aligned = [False, *(True for _ in cutoffs)]
        for line in _lines([columns, *(row for group in groups for row in group)], aligned):
            console.echo(line)
    print_line(f"Protocol {protocol}", style="dim italic")


def _draw(columns: Sequence[str], groups: Sequence[Sequence[Sequence[str]]]) -> None:
    """A table with lines, also between groups of rows; the first column is aligned to the left."""
    from rich.table import Table
    from rich.text import Text

    table = Table()
    for index, column in enumerate(columns):
        table.add_column(column, justify="right" if index else "left")
    for group in groups:
        for row in group:
            table.add_row(*(Text(visible(cell)) for cell in row))
        table.add_section()
    console.results.print(table)


def _lines(rows: Sequence[Sequence[str]], right: Sequence[bool]) -> list[str]:
    """Rows as lines of text with aligned columns; a cell is one line, whatever is in it.

    Args:
        rows: the cells of each row.
        right: for each column, whether it is aligned to the right.
    """
    rows = [[visible(cell) for cell in row] for row in rows]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    gap = " " * _GAP
    return [
        gap.join(
            cell.rjust(width) if aligned else cell.ljust(width)
            for cell, width, aligned in zip(row, widths, right, strict=True)
        ).rstrip()
        for row in rows
    ]
