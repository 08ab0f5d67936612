"""The measurements as tables, which the terminal, the report and the files all show."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from actsr_cli.evaluation.significance import Interval
from actsr_cli.inspection.answers import PROTOCOL
from actsr_cli.inspection.faithfulness import LEAVE_ONE_OUT, Faithfulness
from actsr_cli.inspection.findings import Findings
from actsr_cli.inspection.robustness import Disturbed, Mass


@dataclass(frozen=True)
class Table:
    """A table for people; it fits into 80 columns.

    Attributes:
        name: the kind of table, the same for every run; also its file name.
        run: the run that was measured.
        title: a line above the table, which names the run.
        note: what the columns mean.
        columns: the column headers. The first column names the rows.
        rows: rows of formatted cells.
    """

    name: str
    run: str
    title: str
    note: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


def findings_tables(found: Findings) -> list[Table]:
    """The tables of all measurements of one run."""
    tables = [_looked_at(found)]
    if found.filter_shares:
        tables.append(_filters(found))
    if found.noise_mass is not None:
        tables.append(_noise_items(found.run, found.noise_mass))
    if found.faithfulness is not None:
        tables.append(_faithfulness(found.run, found.faithfulness))
    if found.robustness:
        tables.append(_robustness(found))
    injected = [(_label(each), each.injected) for each in found.robustness if each.injected is not None]
    if injected:
        tables.append(_injected(found.run, injected))
    return tables


def _looked_at(found: Findings) -> Table:
    return Table(
        name="looked-at",
        run=found.run,
        title=f"{found.run}: effective share of the history, {found.users:,} users",
        note=(
            "exp(entropy) of the predicting position's attention, divided by the number of positions; last layer. "
            "Uniform attention has 100%. ± is half of the 95% bootstrap interval over users, here and below."
        ),
        columns=("share of", *found.effective_share),
        rows=(("positions", *map(_percent, found.effective_share.values())),),
    )


def _filters(found: Findings) -> Table:
    return Table(
        name="filters",
        run=found.run,
        title=f"{found.run}: filter and attention",
        note=(
            "Learned shares in the values that a layer adds to its input. The filter reads the latest items whatever "
            "the attention is, so the attention alone explains less of the prediction."
        ),
        columns=("layer", "filter", "attention"),
        rows=tuple(
            (str(layer), f"{100 * share:.1f}%", f"{100 * (1 - share):.1f}%")
            for layer, share in enumerate(found.filter_shares, 1)
        ),
    )


def _noise_items(run: str, mass: Mass) -> Table:
    return Table(
        name="noise-items",
        run=run,
        title=f"{run}: attention on noise items",
        note=(
            "Share of the predicting position's attention on known noise items, last layer, over users whose target is "
            "not noise; items: their share of all positions."
        ),
        columns=("share of", *mass.stages, "items"),
        rows=(_mass_row("attention", mass),),
    )


def _faithfulness(run: str, found: Faithfulness) -> Table:
    item, rows = "recommended item" if found.explain == "recommended" else "target", []
    for name, explanation in found.explanations.items():
        agreement = explanation.agreement.get(LEAVE_ONE_OUT)
        compared = (None, None, None) if agreement is None else (agreement.kendall, agreement.spearman, agreement.top)
        areas = (explanation.deletion.area, explanation.insertion.area)
        without_top = (_percent(share, 0) for share in explanation.without_top.values())
        rows.append((name, *(_number(value, 2) for value in (*compared, *areas)), *without_top))
    return Table(
        name="faithfulness",
        run=run,
        title=f"{run}: is the attention faithful? {found.users:,} users, score of the {item}",
        note=(
            f"τ, rho, top {found.top_k}: Kendall's and Spearman's correlation and overlap of the top {found.top_k} "
            f"items with leave-one-out importance. delete: log-probability of the {item} lost when items are removed, "
            "most important first (higher is better). insert: the same when only the most important items are kept "
            f"(lower is better). likely, rank: users whose {item} gets likelier, or a better rank, without the top "
            f"item (protocol {PROTOCOL.title})."
        ),
        columns=("explanation", "τ", "rho", f"top {found.top_k}", "delete", "insert", "likely", "rank"),
        rows=tuple(rows),
    )


def _robustness(found: Findings) -> Table:
    rows = []
    for each in found.robustness:
        values = (each.calibrated.hit, each.plain.hit, each.calibrated.ndcg, each.plain.ndcg)
        rows.append((_label(each), f"{each.changed:,}", *(_number(value, 4) for value in values)))
    return Table(
        name="robustness",
        run=found.run,
        title=f"{found.run}: noise in histories, {found.users:,} users",
        note=(
            f"Protocol {PROTOCOL.title}. changed: histories that the noise changed; the share of their items holds on "
            "average. plain: the same model with plain attention, that is without its calibrators."
        ),
        columns=("noise", "changed", "Hit@10", "Hit@10 plain", "NDCG@10", "NDCG@10 plain"),
        rows=tuple(rows),
    )


def _injected(run: str, masses: Sequence[tuple[str, Mass]]) -> Table:
    return Table(
        name="injected-items",
        run=run,
        title=f"{run}: attention on injected items",
        note=(
            "Share of the predicting position's attention on randomly inserted items, last layer; items: their share "
            "of the history."
        ),
        columns=("noise", *masses[0][1].stages, "items"),
        rows=tuple(_mass_row(label, mass) for label, mass in masses),
    )


def _mass_row(label: str, mass: Mass) -> tuple[str, ...]:
    return (label, *(_percent(value) for value in (*mass.stages.values(), mass.expected)))


def _label(disturbed: Disturbed) -> str:
    return "none" if disturbed.kind == "none" else f"{disturbed.kind} {disturbed.share:g}"


def _number(value: Interval | None, digits: int) -> str:
    """A mean and half of its interval, without leading zeros: .48±.03."""
    return "" if value is None else f"{_short(value.mean, digits)}±{_short(value.margin, digits)}"


def _percent(value: Interval, digits: int = 1) -> str:
    return f"{100 * value.mean:.{digits}f}±{100 * value.margin:.{digits}f}%"


def _short(number: float, digits: int) -> str:
    text = f"{number:z.{digits}f}"  # z: no minus before a zero
    return text.replace("0.", ".", 1) if abs(number) < 1 else text
