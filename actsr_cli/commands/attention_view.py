"""Attention in the terminal: bars per history item, and tables of what was measured."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from einops import reduce
from rich.table import Table
from rich.text import Text

from actsr_cli import console
from actsr_cli.evaluation.ranking import protocol
from actsr_cli.inspection.export import place_names
from actsr_cli.inspection.faithfulness import LEAVE_ONE_OUT
from actsr_cli.inspection.views import rank_text

if TYPE_CHECKING:
    from actsr_cli.evaluation.significance import Interval
    from actsr_cli.experiment.inspect import Inspected
    from actsr_cli.inspection.faithfulness import Faithfulness
    from actsr_cli.inspection.findings import Findings
    from actsr_cli.inspection.robustness import Disturbed
    from actsr_cli.inspection.views import Subject, View

_EIGHTHS = " ▏▎▍▌▋▊▉█"


def print_view(inspected: Inspected, subject: Subject, view: View, layer: int, head: int | None) -> None:
    """One subject's history with a bar per item and stage.

    Args:
        inspected: the run.
        subject: who is looked at.
        view: by the run's model.
        layer: from 0.
        head: from 0; None takes the mean over heads.
    """
    places = place_names(view, inspected.data.display_name)
    stages = view.trace.stages
    width = console.results.width
    label = max(4, min(max(map(len, places)), width // 3))
    bar = max(3, min(24, (width - label - 8) // len(stages) - 9))  # the columns' frames and numbers beside it
    which = "mean over heads" if head is None else f"head {head + 1}"
    table = Table(pad_edge=False)
    table.add_column("", justify="right")
    table.add_column("item", no_wrap=True, width=label, overflow="ellipsis")
    for stage in stages:
        table.add_column(stage, no_wrap=True)
    rows = {stage: view.trace.last_rows(stage)[layer][0] for stage in stages}
    weights = {
        stage: (reduce(row, "h k -> k", "mean") if head is None else row[head]).cpu().tolist()
        for stage, row in rows.items()
    }
    highest = max(max(values[: len(places)]) for values in weights.values())
    for place, item in enumerate(places):
        bars = (_bar(weights[stage][place], highest, bar) for stage in stages)
        table.add_row(str(place + 1), Text(item), *bars)
    caption = f"layer {layer + 1}, {which}: what the prediction looks at, in percent of its attention"
    _print(_headline(inspected, subject, view), table, caption)
    recommended = ", ".join(
        f"{inspected.data.display_name(item)} ({probability:.1%})" for item, probability in view.recommended
    )
    console.results.print(Text(f"recommended beside the history: {recommended}"), style="dim")
    console.results.print()


def print_findings(findings: Sequence[Findings]) -> None:
    """What was measured, one run after the other."""
    for found in findings:
        _print_shares(
            f"{found.run}: how much of the history is looked at, {found.users:,} users",
            "Percent of the places, as exp(entropy) of the prediction's row; 100 would be a mean of all",
            found.effective_share,
        )
        if found.noise_mass is not None:
            _print_shares(
                f"{found.run}: attention on noise items",
                "Percent of the prediction's attention, last layer, where the next item is no noise",
                found.noise_mass.stages | {"their share of items": found.noise_mass.expected},
            )
        if found.faithfulness is not None:
            _print_faithfulness(found.run, found.faithfulness)
        if found.robustness:
            _print_robustness(found.run, found.robustness)


def _bar(weight: float, highest: float, width: int) -> Text:
    eighths = round(8 * width * weight / highest) if highest else 0
    filled = "█" * (eighths // 8) + (_EIGHTHS[eighths % 8] if eighths % 8 else "")
    return Text(f"{filled:<{width}} {100 * weight:5.1f}", style="cyan")


def _headline(inspected: Inspected, subject: Subject, view: View) -> Text:
    name = f"{inspected.run.name}: "
    if view.rank is None or view.plain_rank is None or view.probability is None:
        return Text(f"{name}a history of {len(subject.case.items)} items")
    ranks = f"rank {rank_text(view.rank)}"
    if inspected.calibrated:
        ranks += f", without calibration {rank_text(view.plain_rank)}"
    target = inspected.data.display_name(subject.case.target)
    return Text(f"{name}user {subject.label}, next: {target}\n{ranks} (protocol {protocol(inspected.seen)})")


def _print_faithfulness(run: str, found: Faithfulness) -> None:
    title = f"{run}: is the attention faithful? {found.users:,} users"
    caption = (
        f"Kendall's τ, Spearman's rho and the overlap of the {found.top_k} first items with what leaving items out "
        "says; log-probability lost while items are deleted, the first ones first (high is good), and while the first "
        "ones alone are inserted (low is good); users whose target gets likelier, and a better rank, without the first "
        "item. ± half of the 95 % bootstrap interval"
    )
    table = _table()
    table.add_column("explanation", no_wrap=True)
    for column in ("τ", "rho", f"top {found.top_k}", "delete", "insert", "likely", "rank"):
        table.add_column(column, justify="right", no_wrap=True)
    for name, explanation in found.explanations.items():
        agreement = explanation.agreement.get(LEAVE_ONE_OUT)
        compared = (None, None, None) if agreement is None else (agreement.kendall, agreement.spearman, agreement.top)
        table.add_row(
            name,
            *(_interval(each) for each in compared),
            _interval(explanation.deletion.area),
            _interval(explanation.insertion.area),
            *(f"{100 * share.mean:.0f}%" for share in explanation.without_top.values()),
        )
    _print(Text(title), table, caption)
    console.results.print()


def _print_robustness(run: str, measured: Sequence[Disturbed]) -> None:
    stages = next((list(each.injected.stages) for each in measured if each.injected is not None), [])
    caption = (
        "Hit@10 and NDCG@10 by protocol A, and with the same model's plain attention; percent of the attention on "
        "injected items at each stage, and their share of the items"
    )
    table = _table()
    for column in ("noise", "Hit", "plain", "NDCG", "plain", *stages, "items"):
        table.add_column(column, justify="left" if column == "noise" else "right", no_wrap=True)
    for each in measured:
        ranked = (each.calibrated.hit, each.plain.hit, each.calibrated.ndcg, each.plain.ndcg)
        mass = [] if each.injected is None else [*each.injected.stages.values(), each.injected.expected]
        table.add_row(
            "none" if each.kind == "none" else f"{each.kind} {each.share:g}",
            *(_short(value.mean, 4) for value in ranked),
            *(f"{100 * value.mean:.1f}" for value in mass),
        )
    _print(Text(f"{run}: noise in histories"), table, caption)
    console.results.print()


def _print_shares(title: str, caption: str, shares: Mapping[str, Interval]) -> None:
    table = _table()
    for column in shares:
        table.add_column(column, justify="right", no_wrap=True)
    table.add_row(*(f"{100 * each.mean:.1f} ± {100 * each.margin:.1f}" for each in shares.values()))
    _print(Text(title), table, caption)
    console.results.print()


def _table() -> Table:
    """A table that is narrow enough for 80 columns."""
    return Table(box=None, padding=(0, 1, 0, 0), header_style="bold underline")


def _print(title: Text, table: Table, caption: str) -> None:
    title.stylize("bold")
    for part in (title, table, Text(caption, style="dim")):
        console.results.print(part)


def _interval(value: Interval | None) -> str:
    return "" if value is None else f"{_short(value.mean, 2)}±{_short(value.margin, 2)}"


def _short(number: float, digits: int) -> str:
    """Without the 0 before the point."""
    return f"{number:.{digits}f}".replace("0.", ".", 1) if abs(number) < 1 else f"{number:.{digits}f}"
