"""Writes a comparison to files: tables as Markdown and LaTeX, all numbers as CSV, and a figure of the intervals."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd
from tabulate import tabulate

from actsr_cli.evaluation.comparison import Contender, Difference, Slice, known_mean
from actsr_cli.evaluation.metrics import Measure
from actsr_cli.evaluation.significance import Interval
from actsr_cli.experiment.compare import Comparison
from actsr_cli.files import write_text
from actsr_cli.pages.charts import fitted, save, spacious

if TYPE_CHECKING:
    from matplotlib.figure import Figure

DIFFERENCE_COLUMNS = ("", "baseline", "contender", "difference", "95 % interval", "p users", "effect", "p seeds", "")
"""Column headers of the table of differences."""


def difference_rows(differences: Sequence[Difference]) -> list[list[str]]:
    """The cells of the table of differences, in the order of `DIFFERENCE_COLUMNS`."""
    return [
        [
            titled(each.measure),
            each.measure.spread(each.of_baseline),
            each.measure.spread(each.of_contender),
            each.measure.text(each.difference.mean, "+"),
            bounds(each.measure, each.difference),
            p_value(each.users_holm),
            "" if each.users is None else f"{each.users.effect:+.3f}",
            p_value(each.seeds_holm),
            "" if each.verdict == "open" else each.verdict,
        ]
        for each in differences
    ]


def slice_columns(contenders: Sequence[Contender]) -> list[str]:
    """Column headers of the table of slices; contenders have the numbers of the legend."""
    others = range(1, len(contenders))
    return ["", "", "users", "baseline", *(f"({number})" for number in others), *(f"difference ({n})" for n in others)]


def slice_rows(measure: Measure, found: Sequence[Slice]) -> list[list[str]]:
    """The cells of the table of slices, in the order of `slice_columns`."""
    return [
        [
            each.by if index == 0 or found[index - 1].by != each.by else "",
            each.label,
            f"{each.users:,}",
            *(measure.text(mean) for mean in each.means),
            *(f"{measure.text(gap.mean, '+')} {bounds(measure, gap)}" for gap in each.differences),
        ]
        for index, each in enumerate(found)
    ]


def notes(comparison: Comparison) -> list[str]:
    """Notes to the tables: split, protocol and statistical tests."""
    over_users = sum(each.users is not None for each in comparison.differences)
    over_seeds = sum(each.seeds is not None for each in comparison.differences)
    split = {"test": "Test", "valid": "Validation"}[comparison.request.split]
    lines = [
        f"{split} split, protocol {comparison.request.protocol.title}, {comparison.users:,} users. "
        "Intervals: bootstrap over users. "
        "p users: Wilcoxon's signed-rank test, with the rank-biserial correlation as effect. p seeds: paired t-test. "
        f"p users is corrected by Holm's method over {over_users} comparisons"
        + (f", p seeds over {over_seeds}." if over_seeds else "."),
    ]
    with_seeds = {each.contender for each in comparison.differences if each.seeds is not None}
    without = [each.name for each in comparison.contenders[1:] if each.name not in with_seeds]
    if without:
        lines.append(
            f"{', '.join(without)}: fewer than two seeds in common with the baseline, "
            "so the variation between trainings is unknown."
        )
    return lines


def write_comparison(folder: Path, comparison: Comparison) -> list[Path]:
    """Write differences.csv, slices.csv, compare.md, compare.tex and intervals.png; returns their paths."""
    folder.mkdir(parents=True, exist_ok=True)
    write_text(folder / "differences.csv", _difference_table(comparison.differences).to_csv(index=False))
    write_text(folder / "slices.csv", _slice_table(comparison).to_csv(index=False))
    write_text(folder / "compare.md", _document(comparison, "github"))
    write_text(folder / "compare.tex", _document(comparison, "latex_booktabs"))
    save(intervals_figure(comparison), folder / "intervals.png")
    return [folder / name for name in ("differences.csv", "slices.csv", "compare.md", "compare.tex", "intervals.png")]


def titled(measure: Measure) -> str:
    """Name of a measure with an arrow in the better direction."""
    return f"{measure.label} {'↓' if measure.lower_is_better else '↑'}"


def bounds(measure: Measure, interval: Interval) -> str:
    """The ends of an interval; empty if there is none, as for a measure without values per user."""
    if interval.count < 2:
        return ""
    return f"[{measure.text(interval.low, '+')}, {measure.text(interval.high, '+')}]"


def p_value(p: float | None) -> str:
    """A p-value for display; empty if there was no test."""
    if p is None:
        return ""
    return "< .001" if p < 0.001 else f"{p:.3f}"


def _document(comparison: Comparison, style: str) -> str:
    """All tables in one of the formats of tabulate."""
    latex = style.startswith("latex")
    baseline = comparison.contenders[0]
    parts = []
    for index, contender in enumerate(comparison.contenders[1:], start=1):
        rows = difference_rows([each for each in comparison.differences if each.contender == contender.name])
        parts.append(f"({index}) {_runs(contender)} against the baseline {_runs(baseline)}")
        parts.append(tabulate(rows, DIFFERENCE_COLUMNS, tablefmt=style, disable_numparse=True))
    parts.append(f"{titled(comparison.sliced)} for parts of the users")
    columns = slice_columns(comparison.contenders)
    parts.append(
        tabulate(slice_rows(comparison.sliced, comparison.slices), columns, tablefmt=style, disable_numparse=True)
    )
    parts += notes(comparison)
    text = "\n\n".join(_tex(part) if latex and not part.startswith("\\begin") else part for part in parts)
    return (_tex_symbols(text) if latex else text) + "\n"


def _tex(text: str) -> str:
    """Plain text with TeX's special characters escaped."""
    return "".join(f"\\{letter}" if letter in "&%$#_{}" else letter for letter in text)


