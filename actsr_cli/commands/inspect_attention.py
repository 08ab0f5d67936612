"""`actsr inspect-attention`: see the attention of a run stage by stage, and test whether it is true."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from actsr_cli import console
from actsr_cli.commands.options import DataDir, RunsDir
from actsr_cli.errors import ConfigError, RunError

if TYPE_CHECKING:
    from actsr_cli.experiment.inspect import Inspected
    from actsr_cli.inspection.findings import Findings
    from actsr_cli.inspection.views import Subject, View

WHO, WHAT, OUTPUT = "Whose attention", "What is measured", "Output"
_USERS_WITHOUT_A_WORD = 3


def inspect_attention(
    run: Annotated[
        str | None,
        typer.Argument(metavar="RUN", help="Run: a folder, DATASET/MODEL/NAME or its end. Default: the latest."),
    ] = None,
    user: Annotated[
        list[str] | None, typer.Option(help="A user by its raw id; may be repeated.", rich_help_panel=WHO)
    ] = None,
    random: Annotated[
        int | None, typer.Option(min=1, help="So many users at random. Default: 3.", rich_help_panel=WHO)
    ] = None,
    improved: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="Users whose target's rank the calibration improves by the largest factor.",
            rich_help_panel=WHO,
        ),
    ] = None,
    worsened: Annotated[
        int | None, typer.Option(min=1, help="Those whose rank it worsens most.", rich_help_panel=WHO)
    ] = None,
    history: Annotated[
        str | None, typer.Option(help="A history of your own: raw item ids in time order.", rich_help_panel=WHO)
    ] = None,
    target: Annotated[
        str | None, typer.Option(help="The item that comes after --history.", rich_help_panel=WHO)
    ] = None,
    split: Annotated[
        Literal["test", "valid"], typer.Option(help="Whose last items are the targets.", rich_help_panel=WHO)
    ] = "test",
    against: Annotated[
        str | None,
        typer.Option(metavar="RUN", help="Another run on the same data, side by side.", rich_help_panel=WHAT),
    ] = None,
    faithfulness: Annotated[
        bool,
        typer.Option(
            "--faithfulness", help="Hold the attention against what predictions rest on.", rich_help_panel=WHAT
        ),
    ] = False,
    noise: Annotated[
        str | None,
        typer.Option(
            help="Shares of noise put into histories, such as 0.1,0.2,0.3: items inserted, shuffled, dropped.",
            rich_help_panel=WHAT,
        ),
    ] = None,
    sample: Annotated[
        int, typer.Option(min=1, help="Users over whom is measured, at most.", rich_help_panel=WHAT)
    ] = 1000,
    seed: Annotated[int, typer.Option(min=0, help="Of every random choice.", rich_help_panel=WHAT)] = 0,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:N or mps.", rich_help_panel=WHAT)] = "auto",
    layer: Annotated[
        str, typer.Option(help="Layer of the bars: a number from 1, last, or all.", rich_help_panel=OUTPUT)
    ] = "last",
    head: Annotated[
        str, typer.Option(help="Head of the bars: a number from 1, mean, or all.", rich_help_panel=OUTPUT)
    ] = "mean",
    output: Annotated[
        Path | None,
        typer.Option(
            help="Folder for report.html, pictures, CSV, JSON and npz of every tensor, and what was measured.",
            rich_help_panel=OUTPUT,
        ),
    ] = None,
    data_dir: DataDir = Path("dataset"),
    runs_dir: RunsDir = Path("runs"),
) -> None:
    """Show what a run's attention looks at, stage by stage, and test whether that is what its predictions rest on.

    Stages are the plain attention, after the spatial calibrator, the
    adversarial mask (small where attention matters), and calibrated.

    [bold]Example:[/]  actsr inspect-attention --improved 5 --output looks

    [bold]Example:[/]  actsr inspect-attention --faithfulness --against sasrec/plain

    [bold]Example:[/]  actsr inspect-attention --history "B004756YJA B004ZT0SSG" --noise 0.1,0.3
    """
    from actsr_cli.experiment.data import data_of
    from actsr_cli.experiment.find import find_run
    from actsr_cli.experiment.inspect import look, open_for_inspection

    shares = _shares(noise)
    if target is not None and history is None:
        raise ConfigError("--target belongs to --history: a user's own next item is known")
    found = find_run(runs_dir, run)
    opened = [open_for_inspection(found, data_of(found, data_dir).data, device)]
    if against is not None:
        other = find_run(runs_dir, against)
        if other.record.fingerprint != found.record.fingerprint:
            raise RunError(f"{other.name} was trained on other data than {found.name}: they cannot be compared")
        opened.append(open_for_inspection(other, opened[0].data, device))
    subjects = _subjects(opened[0], split, user, random, improved, worsened, history, target, seed)
    views = [look(inspected, subjects) for inspected in opened]
    for index, subject in enumerate(subjects):
        for inspected, seen in zip(opened, views, strict=True):
            _print_bars(inspected, subject, seen[index], layer, head)
    wanted = bool(output or faithfulness or shares)
    findings = _measured(opened, split, sample, seed, faithfulness, shares) if wanted else []
    if output is not None:
        _write(output, opened, subjects, views, findings)


def _subjects(
    inspected: Inspected,
    split: Literal["test", "valid"],
    user: list[str] | None,
    random: int | None,
    improved: int | None,
    worsened: int | None,
    history: str | None,
    target: str | None,
    seed: int,
) -> list[Subject]:
    from actsr_cli.inspection.views import moved_users, random_users, raw_history, users_called

    data = inspected.data
    subjects = users_called(data, split, user) if user else []
    if history is not None:
        subjects.append(raw_history(data, history, target))
    for count, upwards in ((improved, True), (worsened, False)):
        if count is not None:
            subjects += moved_users(
                inspected.model,
                data,
                split,
                count,
                improved=upwards,
                device=inspected.device,
                seen=inspected.seen,
                batch_size=inspected.run.config.evaluation.batch_size,
            )
    asked = bool(user or history is not None or improved or worsened)
    if random is not None or not asked:
        subjects += random_users(data, split, random or _USERS_WITHOUT_A_WORD, seed)
    return list({(each.label, each.case.user): each for each in subjects}.values())


def _print_bars(inspected: Inspected, subject: Subject, view: View, layer: str, head: str) -> None:
    from actsr_cli.commands.attention_view import print_view

    layers = len(view.trace.layers)
    for chosen in _chosen("--layer", layer, layers, {"last": [layers - 1]}):
        heads = view.trace.layers[chosen or 0].combined.shape[1]
        for which in _chosen("--head", head, heads, {"mean": [None]}):
            print_view(inspected, subject, view, chosen or 0, which)


def _chosen(option: str, text: str, count: int, words: dict[str, list[int | None]]) -> list[int | None]:
    """Indices from 0 for a number from 1, for `all`, or for an option's own words."""
    if text in words:
        return words[text]
    if text == "all":
        return list(range(count))
    if text.isdecimal() and 1 <= int(text) <= count:
        return [int(text) - 1]
    raise ConfigError(f"{option} takes a number from 1 to {count}, {' or '.join([*words, 'all'])}, not '{text}'")


