"""Where actsr speaks: results go to standard output, messages and progress to standard error.

`results` and `messages` are rich consoles. They are made when they are first used: rich takes its time, and some
commands print plain text only.
"""

from __future__ import annotations

import json
import logging
import sys
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from typing import TYPE_CHECKING, Any

import typer

from actsr_cli.files import without_nan
from actsr_cli.words import visible

if TYPE_CHECKING:
    from rich.console import Console
    from rich.progress import Progress

    results: Console
    messages: Console


def _console(**settings: Any) -> Console:
    """A console that prints texts as they are: no markup, no emoji, and nothing that a terminal would act on."""
    from rich.console import Console, ConsoleOptions, RenderableType
    from rich.segment import Segment

    class Escaping(Console):
        def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterator[Segment]:
            for each in super().render(renderable, options):
                yield each if each.control else Segment(visible(each.text, keep=_LINES), each.style)

    return Escaping(highlight=False, emoji=False, markup=False, **settings)


@cache
def _results() -> Console:
    return _console()


@cache
def _messages() -> Console:
    return _console(stderr=True, quiet=_quiet)


_LINES = "\n"
"""What stays in messages and results of several lines."""
_quiet = False
"""Whether `messages` is quiet, for as long as it has not been made."""


def __getattr__(name: str) -> Console:
    """`results` and `messages`."""
    if name == "results":
        return _results()
    if name == "messages":
        return _messages()
    raise AttributeError(f"module {__name__} has no attribute {name}")


def be_quiet(quiet: bool) -> None:
    """Print no notes and no progress; results, warnings and errors stay."""
    global _quiet
    _quiet = quiet
    if _messages.cache_info().currsize:
        _messages().quiet = quiet


@contextmanager
def silent(wanted: bool) -> Iterator[None]:
    """Within this context, if `wanted`, print nothing but errors: another process prints for this one."""
    results, messages = _results(), _messages()
    before = results.quiet, messages.quiet
    if wanted:
        results.quiet = messages.quiet = True
    try:
        yield
    finally:
        results.quiet, messages.quiet = before


def on_terminal() -> bool:
    """Whether results go to a terminal; elsewhere, such as into a pipe, each is a line that nothing wraps or cuts."""
    return sys.stdout.isatty()


def echo(text: str) -> None:
    """Print a result, of one or more lines, without markup; what a terminal would act on is escaped."""
    _echo(visible(text, keep=_LINES))


def _echo(text: str) -> None:
    if not (_results.cache_info().currsize and _results().quiet):  # else another process prints it
        typer.echo(text)


def print_json(values: Any) -> None:
    """Print values as JSON, indented; NaN becomes null, and no number is rounded."""
    text = json.dumps(without_nan(values), indent=2, ensure_ascii=False, allow_nan=False)
    _echo("".join(each if each.isprintable() or each == "\n" else json.dumps(each)[1:-1] for each in text))


def note(text: str) -> None:
    """Print a note; hidden with --quiet."""
    if _messages.cache_info().currsize:  # a progress bar may be drawn, above which it is printed
        _messages().print(text, soft_wrap=True)
    elif not _quiet:
        typer.echo(visible(text, keep=_LINES), err=True)


class _Notes(logging.Handler):
    """Prints what packages that do not print themselves have logged."""

    def emit(self, record: logging.LogRecord) -> None:
        (warn if record.levelno >= logging.WARNING else note)(record.getMessage())


_log = logging.getLogger("actsr")
_log.addHandler(_Notes())
_log.setLevel(logging.INFO)


def warn(text: str) -> None:
    """Warn; --quiet does not silence it."""
    if not _results().quiet:  # else another process prints it
        _even_if_quiet(text, ("warning:", "yellow"))


def show_error(text: str, hint: str | None = None) -> None:
    """Print an error and, below it, what to do."""
    _even_if_quiet(text, ("error:", "bold red"))
    if hint:
        _even_if_quiet(hint)


def show_traceback() -> None:
    """Print the traceback of the exception that is being handled."""
    _even_if_quiet(traceback.format_exc())


def _even_if_quiet(text: str, label: tuple[str, str] | None = None) -> None:
    """Print a message; a label with its style comes first."""
    from rich.text import Text

    messages = _messages()
    quiet, messages.quiet = messages.quiet, False
    try:
        messages.print(Text.assemble(label, " ", text) if label else text, soft_wrap=True)
    finally:
        messages.quiet = quiet


@contextmanager
def transfer_progress() -> Iterator[Progress]:
    """A progress bar in bytes, with speed and time left."""
    from rich.progress import (
        BarColumn,
        DownloadColumn,
        Progress,
        TextColumn,
        TimeRemainingColumn,
        TransferSpeedColumn,
    )

    messages = _messages()
    with Progress(
        TextColumn("{task.description}", markup=False),
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
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    messages = _messages()
    with Progress(
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[status]}", markup=False),
        console=messages,
        disable=messages.quiet or not messages.is_terminal,
    ) as progress:
        yield progress


@contextmanager
def working(title: str) -> Iterator[Callable[[str], None]]:
    """A spinner beside `title`; call what is yielded to show the current step."""
    from rich.markup import escape

    messages = _messages()
    if messages.quiet or not messages.is_terminal:
        yield lambda _: None
        return
    with messages.status(escape(title)) as status:
        yield lambda step: status.update(escape(f"{title}: {step}"))
