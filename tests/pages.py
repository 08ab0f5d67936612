"""The examples of the documentation: fenced blocks of the pages, and the `Example:` lines of each command's help."""

from __future__ import annotations

import re
import shlex
import subprocess
import textwrap
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import typer

from actsr_cli.app import app

ROOT = Path(__file__).parents[1]
SHELLS = {"bash", "sh", "console", "shell"}
PROGRAMS = {"actsr", "make", "pip", "python", "torchrun", "tensorboard", "git", "cd", "cat", "curl", "docker", "export"}
"""A block without a language is a shell block if one of its lines begins with one of these."""
_FUNCTION = re.compile(r"^\w+\(\) *\{", re.MULTILINE)
_STUB = "actsr() { printf '%s\\0' \"$@\"; printf '\\n'; }\n"


@dataclass(frozen=True)
class Block:
    """A fenced block.

    Attributes:
        page: the page's path from the root of the repository.
        line: number of its first line, behind the fence.
        language: the word behind the fence, or nothing.
        text: its lines.
        heading: the heading above it, or nothing.
        file: the file whose content it is, if the line above says "file `NAME`:"; or nothing.
    """

    page: str
    line: int
    language: str
    text: str
    heading: str = ""
    file: str = ""

    @property
    def place(self) -> str:
        return f"{self.page}:{self.line}"

    @property
    def is_shell(self) -> bool:
        """Whether its lines are commands."""
        if self.language:
            return self.language in SHELLS
        return any(_program(line) in PROGRAMS for line in self.text.splitlines()) or bool(_FUNCTION.search(self.text))


@dataclass(frozen=True)
class Command:
    """A command of a page or of a help text.

    Attributes:
        place: where it stands: page and line, or the help text.
        text: as it is printed, continued lines joined.
    """

    place: str
    text: str

    @property
    def words(self) -> list[str]:
        """Its words and operators, as a shell splits them; no comment."""
        lexer = shlex.shlex(self.text, posix=True, punctuation_chars="<>|&;")
        lexer.whitespace_split = True
        lexer.commenters = "#"
        return list(lexer)

    @property
    def program(self) -> str:
        return _program(self.text)


def pages() -> list[str]:
    """All pages, by their path from the root of the repository."""
    return ["README.md", "CONTRIBUTING.md", *sorted(f"docs/{path.name}" for path in (ROOT / "docs").glob("*.md"))]


def read(page: str) -> str:
    return (ROOT / page).read_text(encoding="utf-8")


def blocks(page: str, text: str) -> Iterator[Block]:
    """The fenced blocks of a page, in order."""
    heading, above, opened = "", "", None
    inside: list[str] = []
    for number, line in enumerate(text.splitlines(), start=1):
        fence = re.match(r"^\s*```\s*(\w*)\s*$", line)
        if opened is not None and fence:
            code = textwrap.dedent("\n".join(inside)) + "\n"
            file = re.search(r"file `([\w./-]+)`:$", above.strip())
            yield Block(page, opened[0], opened[1], code, heading, file.group(1) if file else "")
            opened, above = None, ""
        elif opened is not None:
            inside.append(line)
        elif fence:
            opened, inside = (number + 1, fence.group(1)), []
        elif line.startswith("#"):
            heading = line.lstrip("# ")
        elif line.strip():
            above = line


def commands(block: Block) -> Iterator[Command]:
    """The commands of a shell block. Where some lines have a prompt, all others are output."""
    lines = block.text.splitlines()
    if _FUNCTION.search(block.text):
        yield from _expanded(block)
        return
    has_prompts = any(line.startswith("$ ") for line in lines)
    start, joined = block.line, ""
    for number, line in enumerate(lines, start=block.line):
        if not joined:
            start = number
            if has_prompts and not line.startswith("$ "):
                continue
        joined += line.removeprefix("$ ").removesuffix("\\")
        if line.endswith("\\"):
            continue
        if joined.strip() and not joined.lstrip().startswith("#"):
            yield Command(f"{block.page}:{start}", joined.strip())
        joined = ""


def outputs(block: Block) -> dict[str, str]:
    """What a block with prompts shows below each command."""
    _, *parts = re.split(r"^\$ ", block.text, flags=re.MULTILINE)
    return {command: shown for command, _, shown in (part.partition("\n") for part in parts)}


