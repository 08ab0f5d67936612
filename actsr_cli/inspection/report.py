"""The report: one self-contained HTML page, made from the files in `page/`."""

from __future__ import annotations

import base64
import html
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from importlib.resources import files
from typing import Any

import numpy as np

from actsr_cli.evaluation.significance import Interval
from actsr_cli.inspection.export import Name, place_names
from actsr_cli.inspection.faithfulness import CHARTED, Faithfulness
from actsr_cli.inspection.findings import Findings
from actsr_cli.inspection.learned import LayerCurves
from actsr_cli.inspection.robustness import KINDS
from actsr_cli.inspection.tables import findings_tables
from actsr_cli.inspection.views import Subject, View, rank_text
from actsr_cli.version import __version__

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
    payload = {
        "about": report.about,
        "sample": runs[0].findings.users,
        "runs": [_run(run) for run in runs],
        "users": [_user(index, subject, runs, report.name) for index, subject in enumerate(report.subjects)],
        "measured": [asdict(table) for run in runs for table in findings_tables(run.findings)],
        "charts": [chart for run in runs for chart in _charts(run)],
    }
    page = files("actsr_cli.inspection") / "page"
    parts = {
        "title": html.escape(report.title),
        "footer": html.escape(f"Made by actsr {__version__}"),
        "style": (page / "style.css").read_text(encoding="utf-8"),
        "script": (page / "script.js").read_text(encoding="utf-8"),
        "data": json.dumps(payload, separators=(",", ":")).replace("<", "\\u003c"),
    }
    text = (page / "page.html").read_text(encoding="utf-8")
    for key in ("title", "footer", "style", "script", "data"):  # data last: item titles may contain any text
        text = text.replace(f"{{{{{key}}}}}", parts[key])
    return text


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
        "weights": {stage: _packed(view, stage, length, causal) for stage in view.trace.stages},
    }


def _packed(view: View, stage: str, length: int, causal: bool) -> str:
    """Weights of all layers and heads: little-endian 16 bits, base64; only the lower triangle if causal."""
    rows, columns = np.tril_indices(length) if causal else (axis.ravel() for axis in np.indices((length, length)))
    numbers = [
        np.round(np.clip(weights[0].cpu().double().numpy()[:, rows, columns], 0, 1) * _LEVELS)
        for weights in view.trace.weights(stage)
    ]
    return base64.b64encode(np.concatenate([each.ravel() for each in numbers]).astype("<u2").tobytes()).decode()


def _charts(run: ReportedRun) -> list[dict[str, Any]]:
    charts = []
    if run.findings.faithfulness is not None:
        for kind, better in (("deletion", "higher is better"), ("insertion", "lower is better")):
            charts.append(_faithfulness_chart(run.name, run.findings.faithfulness, kind, better))
    for kind in KINDS if run.findings.robustness else ():
        points = [each for each in run.findings.robustness if each.kind in ("none", kind)]
        series = [_series("as trained", [(each.share, each.calibrated.hit) for each in points])]
        if run.calibrated:
            series.append(_series("plain attention", [(each.share, each.plain.hit) for each in points]))
        charts.append({"title": f"{run.name}: Hit@10, {kind}", "x": "share of the items", "series": series})
    return charts


def _faithfulness_chart(run: str, found: Faithfulness, kind: str, better: str) -> dict[str, Any]:
    series = [
        _series(name, list(zip(found.shares, getattr(found.explanations[name], kind).points, strict=True)))
        for name in CHARTED
        if name in found.explanations
    ]
    done = "removed" if kind == "deletion" else "kept"
    return {
        "title": f"{run}: {kind}, log-probability lost ({better})",
        "x": f"share of items {done}, most important first",
        "series": series,
    }


def _series(name: str, points: Sequence[tuple[float, Interval]]) -> dict[str, Any]:
    return {
        "name": name,
        "points": [[x, round(value.mean, 5)] for x, value in points],
        "band": [[x, round(value.low, 5), round(value.high, 5)] for x, value in points],
    }
