"""The registry of metrics: a registered metric works in every command, table, curve and file."""

from actsr_cli.evaluation.metrics import accuracy, lists
from actsr_cli.evaluation.metrics.accuracy import hit, mrr, ndcg
from actsr_cli.evaluation.metrics.registry import (
    Catalogue,
    Judged,
    Measure,
    Metric,
    all_metrics,
    chosen_metrics,
    find_metric,
    list_length,
    measures,
    parse_measure,
    per_user,
    register,
    summarize,
)

__all__ = [
    "Catalogue",
    "Judged",
    "Measure",
    "Metric",
    "accuracy",
    "all_metrics",
    "chosen_metrics",
    "find_metric",
    "hit",
    "list_length",
    "lists",
    "measures",
    "mrr",
    "ndcg",
    "parse_measure",
    "per_user",
    "register",
    "summarize",
]
