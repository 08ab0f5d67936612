"""Charts: described once, drawn on a page by `charts.js` and as a picture by matplotlib."""

from __future__ import annotations

import textwrap
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from actsr_cli.files import replacing

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.layout_engine import ConstrainedLayoutEngine

COLORS = ("#3b82c4", "#e08a1e", "#3f9d5a", "#c4453b", "#8a63c9", "#8c6a4f", "#d06ab0", "#7f8794")
"""Colours of the series, readable on white and on black."""
_QUIET = "#9aa3ad"
_CHART_WIDTH = 4.0
"""Inches of a chart that titles and legends may take."""
_LETTERS_PER_INCH = 11
_LINES = {"line": "-", "dashed": "--", "points": ""}
_BARS_PER_INCH = 2.6


@dataclass(frozen=True)
class Series:
    """One line or one set of points.

    Attributes:
        name: its name; the legend calls all quiet series together "others".
        points: (x, y) in order of x; of a chart with names, x is the place of the name.
        band: (x, low, high) around it; empty: no band.
        look: a line, a dashed line, or points that are not connected.
        quiet: drawn grey, behind the others.
        color: index of its colour in `COLORS`; None: that of its place among the series that are not quiet.
    """

    name: str
    points: Sequence[tuple[float, float]]
    band: Sequence[tuple[float, float, float]] = ()
    look: Literal["line", "dashed", "points"] = "line"
    quiet: bool = False
    color: int | None = None


@dataclass(frozen=True)
class Chart:
    """A chart with two axes.

    Attributes:
        title: a line above it.
        x: label of the horizontal axis.
        y: label of the vertical axis; empty if the title says it.
        series: what it shows.
        scale: the horizontal axis: numbers, whole numbers, numbers on a logarithmic scale, or names.
        names: the names of the scale `names`, from left to right.
        zero: whether the vertical axis includes 0.
    """

    title: str
    x: str
    y: str
    series: Sequence[Series]
    scale: Literal["numbers", "whole", "log", "names"] = "numbers"
    names: Sequence[str] = ()
    zero: bool = False


def chart_figure(charts: Sequence[Chart], columns: int = 1) -> Figure:
    """A picture of some charts, side by side in rows of `columns`; each has its legend below it."""
    from matplotlib.figure import Figure

    columns = min(columns, len(charts))
    rows = -(-len(charts) // columns)
    figure = Figure(figsize=(max(6.5, 4.6 * columns), 4.4 * rows), layout=spacious())
    axes = figure.subplots(rows, columns, squeeze=False).ravel()
    for axis, chart in zip(axes, charts, strict=False):
        _draw(axis, chart)
    for axis in axes[len(charts) :]:
        axis.set_axis_off()
    return figure


def bar_figure(title: str, x: str, bars: Sequence[tuple[str, float]]) -> Figure:
    """A picture of horizontal bars, the first on top, each with its share in percent."""
    from matplotlib.figure import Figure
    from matplotlib.ticker import PercentFormatter

    figure = Figure(figsize=(7.5, 1.5 + len(bars) / _BARS_PER_INCH), layout=spacious())
    axis = figure.subplots()
    drawn = axis.barh(
        [fitted(name, 2.5) for name, _ in bars], [share for _, share in bars], color=COLORS[0], height=0.65
    )
    axis.bar_label(drawn, [f"{share:.0%}" for _, share in bars], padding=4)
    axis.invert_yaxis()
    axis.set(title=title, xlabel=fitted(x, _CHART_WIDTH), xlim=(0, 1.12))
    axis.xaxis.set_major_formatter(PercentFormatter(1))
    axis.set_xticks([0, 0.25, 0.5, 0.75, 1])
    axis.spines[["top", "right"]].set_visible(False)
    return figure


def save(figure: Figure, path: Path) -> None:
    """Write a figure to `path` as PNG; the file is replaced atomically. Letters that the font lacks become boxes."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path) as partial, warnings.catch_warnings():
        warnings.filterwarnings("ignore", r"Glyph \d+")  # one for each letter; pages show them all
        FigureCanvasAgg(figure).print_png(str(partial))  # type: ignore[no-untyped-call]


def spacious() -> ConstrainedLayoutEngine:
    """A layout in which nothing covers or touches anything else."""
    from matplotlib.layout_engine import ConstrainedLayoutEngine

    return ConstrainedLayoutEngine(w_pad=0.12, h_pad=0.12)


def fitted(text: str, inches: float) -> str:
    """A text in lines that are at most so long in a font of about 10 points; also long names are broken."""
    return "\n".join(textwrap.wrap(text, max(8, int(inches * _LETTERS_PER_INCH)), break_on_hyphens=False))


def _draw(axis: Axes, chart: Chart) -> None:
    from matplotlib.ticker import MaxNLocator

    loud = [each for each in chart.series if not each.quiet]
    quiet = [each for each in chart.series if each.quiet]
    for place, each in enumerate([*quiet, *loud], start=-len(quiet)):
        color = _QUIET if each.quiet else COLORS[(place if each.color is None else each.color) % len(COLORS)]
        style: dict[str, Any] = {"color": color, "linestyle": _LINES[each.look]}
        style |= {"label": "others", "alpha": 0.6, "zorder": 2} if each.quiet else {"label": each.name, "zorder": 3}
        style |= {"marker": "o", "markersize": 5 if each.look == "points" else 3} if len(each.points) < 40 else {}
        axis.plot([x for x, _ in each.points], [y for _, y in each.points], **style)
        if each.band:
            xs, lows, highs = zip(*each.band, strict=True)
            axis.fill_between(xs, lows, highs, color=color, alpha=0.15, linewidth=0)
    axis.set_title(fitted(chart.title, _CHART_WIDTH), fontsize=10.5)
    axis.set(xlabel=chart.x, ylabel=chart.y)
    if chart.scale == "log":
        axis.set_xscale("log")
    elif chart.scale == "names":
        axis.set_xticks(
            range(len(chart.names)), [fitted(name, _CHART_WIDTH / len(chart.names)) for name in chart.names]
        )
        axis.set_xlim(-0.5, len(chart.names) - 0.5)
    elif chart.scale == "whole":
        axis.xaxis.set_major_locator(MaxNLocator(integer=True))
    if chart.zero:
        axis.set_ylim(bottom=min(0.0, axis.get_ylim()[0]))
    axis.grid(alpha=0.3)
    if len(chart.series) > 1:
        handles, names = axis.get_legend_handles_labels()
        once = dict(zip((fitted(name, _CHART_WIDTH) for name in names), handles, strict=True))
        columns = 2 if max(map(len, once)) <= _CHART_WIDTH * _LETTERS_PER_INCH / 2 else 1
        below: dict[str, Any] = {"loc": "upper center", "bbox_to_anchor": (0.5, -0.18), "frameon": False}
        axis.legend(list(once.values()), list(once), ncols=columns, fontsize=8, **below)
