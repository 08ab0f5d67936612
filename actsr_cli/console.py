"""Console output: results go to standard output, messages and progress to standard error."""

from __future__ import annotations

import json
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.progress import (
    BarColumn,
    DownloadColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeRemainingColumn,
    TransferSpeedColumn,
)

from actsr_cli.files import without_nan

results = Console(highlight=False, emoji=False)
messages = Console(stderr=True, highlight=False, emoji=False)


def be_quiet(quiet: bool) -> None:
    """Hide notes and progress if `quiet`; results, warnings and errors are still shown."""
    messages.quiet = quiet


@contextmanager
def silent(wanted: bool) -> Iterator[None]:
    """Within this context, show only errors if `wanted`, because another process shows everything else."""
    before = results.quiet, messages.quiet
    if wanted:
        results.quiet = messages.quiet = True
    try:
        yield
    finally:
        results.quiet, messages.quiet = before


def note(text: str) -> None:
    """Show a note; hidden with --quiet."""
    messages.print(escape(text), soft_wrap=True)


def print_json(values: Any) -> None:
    """Print a result as JSON; NaN becomes null."""
    results.print(json.dumps(without_nan(values), indent=2, ensure_ascii=False), markup=False, soft_wrap=True)


def warn(text: str) -> None:
    """Show a warning, also with --quiet."""
    if results.quiet:  # another process shows it
        return
    _even_if_quiet(f"[yellow]warning:[/] {escape(text)}")


def show_error(text: str, hint: str | None = None) -> None:
    """Show an error and, below it, what to do."""
    _even_if_quiet(f"[bold red]error:[/] {escape(text)}")
    if hint:
        _even_if_quiet(escape(hint))


def show_traceback() -> None:
    """Show the traceback of the exception that is being handled."""
    _even_if_quiet(escape(traceback.format_exc()))


def _even_if_quiet(markup: str) -> None:
    quiet, messages.quiet = messages.quiet, False
    try:
        messages.print(markup, soft_wrap=True)
    finally:
        messages.quiet = quiet


@contextmanager
def transfer_progress() -> Iterator[Progress]:
    """A progress bar in bytes, with speed and time left."""
    with Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        DownloadColumn(),
        TransferSpeedColumn(),
        TimeRemainingColumn(),
        console=messages,
        disable=messages.quiet or not messages.is_terminal,
    ) as progress:
        yield progress


@contextmanager
def step_progress() -> Iterator[Progress]:
    """A progress bar in steps, with time left; the task field `status` is free text at its end."""
    with Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[status]}"),
        console=messages,
        disable=messages.quiet or not messages.is_terminal,
    ) as progress:
        yield progress


@contextmanager
def working(title: str) -> Iterator[Callable[[str], None]]:
    """A spinner beside `title`; call the yielded function with a description of each step."""
    if messages.quiet or not messages.is_terminal:
        yield lambda _: None
        return
    with messages.status(title) as status:
        yield lambda step: status.update(f"{escape(title)}: {escape(step)}")