def _shares(noise: str | None) -> list[float]:
    if noise is None:
        return []
    try:
        shares = sorted({float(part) for part in noise.split(",")})
    except ValueError:
        shares = [0.0]
    if not all(0 < share <= 1 for share in shares):
        raise ConfigError(f"--noise takes shares above 0 and up to 1, separated by commas, not '{noise}'")
    return shares


def _measured(
    opened: list[Inspected],
    split: Literal["test", "valid"],
    sample: int,
    seed: int,
    faithfulness: bool,
    shares: list[float],
) -> list[Findings]:
    from actsr_cli.commands.attention_view import print_findings
    from actsr_cli.experiment.inspect import measure

    findings = []
    for inspected in opened:
        with console.working(f"measuring {inspected.run.name}") as say:
            findings.append(
                measure(
                    inspected,
                    split,
                    sample=sample,
                    seed=seed,
                    with_faithfulness=faithfulness,
                    noise=shares,
                    on_step=say,
                )
            )
    print_findings(findings)
    return findings


def _write(
    folder: Path,
    opened: list[Inspected],
    subjects: list[Subject],
    views: list[list[View]],
    findings: list[Findings],
) -> None:
    """Everything that was seen and measured, as files."""
    from actsr_cli.evaluation.ranking import protocol
    from actsr_cli.files import write_text
    from actsr_cli.inspection.export import folder_names, write_view
    from actsr_cli.inspection.figures import faithfulness_figure, heat_maps, robustness_figure, save
    from actsr_cli.inspection.report import ReportedRun, report_page

    for number, (inspected, seen) in enumerate(zip(opened, views, strict=True)):
        place = folder / ("users" if number == 0 else "against")
        for name, subject, view in zip(folder_names(subjects), subjects, seen, strict=True):
            write_view(place / name, subject, view, inspected.data.display_name)
            save(heat_maps(subject, view, inspected.data.display_name), place / name / "attention.png")
    faithful = [(found.run, found.faithfulness) for found in findings if found.faithfulness is not None]
    if faithful:
        save(faithfulness_figure(faithful), folder / "faithfulness.png")
    if any(found.robustness for found in findings):
        save(robustness_figure([(found.run, found.robustness) for found in findings]), folder / "robustness.png")
    seen_by = [
        ReportedRun(inspected.run.name, inspected.calibrated, seen, found)
        for inspected, seen, found in zip(opened, views, findings, strict=True)
    ]
    data = opened[0].data
    about = (
        f"{data.name}: {data.n_users:,} users, {data.n_items:,} items. Ranks by protocol {protocol(opened[0].seen)}."
    )
    write_text(folder / "report.html", report_page(data.name, about, subjects, seen_by, data.display_name))
    record = [asdict(found) for found in findings]
    write_text(folder / "measured.json", json.dumps(record, default=_plain, indent=1) + "\n")
    console.note(f"{len(subjects)} histories and what was measured: open {folder / 'report.html'}")


def _plain(value: Any) -> Any:
    return value.tolist()  # arrays
