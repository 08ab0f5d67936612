"""Options that several commands share."""

from __future__ import annotations

import shlex
from collections.abc import Collection
from pathlib import Path
from typing import Annotated, Literal

import typer

from actsr_cli import plugins
from actsr_cli.commands.completion import complete_dataset, complete_item, complete_model, complete_preset, complete_run
from actsr_cli.errors import ConfigError
from actsr_cli.words import shortened

WHO, MEASURED, OUTPUT, SPEED, PLACES = "Who", "What is measured", "Output", "Computation", "Where things are"
SETTINGS = "Model and settings"

LARGEST_CUTOFF = 1_000_000
"""As in `evaluation.k` of a configuration."""

DataDir = Annotated[
    Path, typer.Option("--data-dir", envvar="ACTSR_DATA", help="Root of the data sets.", rich_help_panel=PLACES)
]
RunsDir = Annotated[
    Path, typer.Option("--runs-dir", envvar="ACTSR_RUNS", help="Root of the runs.", rich_help_panel=PLACES)
]

ModelName = Annotated[
    str | None,
    typer.Option(
        "--model",
        "-m",
        help="Model, see `actsr models`: sasrec, ac-sasrec …, or package.module:Class.",
        autocompletion=complete_model,
        rich_help_panel=SETTINGS,
    ),
]
PresetName = Annotated[
    str | None,
    typer.Option(
        "--preset",
        "-p",
        help="Preset by name or file, see `actsr presets`.",
        autocompletion=complete_preset,
        rich_help_panel=SETTINGS,
    ),
]
DatasetName = Annotated[
    str | None,
    typer.Option(
        "--dataset",
        "-d",
        help="Data set; default: the preset's.",
        autocompletion=complete_dataset,
        rich_help_panel=SETTINGS,
    ),
]
ConfigFile = Annotated[
    Path | None,
    typer.Option("--config", "-c", help="YAML file of settings that override the preset.", rich_help_panel=SETTINGS),
]
Overrides = Annotated[
    list[str] | None,
    typer.Option("--set", "-s", help="Override a setting: section.key=value. Repeatable.", rich_help_panel=SETTINGS),
]

RUN_HELP = "Run: a folder, DATASET/MODEL/NAME or its end. Default: the latest finished run."
RunName = Annotated[
    str | None,
    typer.Argument(
        metavar="RUN",
        help=RUN_HELP,
        autocompletion=complete_run,
    ),
]
HistoryItems = Annotated[
    list[str] | None,
    typer.Option(
        "--history",
        help="Raw item ids of any history, oldest first, separated by blanks or commas. An id with blanks or commas "
        'goes in double quotes; or repeat the option: --history "first item" --history second.',
        rich_help_panel=WHO,
        autocompletion=complete_item,
    ),
]
Threads = Annotated[
    int | None, typer.Option(min=1, max=1_024, help="CPU threads. Default: one per core.", rich_help_panel=SPEED)
]
Device = Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:N or mps.", rich_help_panel=SPEED)]
BatchSize = Annotated[
    int | None,
    typer.Option(min=1, help="Histories scored at a time; limits memory.", rich_help_panel=SPEED),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.", rich_help_panel=OUTPUT)]


def _trust_code(wanted: bool) -> bool:
    if wanted:
        plugins.trust(plugins.EVERYTHING)
    return wanted


TrustCode = Annotated[
    bool,
    typer.Option(
        "--trust-code",
        callback=_trust_code,
        help="Import the model and loss of the run even if they are code that only the folder of the run names "
        "(package.module:Class). ACTSR_TRUST_CODE=1 does the same.",
        rich_help_panel=PLACES,
    ),
]

Split = Annotated[
    Literal["test", "valid"],
    typer.Option(
        help="Rank the targets of this split. Leave one out: the last item of each user, or the one before.",
        rich_help_panel=MEASURED,
    ),
]
SeenItems = Annotated[
    Literal["rank", "exclude", "exclude-repeats"] | None,
    typer.Option(
        help="Items of the user's own history: rank them (protocol A), exclude them (B), or exclude them and count a "
        "target that repeats one as a miss (B as published). Default: as the run was trained.",
        rich_help_panel=MEASURED,
    ),
]
CandidateItems = Annotated[
    Literal["all", "uniform", "popularity"] | None,
    typer.Option(
        help="Rank a target among the whole catalogue, or among sampled items (protocol C, for comparison with older "
        "papers only). Default: as the run was trained.",
        rich_help_panel=MEASURED,
    ),
]
NCandidates = Annotated[
    int | None,
    typer.Option(
        min=1,
        max=1_000_000,
        help="Sampled items per target, with --candidates uniform or popularity.",
        rich_help_panel=MEASURED,
    ),
]


def listed(text: str) -> list[str]:
    """The names in an option, separated by commas."""
    return [name.strip() for name in text.split(",")]


def cutoffs(text: str) -> list[int]:
    """The cut-offs in an option, separated by commas, in their order.

    Raises:
        ConfigError: they are not positive whole numbers.
    """
    try:
        found = sorted({int(part) for part in text.split(",")})
    except ValueError:
        found = [0]
    if found[0] < 1 or found[-1] > LARGEST_CUTOFF:
        raise ConfigError(
            f"--k takes positive whole numbers separated by commas, not '{shortened(text)}'",
            hint=None if found[0] < 1 else f"The largest cut-off is {LARGEST_CUTOFF}.",
        )
    return found


def history_items(texts: list[str], known: Collection[str]) -> list[str]:
    """The raw item ids in `--history`, separated by blanks or commas; double quotes keep an id together.

    If the option is repeated, each of its texts is one id.

    Args:
        texts: the values of the option, at least one.
        known: the raw ids of the catalogue.

    Raises:
        ConfigError: a quote is not closed, or a single text can be read in two ways.
    """
    if len(texts) > 1:
        return texts
    text = texts[0]
    try:
        items = _words(text)
    except ValueError:
        if text in known:
            return [text]
        raise ConfigError(
            f"--history has a double quote that is not closed: {text}",
            hint="Repeat --history for each item: each text is then one id.",
        ) from None
    if items == [text] or text not in known:
        return items
    if len(items) > 1:
        raise ConfigError(
            f"--history '{text}' can be read as one item or as {len(items)} items",
            hint=f"""One item: --history '"{text}"'. Several: repeat --history.""",
        )
    if items and items[0] in known:
        raise ConfigError(
            f"--history '{text}' can be read as the item {text} or as the item {items[0]}",
            hint="Give it with other items of the history: if --history is repeated, each text is one id.",
        )
    return [text]


def _words(text: str) -> list[str]:
    """The parts of a text between blanks and commas that are not in double quotes; ValueError: one is not closed."""
    words = shlex.shlex(text, posix=True)
    words.whitespace, words.quotes, words.escape, words.commenters = " \t\n,", '"', "", ""
    words.whitespace_split = True
    return list(words)
