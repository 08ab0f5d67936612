"""`actsr preprocess`: from raw interactions to prepared sequences."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from actsr_cli import console
from actsr_cli.commands.completion import complete_dataset, complete_preset
from actsr_cli.commands.options import AsJson, DataDir
from actsr_cli.commands.tables import print_rows
from actsr_cli.data.readers import format_names
from actsr_cli.errors import ConfigError

if TYPE_CHECKING:
    from actsr_cli.config.data import Bound
    from actsr_cli.data.report import Report
    from actsr_cli.data.sequences import SequenceData
    from actsr_cli.experiment.data import Preparation

INPUT, FILTERS = "Input", "Filters (over the preset's)"


def preprocess(
    name: Annotated[
        str,
        typer.Argument(
            metavar="NAME", help="Data set: a catalogue name or one of your own.", autocompletion=complete_dataset
        ),
    ],
    from_file: Annotated[
        Path | None,
        typer.Option(
            help="File of interactions, or folder of Parquet parts; X.train.inter reads all three files of a split. "
            "It is remembered under NAME.",
            rich_help_panel=INPUT,
        ),
    ] = None,
    items: Annotated[
        Path | None,
        typer.Option(
            help="File of titles and categories of items: CSV, Parquet or .item. It is remembered under NAME.",
            rich_help_panel=INPUT,
        ),
    ] = None,
    format_name: Annotated[
        str | None,
        typer.Option(
            "--format",
            help=f"{', '.join(format_names()[:-1])} or {format_names()[-1]}. Default: by the file's suffix.",
            rich_help_panel=INPUT,
        ),
    ] = None,
    user_column: Annotated[str | None, typer.Option(help="Column of user ids.", rich_help_panel=INPUT)] = None,
    item_column: Annotated[str | None, typer.Option(help="Column of item ids.", rich_help_panel=INPUT)] = None,
    timestamp_column: Annotated[
        str | None,
        typer.Option(help="Column of times; 'none': rows are in time order.", rich_help_panel=INPUT),
    ] = None,
    rating_column: Annotated[str | None, typer.Option(help="Column of ratings.", rich_help_panel=INPUT)] = None,
    separator: Annotated[
        str | None,
        typer.Option(help="Separator of the fields: ';', '::', '\\t', whitespace …", rich_help_panel=INPUT),
    ] = None,
    no_header: Annotated[
        bool,
        typer.Option(
            "--no-header", help="The first row holds data: columns have numbers, from 1.", rich_help_panel=INPUT
        ),
    ] = False,
    encoding: Annotated[
        str | None,
        typer.Option(help="Encoding of the text, such as latin-1. Default: UTF-8.", rich_help_panel=INPUT),
    ] = None,
    on_bad_line: Annotated[
        Literal["error", "skip"],
        typer.Option(
            help="Malformed lines: stop at the first one (error), or skip and count them (skip).", rich_help_panel=INPUT
        ),
    ] = "error",
    preset: Annotated[
        str | None,
        typer.Option(
            "--preset",
            "-p",
            help="Take the filters of this preset; none: no filters. Default: those of the last preparation if no file "
            "and no filter is given, else those of the data set's own preset.",
            autocompletion=complete_preset,
            rich_help_panel=FILTERS,
        ),
    ] = None,
    duplicates: Annotated[
        str | None,
        typer.Option(
            help="Repeated items of a user: keep all, the first or the last; equal drops rows that are equal in time, "
            "too.",
            rich_help_panel=FILTERS,
        ),
    ] = None,
    interval: Annotated[
        list[str] | None,
        typer.Option(
            help="Keep rows with COLUMN from LOW to HIGH, as COLUMN=LOW:HIGH: numbers, or dates such as "
            "2014-01-01, whose day is included. LOW or HIGH may be empty. Repeatable.",
            rich_help_panel=FILTERS,
        ),
    ] = None,
    user_core: Annotated[
        int | None, typer.Option(help="Drop users with fewer interactions.", rich_help_panel=FILTERS)
    ] = None,
    item_core: Annotated[
        int | None, typer.Option(help="Drop items with fewer interactions.", rich_help_panel=FILTERS)
    ] = None,
    max_length: Annotated[
        int | None, typer.Option(help="Keep only the latest N interactions of each user.", rich_help_panel=FILTERS)
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Prepare again even if it was done before.")] = False,
    as_json: AsJson = False,
    data_dir: DataDir = Path("dataset"),
) -> None:
    """Turn raw interactions into prepared sequences, and show what each step removed.

    Reads dataset/NAME, or any file with --from-file. The result is saved under
    a fingerprint of input and settings. A second call with the same input and
    settings only opens it; a changed file is prepared again.

    [bold]Example:[/]  actsr preprocess beauty --from-file Beauty.txt

    [bold]Example:[/]  actsr preprocess shop --from-file log.csv --user-column who
    """
    from actsr_cli import api

    columns = {
        "user": user_column,
        "item": item_column,
        "timestamp": timestamp_column,
        "rating": rating_column,
        "separator": separator,
        "header": "none" if no_header else None,
        "encoding": encoding,
    }
    prepared = api.prepare(
        name,
        from_file,
        items=items,
        format=format_name,
        columns={key: value for key, value in columns.items() if value is not None},
        preset=preset,
        settings={
            "duplicates": duplicates,
            "user_core": user_core,
            "item_core": item_core,
            "max_length": max_length,
            "intervals": _intervals(interval),
        },
        skip_bad_lines=on_bad_line == "skip",
        force=force,
        data_dir=data_dir,
    )
    if as_json:
        console.print_json(_told(prepared))
    else:
        _print(prepared)


def _intervals(texts: list[str] | None) -> dict[str, tuple[Bound | None, Bound | None]] | None:
    """`COLUMN=LOW:HIGH` options as in the config; None if there are none."""
    if not texts:
        return None
    intervals: dict[str, tuple[Bound | None, Bound | None]] = {}
    for text in texts:
        column, _, sides = text.partition("=")
        fitting = _sides(sides)
        if not column or len(fitting) != 1:
            raise ConfigError(
                f"--interval takes COLUMN=LOW:HIGH, not '{text}'", hint="LOW and HIGH are numbers, or ISO dates."
            )
        if column in intervals:
            raise ConfigError(f"--interval names '{column}' twice", hint="Give both sides at once: COLUMN=LOW:HIGH")
        intervals[column] = fitting[0]
    return intervals


def _sides(text: str) -> list[tuple[Bound | None, Bound | None]]:
    """The ways to read `LOW:HIGH`, where times of day have colons, too; a number and a date do not go together."""
    from actsr_cli.config.data import read_bound

    found = []
    for place in (place for place, letter in enumerate(text) if letter == ":"):
        try:
            low, high = (read_bound(side) if side else None for side in (text[:place], text[place + 1 :]))
        except ValueError:
            continue
        if len({type(side) for side in (low, high) if side is not None}) < 2:
            found.append((low, high))
    return found


def _told(prepared: Preparation) -> dict[str, Any]:
    """Prepared data for JSON."""
    data, report = prepared.data, prepared.report
    return {
        "dataset": data.name,
        "fingerprint": data.fingerprint,
        "folder": str(prepared.folder),
        "files": [str(file) for file in prepared.files],
        "preset": prepared.preset,
        "settings": prepared.settings.model_dump(mode="json"),
        "repeated": prepared.repeated,
        "users": data.n_users,
        "items": data.n_items,
        "interactions": data.n_interactions,
        "titles": _n_titles(data),
        **asdict(report),
    }


def _print(prepared: Preparation) -> None:
    report, data = prepared.report, prepared.data
    if prepared.left_out:
        console.note(prepared.left_out)
    for text in report.warnings:
        console.warn(text)
    _print_steps(report, data.name)
    for line in report.read_as:
        console.results.print(line, markup=False, highlight=False)
    found = (data.n_users, data.n_items, data.n_interactions)
    mean = data.n_interactions / data.n_users
    console.results.print(
        f"{found[0]:,} users / {found[1]:,} items / {found[2]:,} interactions, mean length {mean:.2f}"
    )
    if titles := _n_titles(data):
        console.results.print(f"{titles:,} of {data.n_items:,} items have a title")
    if report.parts:
        sizes = " / ".join(f"{name} {size:,}" for name, size in report.parts.items())
        console.results.print(f"Split by its files: {sizes} interactions")
    if (expected := prepared.expected) is not None:
        wanted = (expected.users, expected.items, expected.interactions)
        if found == wanted:
            console.results.print(f"As expected of {data.name}.")
        else:
            console.warn(f"{data.name} should have {wanted[0]:,} / {wanted[1]:,} / {wanted[2]:,}")
    own_folder = prepared.folder.parents[1]
    if elsewhere := [str(file) for file in prepared.files if not file.is_relative_to(own_folder)]:
        console.note(f"Input: {', '.join(elsewhere)}")
    console.note(prepared.filters)
    console.note(f"{'Prepared before' if report.cached else 'Kept'} in {prepared.folder}")


def _n_titles(data: SequenceData) -> int:
    return sum(map(bool, data.titles or ()))


def _print_steps(report: Report, name: str) -> None:
    sizes = ("users", "items", "interactions")
    rows, before = [], None
    for step in report.steps:
        counts = (step.users, step.items, step.interactions)
        if before is None:
            rows.append((step.name, *(f"{count:,}" for count in counts)))
        else:
            removed = (before.users - step.users, before.items - step.items, before.interactions - step.interactions)
            rows.append((step.name, *(f"-{count:,}" if count else "0" for count in removed)))
        before = step
    console.results.print(f"Preparing {name}", style="italic")
    print_rows(("step", *sizes), rows, right=sizes)
