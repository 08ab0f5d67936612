"""Tables of metrics."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from statistics import mean, stdev

from actsr_cli import console
from actsr_cli.evaluation.metrics import parse_measure


def print_spread(title: str, name: str, runs: Sequence[Mapping[str, float]], protocol: str) -> None:
    """Mean ± standard deviation (of a sample, n - 1) of the metrics of some runs that differ in their seed alone.

    One run alone has its values without a spread.
    """
    values = {metric: [run[metric] for run in runs] for metric in runs[0]}
    cells = {}
    for metric, each in values.items():
        digits = parse_measure(metric).decimals
        spread = f" ± {stdev(each):.{digits}f}" if len(each) > 1 else ""
        cells[metric] = f"{mean(each):.{digits}f}{spread}"
    _print_table(title, {name: cells}, protocol)


def print_metrics(title: str, rows: Mapping[str, Mapping[str, float]], protocol: str) -> None:
    """One group of lines per named row of metrics, one line per metric, one column per cut-off.

    Args:
        title: what the numbers are of.
        rows: metrics such as {"hit@10": 0.08} by the name of what reached them.
        protocol: the protocol's title, which every table shows.
    """
    texts = {name: {metric: _text(metric, value) for metric, value in of.items()} for name, of in rows.items()}
    _print_table(title, texts, protocol)


def _text(metric: str, value: float | None) -> str:
    """A value as people read it; a dash where there is none."""
    return "-" if value is None or math.isnan(value) else f"{value:.{parse_measure(metric).decimals}f}"


def _print_table(title: str, rows: Mapping[str, Mapping[str, str]], protocol: str) -> None:
    from rich.table import Table

    measures = {name: parse_measure(name) for cells in rows.values() for name in cells}
    cutoffs = sorted({measure.k for measure in measures.values()}, key=lambda k: k or float("inf"))
    table = Table()
    table.add_column("")
    for cutoff in cutoffs:
        table.add_column(f"@{cutoff}" if cutoff else "", justify="right")
    for name, cells in rows.items():
        texts = {(measures[metric].metric, measures[metric].k): text for metric, text in cells.items()}
        for metric in dict.fromkeys(metric for metric, _ in texts):
            table.add_row(f"{name}  {metric.label}", *(texts.get((metric, cutoff), "") for cutoff in cutoffs))
        table.add_section()
    console.results.print(title, style="italic", markup=False, soft_wrap=True)  # not wrapped where the table ends
    console.results.print(table)
    console.results.print(f"Protocol {protocol}", style="dim italic", markup=False, soft_wrap=True)