def skeleton(output: str) -> list[str]:
    """The lines of an output without what differs from run to run, between machines, and with the size of the data.

    That is numbers, names made of them, blanks, items and what a model thinks of them, how epochs went, and whether the
    attention was compiled.
    """
    found: list[str] = []
    for line in output.splitlines():
        kind = next((name for name, pattern in _VARYING.items() if pattern.match(line)), "")
        if kind != "left out" and (not kind or kind not in found):
            masked = re.sub(
                r"prepared/\w+|(?<!\w)-?\d[\d.,:T-]*|\d[\d.,:T-]*|(?<=after ).*|(?<=similar to ).*", "#", line
            )
            found.append(kind or " ".join(masked.split()))
    return found


_NUMBERS_AND_ITEMS = re.compile(r"prepared/\w+|(?<!\w)-?\d[\d.,:T-]*|\d[\d.,:T-]*|(?<=after ).*|(?<=similar to ).*")
_VARYING = {
    "an epoch": re.compile(r"epoch +\d"),
    "an item": re.compile(r"\d+  i\d{3}  "),
    "as expected, or not": re.compile(r"As expected of |warning: \w+ should have "),
    "left out": re.compile(r"\.\.\.$|Compiling |\s*$|[\d,]+ of [\d,]+ targets "),
}
"""Lines of which an output has any number, by what they are."""


def _expanded(block: Block) -> Iterator[Command]:
    """The calls of actsr that a block with shell functions makes, as bash expands them."""
    done = subprocess.run(["bash", "-euc", _STUB + block.text], capture_output=True, text=True, check=True)
    for call in done.stdout.splitlines():
        yield Command(block.place, shlex.join(["actsr", *call.removesuffix("\0").split("\0")]))


def code_of(block: Block) -> str:
    """The code of a Python block, without prompts and the output between them."""
    if not block.text.startswith(">>> "):
        return block.text
    kept = (line[4:] if line.startswith((">>> ", "... ")) else "" for line in block.text.splitlines())
    return "\n".join(kept) + "\n"


def inline(page: str, text: str) -> Iterator[Command]:
    """The code spans of a page outside fenced blocks that begin with `actsr` or an option."""
    fenced = False
    for number, line in enumerate(text.splitlines(), start=1):
        if line.lstrip().startswith("```"):
            fenced = not fenced
        elif not fenced:
            for span in re.findall(r"`((?:actsr |--\w)[^`]*)`", line):
                yield Command(f"{page}:{number}", span)


def help_examples() -> dict[str, list[Command]]:
    """The example lines of the help of each command that has some, by the command's name."""
    found = {}
    for name, command in sorted(all_commands().items()):
        lines = re.findall(r"(?:^|\[/\] +|^ +)(actsr .*)$", (command.help or "").partition("Example:")[2], re.MULTILINE)
        if lines:
            found[name] = [Command(f"{name} --help, example {n}", line) for n, line in enumerate(lines, start=1)]
    return found


def all_commands() -> dict[str, Any]:
    """All commands and groups, by the words that call them: `actsr runs show`."""
    return dict(walk("actsr", typer.main.get_command(app)))


def options_of(command: Any) -> set[str]:
    """The names of a command's options."""
    options = [each for each in command.params if each.param_type_name == "option"]
    return {name for each in options for name in (*each.opts, *each.secondary_opts)} | {"--help", "-h"}


def unknown_options(words: list[str], known: dict[str, Any] | None = None) -> list[str]:
    """The options among the words of a command that it does not have; the command itself, if it is unknown."""
    known = known or all_commands()
    name, wrong = words[0], []
    for word in words[1:]:
        command = known[name]
        if f"{name} {word}" in known:
            name = f"{name} {word}"
        elif hasattr(command, "commands") and not word.startswith("-") and not command.invoke_without_command:
            return [f"{name} {word}"]
        elif re.match(r"--?[a-zA-Z]", word) and word.partition("=")[0] not in options_of(command):
            wrong.append(word)
    return wrong


def walk(name: str, command: Any) -> Iterator[tuple[str, Any]]:
    """A command of Typer and all below it, by the words that call them."""
    yield name, command
    for word, below in getattr(command, "commands", {}).items():
        yield from walk(f"{name} {word}", below)


def _program(line: str) -> str:
    """The first word of a command, without its folder."""
    return line.removeprefix("$ ").strip().partition(" ")[0].rpartition("/")[2]
