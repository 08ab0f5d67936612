"""Tables of metrics."""

from __future__ import annotations

from collections.abc import Mapping

from rich.table import Table

from actsr_cli import console
from actsr_cli.evaluation.ranking import Seen, protocol


def print_metrics(title: str, rows: Mapping[str, Mapping[str, float]], seen: Seen) -> None:
    """One line per cut-off and one group of columns per metric, for each named row of metrics.

    Args:
        title: what the numbers are of.
        rows: metrics such as {"hit@10": 0.08} by the name of what reached them.
        seen: the protocol, which every table names.
    """
    table = Table(title=title, caption=f"Protocol {protocol(seen)}", title_justify="left", caption_justify="left")
    table.add_column("")
    cutoffs = list(dict.fromkeys(name.partition("@")[2] for metrics in rows.values() for name in metrics))
    for cutoff in cutoffs:
        table.add_column(f"@{cutoff}", justify="right")
    for name, metrics in rows.items():
        for metric, label in (("hit", "Hit"), ("ndcg", "NDCG"), ("mrr", "MRR")):
            values = [metrics.get(f"{metric}@{cutoff}") for cutoff in cutoffs]
            table.add_row(f"{name}  {label}", *("" if value is None else f"{value:.4f}" for value in values))
        table.add_section()
    console.results.print(table)
