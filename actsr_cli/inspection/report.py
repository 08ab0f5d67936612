"""The report: a page on the attention, made from the files in `page/`."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from importlib.resources import files
from typing import Any

import numpy as np

from actsr_cli.attention import STAGES
from actsr_cli.inspection.charts import faithfulness_charts, robustness_charts
from actsr_cli.inspection.export import Name, place_names
from actsr_cli.inspection.findings import Findings
from actsr_cli.inspection.learned import LayerCurves
from actsr_cli.inspection.tables import findings_tables
from actsr_cli.inspection.trace import shares
from actsr_cli.inspection.views import Subject, View, rank_text
from actsr_cli.pages.page import Page, page_html

_LEVELS = 2**16 - 1
"""Weights are stored as 16-bit integers."""


@dataclass(frozen=True)
class ReportedRun:
    """What a report shows of one run.

    Attributes:
        name: DATASET/MODEL/NAME.
        calibrated: whether its attention is calibrated.
        views: its attention and ranking for each subject.
        findings: its measurements.
    """

    name: str
    calibrated: bool
    views: Sequence[View]
    findings: Findings


@dataclass(frozen=True)
class Report:
    """The contents of a report.

    Attributes:
        title: the headline.
        about: a sentence below the headline.
        subjects: the histories to choose from.
        runs: the runs shown side by side; the views of each run are of these subjects.
        name: returns the display name of an item.
    """

    title: str
    about: str
    subjects: Sequence[Subject]
    runs: Sequence[ReportedRun]
    name: Name


def report_page(report: Report) -> str:
    """The HTML of the page. The page loads no other files."""
    runs = report.runs
    findings = [run.findings for run in runs]
    payload = {
        "stages": [stage for stage in STAGES if any(stage in run.views[0].trace.stages for run in runs)],
        "sample": runs[0].findings.users,
        "runs": [_run(run) for run in runs],
        "users": [_user(index, subject, runs, report.name) for index, subject in enumerate(report.subjects)],
        "measured": [asdict(table) for run in runs for table in findings_tables(run.findings)],
        "charts": [asdict(chart) for chart in (*faithfulness_charts(findings), *robustness_charts(findings))],
    }
    place = files("actsr_cli.inspection") / "page"
    return page_html(Page("Attention report", report.title, report.about, place, payload))


def _run(run: ReportedRun) -> dict[str, Any]:
    trace = run.views[0].trace
    return {
        "name": run.name,
        "model": run.name.split("/")[1] if run.name.count("/") == 2 else run.name,
        "calibrated": run.calibrated,
        "stages": list(trace.stages),
        "heads": [layer.calibrated.shape[1] for layer in trace.layers],
        "learned": [_learned(curves) for curves in run.findings.curves],
    }


def _learned(curves: LayerCurves) -> dict[str, Any]:
    def rounded(values: np.ndarray[Any, Any] | None) -> Any:
        return None if values is None else np.round(values, 5).tolist()

    return {
        "weights": {stage: rounded(values) for stage, values in curves.weights.items()},
        "order": rounded(curves.order),
        "distance": rounded(curves.distance),
        "gate": rounded(curves.gate),
    }


def _user(index: int, subject: Subject, runs: Sequence[ReportedRun], name: Name) -> dict[str, Any]:
    target = subject.case.target
    first = runs[0].views[index]
    rank = "" if first.rank is None else f", rank {rank_text(first.rank)}"
    return {
        "title": f"{subject.label}{rank}",
        "target": name(target) if target else None,
        "views": [_view(run.views[index], name) for run in runs],
    }


def _view(view: View, name: Name) -> dict[str, Any]:
    length = int(view.trace.lengths[0])
    causal = not bool(view.trace.layers[0].calibrated[0, 0, :length, :length].triu(1).any())
    return {
        "places": place_names(view, name),
        "heads": [layer.calibrated.shape[1] for layer in view.trace.layers],
        "causal": causal,
        "rank": view.rank,
        "plainRank": view.plain_rank,
        "recommended": [[name(item), round(probability, 5)] for item, probability in view.recommended],
        "explained": None if view.explained is None else name(view.explained.item),
        "importance": [] if view.explained is None else [round(value, 3) for value in view.explained.importance],
        "weights": {stage: _packed(view, stage, length, causal) for stage in view.trace.stages},
    }


def _packed(view: View, stage: str, length: int, causal: bool) -> str:
    """Weights of all layers and heads, as shares: little-endian 16 bits, base64; only the lower triangle if causal."""
    rows, columns = np.tril_indices(length) if causal else (axis.ravel() for axis in np.indices((length, length)))
    numbers = [
        np.round(np.clip(shares(weights[0].cpu().double()).numpy()[:, rows, columns], 0, 1) * _LEVELS)
        for weights in view.trace.weights(stage)
    ]
    return base64.b64encode(np.concatenate([each.ravel() for each in numbers]).astype("<u2").tobytes()).decode()
