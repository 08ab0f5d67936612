"""Runs the commands of docs/quick-start.md on the demo data, and writes what they print into the page and into
docs/terminal.svg: `make recording`.
"""

from __future__ import annotations

import io
import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

from rich.console import Console
from rich.terminal_theme import MONOKAI
from rich.text import Text

DOCS = Path(__file__).parents[1] / "docs"
PAGE, PICTURE = DOCS / "quick-start.md", DOCS / "terminal.svg"
WIDTH = 100
IN_PICTURE = ("train", "evaluate", "recommend --user")
"""How the commands begin that the picture shows."""
_BLOCK = re.compile(r"```console\n\$ actsr (.*)\n(?:.*\n)*?```\n")
_EPOCH = re.compile(r"epoch +\d+ ")
_FONTS = re.compile(r"@font-face \{.*?\}\n?", re.DOTALL)
"""The parts of a picture of rich that load fonts from elsewhere; without them the reader's own font is taken."""


def printed(arguments: str, folder: Path) -> str:
    """What a command prints in a folder, on standard output and standard error; of many epochs, the first and last."""
    command = [sys.executable, "-m", "actsr_cli", *arguments.split()]
    places = {"ACTSR_DATA": "dataset", "ACTSR_RUNS": "runs", "COLUMNS": str(WIDTH), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(  # noqa: S603 (the commands of the page)
        command,
        cwd=folder,
        env=_environment() | places,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=True,
    )
    lines = [line.rstrip() for line in done.stdout.rstrip().splitlines() if not line.startswith("Compiling ")]
    epochs = [number for number, line in enumerate(lines) if _EPOCH.match(line)]
    if len(epochs) > 5:
        lines[epochs[2] : epochs[-3]] = ["..."]
    return "".join(f"{line}\n" for line in lines)


def _environment() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if not name.startswith("ACTSR_")}


def picture(text: str) -> str:
    """An SVG of what a terminal shows. It loads nothing."""
    console = Console(record=True, width=WIDTH, file=io.StringIO(), force_terminal=True)
    for line in text.splitlines():
        console.print(Text(line, style="bold green" if line.startswith("$ ") else ""), highlight=False)
    return _FONTS.sub("", console.export_svg(title="actsr", theme=MONOKAI, unique_id="actsr"))


def shown_in_picture(page: str) -> str:
    """The text of the picture: those blocks of the page that it shows."""
    blocks = (each.group() for each in _BLOCK.finditer(page) if each.group(1).startswith(IN_PICTURE))
    return "\n".join(block.removeprefix("```console\n").removesuffix("```\n") for block in blocks)


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        page = _BLOCK.sub(
            lambda found: f"```console\n$ actsr {found[1]}\n{printed(found[1], Path(folder))}```\n",
            PAGE.read_text(encoding="utf-8"),
        )
    PAGE.write_text(page, encoding="utf-8")
    PICTURE.write_text(picture(shown_in_picture(page)), encoding="utf-8")


if __name__ == "__main__":
    main()
