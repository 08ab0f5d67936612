"""The measurements as charts, which the report and the pictures both show."""

from __future__ import annotations

from collections.abc import Sequence

from actsr_cli.evaluation.significance import Interval
from actsr_cli.inspection.faithfulness import CHARTED, Faithfulness
from actsr_cli.inspection.findings import Findings
from actsr_cli.inspection.robustness import KINDS
from actsr_cli.pages.charts import Chart, Series


def faithfulness_charts(findings: Sequence[Findings]) -> list[Chart]:
    """Deletion and insertion curves of each run for which they were measured, with bootstrap intervals."""
    ways = (("deletion", "removed", "higher is better"), ("insertion", "kept", "lower is better"))
    return [
        Chart(
            title=f"{found.run}: {kind}",
            x=f"share of items {done}, most important first",
            y=f"log-probability lost ({better})",
            series=_curves(found.faithfulness, kind),
            zero=True,
        )
        for found in findings
        if found.faithfulness is not None
        for kind, done, better in ways
    ]


def robustness_charts(findings: Sequence[Findings]) -> list[Chart]:
    """Hit@10 of all runs under each kind of noise, as trained and with plain attention; none if it was not measured."""
    measured = [found for found in findings if found.robustness]
    return [
        Chart(
            title=f"Noise: {kind}",
            x="share of the items",
            y="Hit@10",
            series=[series for found in measured for series in _hits(found, kind)],
            zero=True,
        )
        for kind in KINDS
        if measured
    ]


def _curves(found: Faithfulness, kind: str) -> list[Series]:
    return [
        _series(name, list(zip(found.shares, getattr(found.explanations[name], kind).points, strict=True)), color=color)
        for color, name in enumerate(CHARTED)  # an explanation has one colour in all charts
        if name in found.explanations
    ]


def _hits(found: Findings, kind: str) -> list[Series]:
    points = [each for each in found.robustness if each.kind in ("none", kind)]
    series = [_series(found.run, [(each.share, each.calibrated.hit) for each in points])]
    if any(each.calibrated != each.plain for each in points):
        plain = [(each.share, each.plain.hit) for each in points]
        series.append(_series(f"{found.run}, plain attention", plain, dashed=True))
    return series


def _series(
    name: str, points: Sequence[tuple[float, Interval]], *, dashed: bool = False, color: int | None = None
) -> Series:
    return Series(
        name=name,
        points=[(x, round(value.mean, 5)) for x, value in points],
        band=[(x, round(value.low, 5), round(value.high, 5)) for x, value in points],
        look="dashed" if dashed else "line",
        color=color,
    )