def _tex_symbols(text: str) -> str:
    for symbol, command in (("↑", r"$\uparrow$"), ("↓", r"$\downarrow$"), ("±", r"$\pm$")):
        text = text.replace(symbol, command)
    return text


def _runs(contender: Contender) -> str:
    return contender.name if len(contender.seeds) == 1 else f"{contender.name} ({len(contender.seeds)} seeds)"


def _difference_table(differences: Sequence[Difference]) -> pd.DataFrame:
    return pd.DataFrame(
        {
            "baseline": each.baseline,
            "contender": each.contender,
            "metric": each.measure.name,
            "baseline_mean": float(known_mean(each.of_baseline)),
            "contender_mean": float(known_mean(each.of_contender)),
            "baseline_runs": len(each.of_baseline),
            "contender_runs": len(each.of_contender),
            "difference": each.difference.mean,
            "low": each.difference.low,
            "high": each.difference.high,
            "p_users": None if each.users is None else each.users.p,
            "p_users_holm": each.users_holm,
            "effect_users": None if each.users is None else each.users.effect,
            "p_seeds": None if each.seeds is None else each.seeds.p,
            "p_seeds_holm": each.seeds_holm,
            "effect_seeds": None if each.seeds is None else each.seeds.effect,
            "verdict": each.verdict,
        }
        for each in differences
    )


def _slice_table(comparison: Comparison) -> pd.DataFrame:
    rows = []
    for each in comparison.slices:
        for index, contender in enumerate(comparison.contenders):
            gap = None if index == 0 else each.differences[index - 1]
            rows.append(
                {
                    "by": each.by,
                    "part": each.label,
                    "users": each.users,
                    "metric": comparison.sliced.name,
                    "contender": contender.name,
                    "mean": each.means[index],
                    "difference": None if gap is None else gap.mean,
                    "low": None if gap is None else gap.low,
                    "high": None if gap is None else gap.high,
                }
            )
    return pd.DataFrame(rows)


def intervals_figure(comparison: Comparison) -> Figure:
    """Each difference with its interval, one panel per metric, and a line at 0."""
    from matplotlib.figure import Figure

    measures = list(comparison.request.wanted)
    names = [contender.name for contender in comparison.contenders[1:]]
    labels = [fitted(name, 2.5) for name in names]
    lines = sum(label.count("\n") + 1 for label in labels)
    width = 3.2 * len(measures) + 2.5
    figure = Figure(figsize=(width, 1.7 + 0.4 * lines), layout=spacious())
    panels = figure.subplots(1, len(measures), sharey=True, squeeze=False)[0]
    for panel, measure in zip(panels, measures, strict=True):
        for each in (each for each in comparison.differences if each.measure == measure):
            height = names.index(each.contender)
            gap = each.difference
            colour = {"better": "tab:green", "worse": "tab:red", "open": "tab:gray"}[each.verdict]
            panel.plot([gap.low, gap.high], [height, height], color=colour, linewidth=2)
            panel.plot([gap.mean], [height], "o", color=colour)
        panel.axvline(0, color="black", linewidth=0.8)
        panel.set_title(titled(measure), fontsize="medium")
        panel.margins(y=0.4)
        panel.locator_params(axis="x", nbins=4)
    panels[0].set_yticks(range(len(names)), labels)
    panels[0].invert_yaxis()
    baseline = comparison.contenders[0].name
    title = f"Difference to {baseline}, 95 % intervals over users ({comparison.request.split} split)"
    figure.suptitle(fitted(title, width - 0.5), fontsize="medium")
    return figure
