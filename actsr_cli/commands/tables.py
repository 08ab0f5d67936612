"""Tables of metrics."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import mean, stdev

from rich.table import Table

from actsr_cli import console
from actsr_cli.evaluation.ranking import Seen, protocol


def print_spread(title: str, name: str, runs: Sequence[Mapping[str, float]], seen: Seen) -> None:
    """Mean ± standard deviation (of a sample, n - 1) of the metrics of some runs that differ in their seed alone."""
    values = {metric: [run[metric] for run in runs] for metric in runs[0]}
    cells = {metric: f"{mean(each):.4f} ± {stdev(each):.4f}" for metric, each in values.items()}
    _print_table(title, {name: cells}, seen)


def print_metrics(title: str, rows: Mapping[str, Mapping[str, float]], seen: Seen) -> None:
    """One group of lines per named row of metrics, one line per metric, one column per cut-off.

    Args:
        title: what the numbers are of.
        rows: metrics such as {"hit@10": 0.08} by the name of what reached them.
        seen: the protocol, which every table names.
    """
    texts = {name: {metric: f"{value:.4f}" for metric, value in metrics.items()} for name, metrics in rows.items()}
    _print_table(title, texts, seen)


def _print_table(title: str, rows: Mapping[str, Mapping[str, str]], seen: Seen) -> None:
    table = Table(title=title, caption=f"Protocol {protocol(seen)}", title_justify="left", caption_justify="left")
    table.add_column("")
    cutoffs = list(dict.fromkeys(name.partition("@")[2] for metrics in rows.values() for name in metrics))
    for cutoff in cutoffs:
        table.add_column(f"@{cutoff}", justify="right")
    for name, metrics in rows.items():
        for metric, label in (("hit", "Hit"), ("ndcg", "NDCG"), ("mrr", "MRR")):
            table.add_row(f"{name}  {label}", *(metrics.get(f"{metric}@{cutoff}", "") for cutoff in cutoffs))
        table.add_section()
    console.results.print(table)
