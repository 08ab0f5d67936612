"""Assembles the command line from `commands/`, and turns errors into one line and an exit code."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from actsr_cli import console
from actsr_cli.commands.compare import compare
from actsr_cli.commands.download import download
from actsr_cli.commands.evaluate import evaluate
from actsr_cli.commands.inspect_attention import inspect_attention
from actsr_cli.commands.models import models
from actsr_cli.commands.preprocess import preprocess
from actsr_cli.commands.presets import presets
from actsr_cli.commands.recommend import recommend, similar
from actsr_cli.commands.runs import runs
from actsr_cli.commands.train import train
from actsr_cli.commands.tune import tune
from actsr_cli.errors import ActsrError
from actsr_cli.version import __version__


class _Group(TyperGroup):
    """Shows an expected error as one line; `--debug` shows its traceback, too."""

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except BrokenPipeError:  # the reader of our output has had enough: Typer ends without a word
            raise
        except KeyboardInterrupt:
            console.show_error("interrupted")
            raise typer.Exit(_INTERRUPTED) from None
        except (ActsrError, OSError) as error:
            if ctx.params.get("debug"):
                console.show_traceback()
            console.show_error(_line(error), getattr(error, "hint", None))
            raise typer.Exit(getattr(error, "exit_code", 1)) from None


def _line(error: Exception) -> str:
    """What happened, in one line; the system's errors without their number."""
    if isinstance(error, OSError) and error.strerror:
        names = [str(name) for name in (error.filename, error.filename2) if name is not None]
        return ": ".join([" -> ".join(names), error.strerror]) if names else error.strerror
    return str(error)


_INTERRUPTED = 130

app = typer.Typer(
    name="actsr",
    cls=_Group,
    no_args_is_help=True,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"actsr {__version__}")
        raise typer.Exit


@app.callback()
def actsr(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version and leave.")
    ] = False,
    debug: Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Print results, warnings and errors only.")] = False,
) -> None:
    """Train and evaluate [bold]attention-calibrated transformers[/] for sequential recommendation.

    [bold]Example:[/]

      actsr download demo
      actsr train --model ac-sasrec --preset demo
      actsr evaluate

    The options of this page stand before the command: actsr --quiet evaluate
    """
    console.be_quiet(quiet)


def _help(command: Callable[..., None]) -> str:
    """A docstring with each paragraph in one line, so that it wraps where the terminal ends."""
    return re.sub(r"(?<!\n)\n(?!\n)", " ", inspect.getdoc(command) or "")


for _command in (download, preprocess, train, evaluate, recommend, similar, compare, tune, inspect_attention):
    app.command(help=_help(_command))(_command)
app.add_typer(presets, name="presets")
app.add_typer(runs, name="runs")
app.command(help=_help(models))(models)


def main() -> None:
    """The entry point of `actsr`."""
    app()
