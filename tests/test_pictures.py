"""Pictures: nothing is cut off, and titles and legends cover nothing."""

from __future__ import annotations

import itertools
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.image import imread
from matplotlib.text import Text
from matplotlib.transforms import Bbox
from tracing import model

from actsr_cli.inspection.answers import Case
from actsr_cli.inspection.figures import heat_maps
from actsr_cli.inspection.views import Subject, view
from actsr_cli.pages.charts import Chart, Series, bar_figure, chart_figure, save

LONG = "a-data-set/ac-bert4rec/a-rather-long-name-of-a-run"
LINE = [(0.0, 0.4), (0.5, 0.3), (1.0, 0.1)]


def texts(figure: Figure) -> list[Text]:
    """All texts of a drawn picture that can be seen."""
    FigureCanvasAgg(figure).draw()  # type: ignore[no-untyped-call]
    return [each for each in figure.findobj(Text) if each.get_visible() and each.get_text().strip()]


def cut_off(figure: Figure) -> bool:
    """Whether anything that can be seen reaches over the edge of the picture."""
    texts(figure)
    needed, there = figure.get_tightbbox(), figure.bbox_inches
    near = 0.01  # of an inch
    beside = needed.x0 < there.x0 - near or needed.x1 > there.x1 + near
    return bool(beside or needed.y0 < there.y0 - near or needed.y1 > there.y1 + near)


def covered(figure: Figure) -> list[tuple[str, str]]:
    """Pairs of a title or legend and another one, or the inside of axes, that overlap."""
    texts(figure)
    marks: list[tuple[str, Bbox]] = [("title", axis.title.get_window_extent()) for axis in figure.axes]
    legends = [axis.get_legend() for axis in figure.axes]
    marks += [("legend", legend.get_window_extent()) for legend in legends if legend is not None]
    marks += [("inside", axis.get_window_extent()) for axis in figure.axes]
    marks += [("label", axis.xaxis.label.get_window_extent()) for axis in figure.axes]
    return [(a, b) for (a, first), (b, second) in itertools.combinations(marks, 2) if _overlap(first, second)]


def _overlap(first: Bbox, second: Bbox) -> bool:
    both = Bbox.intersection(first, second)
    return both is not None and both.width > 1 and both.height > 1


@pytest.mark.parametrize("columns", [1, 2, 3])
def test_long_names_in_charts(columns: int) -> None:
    series = [Series(f"{LONG} {number}", LINE, band=[(x, y - 0.1, y + 0.1) for x, y in LINE]) for number in range(3)]
    series += [Series(f"trial {number}", LINE, quiet=True) for number in range(9)]
    charts = [
        Chart(f"{LONG}: deletion", "share of items removed, most important first", "lost (higher is better)", series),
        Chart("values", "epoch", "ndcg@10", [Series("short", LINE), Series("other", LINE, look="dashed")], "whole"),
        Chart(
            "names",
            "training.schedule",
            "ndcg@10",
            [Series("finished", LINE[:1])],
            "names",
            ["a long name of a value"] * 3,
        ),
    ]
    figure = chart_figure(charts, columns)
    assert not cut_off(figure) and covered(figure) == []
    legend = figure.axes[0].get_legend()
    assert legend is not None and len(legend.get_texts()) == 4  # three runs, and the others


def test_bars_have_their_names_and_shares(tmp_path: Path) -> None:
    figure = bar_figure(
        "Importance", f"share of the variance of ndcg@10 ({LONG})", [(f"training.{LONG}", 0.99), ("model.layers", 0.01)]
    )
    assert not cut_off(figure) and covered(figure) == []
    assert {"99%", "1%", "model.layers"} <= {each.get_text() for each in texts(figure)}
    save(figure, tmp_path / "new" / "bars.png")
    assert imread(tmp_path / "new" / "bars.png").shape[2] == 4


@pytest.mark.parametrize("calibration", ["none", "full"])
def test_long_titles_of_items_in_maps(calibration: str) -> None:
    looked_at = model(calibration=calibration).eval()
    case = Case(np.array([3, 1, 4, 1, 5]), 9)
    seen = view(looked_at, case, device=torch.device("cpu"))
    figure = heat_maps(Subject("a-user-with-a-long-name", case), seen, lambda item: f"{LONG}, item {item} of its kind")
    assert not cut_off(figure) and covered(figure) == []


def test_letters_that_the_font_lacks_are_boxes_and_no_warnings(tmp_path: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        save(bar_figure("日本", "share", [("本", 0.5)]), tmp_path / "bars.png")
    assert imread(tmp_path / "bars.png").ndim == 3
