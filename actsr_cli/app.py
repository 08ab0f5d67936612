"""Assembles the command line from `commands/`, and turns errors into one line and an exit code.

A command's module is imported when the command is run or its help is shown.
"""

from __future__ import annotations

import inspect
import re
from collections import UserDict
from collections.abc import Callable
from functools import partial
from importlib import import_module
from keyword import iskeyword
from typing import Annotated, Any

import typer
from typer.core import TyperCommand, TyperGroup

from actsr_cli import console, plugins
from actsr_cli.errors import ActsrError
from actsr_cli.version import __version__

COMMANDS = {
    "download": "download",
    "preprocess": "preprocess",
    "train": "train",
    "import": "importing",
    "combine": "combine",
    "evaluate": "evaluate",
    "recommend": "recommend",
    "similar": "recommend",
    "export": "export",
    "serve": "serve",
    "compare": "compare",
    "tune": "tune",
    "inspect-attention": "inspect_attention",
    "models": "models",
    "presets": "presets",
    "runs": "runs",
    "doctor": "doctor",
}
"""The commands in the order of the help, each with its module in `commands`.

In the module it is a function or a Typer of the same name, with _ instead of -, and with one more _ if Python has a
keyword of this name.
"""


class _Commands(UserDict[str, Any]):
    """The commands by name, each built when it is first asked for."""

    def __init__(self) -> None:
        super().__init__(dict.fromkeys(COMMANDS))

    def __getitem__(self, name: str) -> Any:
        if self.data[name] is None:
            self.data[name] = _built(name)
        return self.data[name]


def _found(name: str) -> Any:
    """The function or the Typer of a command."""
    function = f"{name}_" if iskeyword(name) else name.replace("-", "_")
    return getattr(import_module(f"actsr_cli.commands.{COMMANDS[name]}"), function)


def _built(name: str) -> Any:
    """The command of this name, built by Typer."""
    found = _found(name)
    if not isinstance(found, typer.Typer):
        function, found = found, typer.Typer(rich_markup_mode="rich", add_completion=False)
        found.command(help=_help(function))(function)
    command: Any = typer.main.get_command(found)
    command.name = name
    for each in (command, *getattr(command, "commands", {}).values()):
        each.get_params = partial(_with_flags_off, each.get_params)
    return command


def _with_flags_off(get_params: Callable[[Any], list[Any]], context: Any) -> list[Any]:
    """The parameters of a command, with a default for flags that have none, such as --help: off.

    Without a default, Typer imports pydantic to read the flag, which takes longer than printing a help text.
    """
    parameters = get_params(context)
    for each in parameters:
        if getattr(each, "is_flag", False) and each.default is None:
            each.default = False
    return parameters


def _summary(name: str) -> TyperCommand:
    """A command with only its help, for the list of commands."""
    found = _found(name)
    callback: Any = found.registered_callback if isinstance(found, typer.Typer) else None
    return TyperCommand(name=name, callback=None, help=_help(found if callback is None else callback.callback))


_FIRST_STEPS = """From nothing to a recommendation:

  actsr download demo                             generates a small data set
  actsr train --model ac-sasrec --preset demo     trains a model
  actsr recommend                                 recommends the next items to some users

All commands: actsr --help"""


class _Group(TyperGroup):
    """The commands; an expected error is printed as one line; `--debug` prints the traceback before it."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        if not args and not ctx.resilient_parsing:  # which is on while a shell completes
            typer.echo(_FIRST_STEPS)
            raise typer.Exit(_NO_COMMAND)
        return super().parse_args(ctx, args)

    def __init__(self, **settings: Any) -> None:
        super().__init__(**settings)
        self.commands = _Commands()

    def get_params(self, ctx: Any) -> list[Any]:
        return _with_flags_off(super().get_params, ctx)

    def format_help(self, ctx: Any, formatter: Any) -> None:
        built, self.commands = self.commands, {name: _summary(name) for name in COMMANDS}
        try:
            super().format_help(ctx, formatter)
        finally:
            self.commands = built

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except BrokenPipeError:  # the reader of our output has closed it: Typer ends quietly
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
    """The message of an error in one line, without the number of a system error."""
    if isinstance(error, OSError) and error.strerror:
        names = [str(name) for name in (error.filename, error.filename2) if name is not None]
        return ": ".join([" -> ".join(names), error.strerror]) if names else error.strerror
    return str(error)


_INTERRUPTED = 130
_NO_COMMAND = 2

app = typer.Typer(
    name="actsr",
    cls=_Group,
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
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version and exit.")
    ] = False,
    debug: Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Print results, warnings and errors only.")] = False,
) -> None:
    """Train, evaluate and use [bold]attention-calibrated transformers[/] for sequential recommendation.

    [bold]Example:[/]

      actsr download demo
      actsr train --model ac-sasrec --preset demo
      actsr evaluate
      actsr recommend

    Put the options of this page before the command: actsr --quiet evaluate
    """
    console.be_quiet(quiet)
    plugins.trust_nothing()


def _help(command: Callable[..., None]) -> str:
    """A docstring with each paragraph in one line, so that it wraps at the width of the terminal."""
    return re.sub(r"(?<!\n)\n(?!\n)", " ", inspect.getdoc(command) or "")


def main() -> None:
    """The entry point of `actsr`."""
    app()
