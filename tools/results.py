"""Keeps the test results of single runs in docs/results.csv, from which tables of docs/results.md are made.

`python -m tools.results RUN…` measures runs, adds them to the file, and prints the tables.
"""

from __future__ import annotations

import sys
from collections import Counter
from pathlib import Path

import pandas as pd

import actsr_cli as actsr
from actsr_cli.config.losses import CrossEntropyOptions
from actsr_cli.config.models import EnsembleOptions
from actsr_cli.evaluation.protocol import Seen
from actsr_cli.experiment.run import Run
from actsr_cli.files import replacing
from actsr_cli.models.registry import display_name, short_name
from actsr_cli.sessions import opened_run

FILE = Path(__file__).parents[1] / "docs" / "results.csv"
KEYS = ["data", "model", "protocol", "seed"]
METRICS = [f"{metric}@{k}" for metric in ("hit", "ndcg") for k in (5, 10, 20)]
_PROTOCOLS: dict[Seen, str] = {"rank": "A", "exclude": "B", "exclude-repeats": "B, repeats missed"}
_COUNTS = {"seed": "Int64", "epoch": "Int64"}
HEAD = """| data | protocol | model | seeds | Hit@5 | Hit@10 | Hit@20 | NDCG@5 | NDCG@10 | NDCG@20 |
|---|---|---|---:|---:|---:|---:|---:|---:|---:|"""


def measured(name: str) -> list[dict[str, object]]:
    """The test results of a run, one row per protocol; the two readings of B are one row if no target is a repeat."""
    run = opened_run(name, None, trust_code=False)
    model, seed = _model_and_seed(run)
    rows: list[dict[str, object]] = []
    for seen, protocol in _PROTOCOLS.items():
        found = actsr.evaluate(run, seen=seen, metrics=["hit", "ndcg"], k=[5, 10, 20])
        metrics = {name: found.metrics[name] for name in METRICS}
        if seen == "exclude-repeats" and metrics.items() <= rows[-1].items():
            continue
        keys = {"data": run.config.dataset, "model": model, "protocol": protocol, "seed": seed}
        rows.append({**keys, "epoch": found.epoch or None, **metrics})
    return rows


def _model_and_seed(run: Run) -> tuple[str, int | None]:
    """What the table calls a run's model, and its seed; an ensemble has none."""
    options = run.config.model
    if isinstance(options, EnsembleOptions):
        names = Counter(short_name(member.model.name, member.calibration.kind) for member in options.members)
        return " and ".join(f"{count} {name}" for name, count in sorted(names.items())) + ", together", None
    taught = isinstance(run.config.loss, CrossEntropyOptions) and run.config.loss.teachers
    return display_name(run.config) + (", taught" if taught else ""), run.config.training.seed


def add(rows: list[dict[str, object]]) -> None:
    """Add rows to the file; a row with the same keys is replaced."""
    kept = [read()] if FILE.exists() else []
    frame = pd.concat([*kept, pd.DataFrame(rows).astype(_COUNTS)]).drop_duplicates(KEYS, keep="last").sort_values(KEYS)
    with replacing(FILE) as scratch:
        frame.to_csv(scratch, index=False, float_format="%.6f")


def read() -> pd.DataFrame:
    """The rows of the file."""
    return pd.read_csv(FILE, dtype=_COUNTS)


def lines(rows: pd.DataFrame) -> list[str]:
    """A row of a table in Markdown for each model and protocol: mean ± standard deviation over seeds."""
    made = []
    for (data, protocol, model), of_model in rows.groupby(["data", "protocol", "model"]):
        cells = " | ".join(_cell(of_model[name]) for name in METRICS)
        seeds = of_model["seed"].count() or ""  # an ensemble has none
        made.append(f"| {data} | {protocol} | `{model}` | {seeds} | {cells} |")
    return made


def _cell(values: pd.Series[float]) -> str:
    spread = f" ± {_short(values.std())}" if len(values) > 1 else ""
    return f"{_short(values.mean())}{spread}"


def _short(value: float) -> str:
    return f"{value:.4f}".removeprefix("0")


if __name__ == "__main__":
    for named in sys.argv[1:]:
        add(measured(named))
    print("\n".join([HEAD, *lines(read())]))
