"""`actsr preprocess`: from raw interactions to prepared sequences."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from actsr_cli import console
from actsr_cli.commands.download import complete_dataset
from actsr_cli.commands.options import DataDir, complete_preset
from actsr_cli.data.readers import Columns, format_names
from actsr_cli.errors import ConfigError

if TYPE_CHECKING:
    from actsr_cli.data.catalog import Counts
    from actsr_cli.data.prepare import Prepared
    from actsr_cli.data.report import Report, Step

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
            help="Read this file, or all three of a split: X.train.inter. It is remembered under NAME.",
            rich_help_panel=INPUT,
        ),
    ] = None,
    format_name: Annotated[
        str | None,
        typer.Option(
            "--format",
            help=f"{', '.join(format_names()[:-1])} or {format_names()[-1]}; default: by the file's suffix.",
            rich_help_panel=INPUT,
        ),
    ] = None,
    user_column: Annotated[str | None, typer.Option(help="Column of user ids.", rich_help_panel=INPUT)] = None,
    item_column: Annotated[str | None, typer.Option(help="Column of item ids.", rich_help_panel=INPUT)] = None,
    timestamp_column: Annotated[
        str | None,
        typer.Option(help="Column of times; 'none': rows are in order of time.", rich_help_panel=INPUT),
    ] = None,
    rating_column: Annotated[str | None, typer.Option(help="Column of ratings.", rich_help_panel=INPUT)] = None,
    separator: Annotated[str | None, typer.Option(help="Between the fields of a CSV.", rich_help_panel=INPUT)] = None,
    on_bad_line: Annotated[
        Literal["error", "skip"],
        typer.Option(help="error: stop at a malformed line; skip: count it.", rich_help_panel=INPUT),
    ] = "error",
    preset: Annotated[
        str | None,
        typer.Option(
            "--preset",
            "-p",
            help="Take the filters of this preset. Default: the data set's own preset.",
            autocompletion=complete_preset,
            rich_help_panel=FILTERS,
        ),
    ] = None,
    duplicates: Annotated[
        str | None,
        typer.Option(help="Of a user's repeated items: first, last or keep.", rich_help_panel=FILTERS),
    ] = None,
    interval: Annotated[
        list[str] | None,
        typer.Option(help="COLUMN=LOW:HIGH to keep, a side may be empty; repeatable.", rich_help_panel=FILTERS),
    ] = None,
    user_core: Annotated[
        int | None, typer.Option(help="Fewest interactions of a user.", rich_help_panel=FILTERS)
    ] = None,
    item_core: Annotated[
        int | None, typer.Option(help="Fewest interactions of an item.", rich_help_panel=FILTERS)
    ] = None,
    max_length: Annotated[
        int | None, typer.Option(help="Keep only the latest N interactions of each user.", rich_help_panel=FILTERS)
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Prepare again even if it was done before.")] = False,
    data_dir: DataDir = Path("dataset"),
) -> None:
    """Turn raw interactions into prepared sequences, and say what each step removed.

    Reads dataset/NAME, or any file with --from-file. What is prepared is
    kept under a fingerprint of input and settings: a second call is instant,
    and a changed file is noticed.

    [bold]Example:[/]  actsr preprocess beauty --from-file Beauty.txt

    [bold]Example:[/]  actsr preprocess shop --from-file log.csv --user-column who
    """
    from actsr_cli.data.catalog import known
    from actsr_cli.data.prepare import prepare
    from actsr_cli.data.sources import find_source, source_from_file
    from actsr_cli.experiment.data import fitting
    from actsr_cli.presets import resolve

    columns = Columns(
        user=user_column, item=item_column, timestamp=timestamp_column, rating=rating_column, separator=separator
    )
    if from_file is not None:
        source = source_from_file(data_dir, name, from_file, format_name, columns)
    else:
        _need_a_file({"--format": format_name, **{f"--{k}-column": v for k, v in columns.model_dump().items()}})
        source = find_source(data_dir, name)
    options: dict[str, Any] = {
        "data.duplicates": duplicates,
        "data.user_core": user_core,
        "data.item_core": item_core,
        "data.max_length": max_length,
        "data.intervals": _intervals(interval),
    }
    own = preset or _preset_of(name)
    resolved = resolve(preset=own, options=options)
    settings, left_out = fitting(resolved.config.data, source, resolved)
    if left_out:
        console.note(left_out)
    with console.working(f"Preparing {name}") as say:
        prepared = prepare(source, settings, on_bad_line=on_bad_line, force=force, on_step=say)
    if from_file is not None:
        source.register()
    entry = known(name)
    as_published = own == _preset_of(name) and all(value is None for value in options.values()) and not left_out
    _show(prepared, own, entry.expected if entry is not None and as_published else None)


def _preset_of(name: str) -> str | None:
    """The preset made for a data set under any of its names."""
    from actsr_cli.data.catalog import all_names
    from actsr_cli.presets import preset_for

    return preset_for(*all_names(name))


def _need_a_file(given: dict[str, str | None]) -> None:
    for option, value in given.items():
        if value is not None:
            raise ConfigError(f"{option.replace('separator-column', 'separator')} says how to read --from-file FILE")


def _intervals(texts: list[str] | None) -> dict[str, tuple[float | None, float | None]] | None:
    """`COLUMN=LOW:HIGH` options as the config has them; None where there are none."""
    if not texts:
        return None
    intervals: dict[str, tuple[float | None, float | None]] = {}
    for text in texts:
        column, _, sides = text.partition("=")
        low, colon, high = sides.partition(":")
        try:
            if not column or not colon:
                raise ValueError(text)
            if column in intervals:
                raise ConfigError(f"--interval names '{column}' twice", hint="Give both sides at once: COLUMN=LOW:HIGH")
            intervals[column] = (float(low) if low else None, float(high) if high else None)
        except ValueError:
            raise ConfigError(f"--interval takes COLUMN=LOW:HIGH, not '{text}'") from None
    return intervals


def _show(prepared: Prepared, preset: str | None, expected: Counts | None) -> None:
    report, data = prepared.report, prepared.data
    warn_of_input(report)
    console.results.print(_steps_table(report, data.name))
    found = (data.n_users, data.n_items, data.n_interactions)
    mean = data.n_interactions / data.n_users
    console.results.print(
        f"{found[0]:,} users / {found[1]:,} items / {found[2]:,} interactions, mean length {mean:.2f}"
    )
    if report.parts:
        sizes = " / ".join(f"{name} {size:,}" for name, size in report.parts.items())
        console.results.print(f"As split in files: {sizes} interactions")
    if expected is not None:
        wanted = (expected.users, expected.items, expected.interactions)
        if found == wanted:
            console.results.print(f"As expected of {data.name}.")
        else:
            console.warn(f"{data.name} is expected to have {wanted[0]:,} / {wanted[1]:,} / {wanted[2]:,}")
    filters = f"filters of preset {preset}" if preset else "no preset"
    console.note(f"{'Prepared before' if report.cached else 'Kept'} in {prepared.folder} ({filters})")


def warn_of_input(report: Report) -> None:
    """Say what one should know of the input."""
    if report.note:
        console.warn(report.note)
    if report.bad_lines:
        console.warn(f"{report.bad_lines:,} malformed lines passed over, such as {report.bad_examples[0]}")


def _steps_table(report: Report, name: str) -> Any:
    from rich.table import Table

    table = Table(title=f"Preparing {name}", title_justify="left")
    table.add_column("step")
    for title in ("users", "items", "interactions"):
        table.add_column(title, justify="right")
    before: Step | None = None
    for step in report.steps:
        counts = (step.users, step.items, step.interactions)
        if before is None:
            table.add_row(step.name, *(f"{count:,}" for count in counts))
        else:
            removed = (before.users - step.users, before.items - step.items, before.interactions - step.interactions)
            table.add_row(step.name, *(f"-{count:,}" if count else "0" for count in removed))
        before = step
    return table
