"""Checks what a release would be: `make release-check`, with one line per check.

Builds the wheel and the source distribution, installs the wheel in empty environments, and works with it there.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from email import message_from_bytes
from pathlib import Path
from zipfile import ZipFile

import yaml
from readme_renderer.markdown import render

from actsr_cli.version import __version__

ROOT = Path(__file__).parents[1]
JOB = (
    "download demo",
    "preprocess demo",
    "train --model ac-sasrec --preset demo --epochs 1",
    "evaluate",
    "recommend --user u0007 --k 3",
)
"""The main job, from nothing to a recommendation."""


class CheckError(Exception):
    """A check has failed; the message says why."""


def build(out: Path, *options: str, source: Path = ROOT) -> Path:
    """Build into a folder; the wheel. Without options the wheel is made from the source distribution.

    The tools of the build come from this environment, so that no network is needed.
    """
    run(sys.executable, "-m", "build", "--no-isolation", *options, "--outdir", str(out), str(source), folder=out.parent)
    return out / f"actsr-{__version__}-py3-none-any.whl"


def run(*command: str | Path, folder: Path, timeout: float = 3600) -> str:
    """The output of a command in a folder, as of a terminal without an environment of Python.

    Raises:
        CheckError: its exit code is not 0.
    """
    environment = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "VIRTUAL_ENV")}
    environment["COLUMNS"] = "80"
    done = subprocess.run(  # noqa: S603 (the commands of this file and of its tests)
        command, cwd=folder, env=environment, capture_output=True, text=True, timeout=timeout, check=False
    )
    if done.returncode:
        raise CheckError(f"{' '.join(map(str, command))}: exit code {done.returncode}\n{done.stdout}{done.stderr}")
    return done.stdout


def contents(archive: Path) -> dict[str, int]:
    """The names and checksums of what a wheel holds."""
    with ZipFile(archive) as opened:
        return {each.filename: each.CRC for each in opened.infolist()}


def check_wheels(from_source: Path, direct: Path) -> str:
    """The wheel that is made from the source distribution equals the one that is made from the checkout."""
    one, other = contents(from_source), contents(direct)
    if different := sorted(name for name in one.keys() | other.keys() if one.get(name) != other.get(name)):
        raise CheckError(f"the wheel from the source distribution differs in {', '.join(different)}")
    return f"{from_source.name}, {len(one)} files, also from the source distribution"


def description(wheel: Path) -> str:
    """The description of a wheel as package indexes get it."""
    with ZipFile(wheel) as opened:
        metadata = message_from_bytes(opened.read(f"actsr-{__version__}.dist-info/METADATA"))
    if metadata["Description-Content-Type"] != "text/markdown":
        raise CheckError(f"the description is {metadata['Description-Content-Type']}")
    return str(metadata.get_payload(decode=True).decode())  # type: ignore[union-attr]


def check_description(text: str) -> str:
    """The description renders as on PyPI, and needs no file of the repository."""
    html = render(text)
    if html is None:
        raise CheckError("the description cannot be rendered")
    if wrong := re.findall(r'(?:src|href)="(?!https?:|#)([^"]*)"', html):
        raise CheckError(f"the description refers to files that package indexes do not have: {', '.join(wrong)}")
    if not html.strip().startswith("<h1"):
        raise CheckError("the description has no title")
    return f"README.md renders: {len(html):,} characters of HTML"


def check_version(root: Path = ROOT) -> str:
    """All files that name the version name that of `actsr_cli/version.py`."""
    changes = (root / "CHANGELOG.md").read_text(encoding="utf-8")
    said = {"CHANGELOG.md": re.findall(r"^## (\S+)", changes, re.MULTILINE)[0]}
    citation = yaml.safe_load((root / "CITATION.cff").read_text(encoding="utf-8"))
    if "version" in citation:
        said["CITATION.cff"] = str(citation["version"])
    for page in (root / "README.md", *(root / "docs").glob("*.md")):
        for version in re.findall(r"\bactsr==([\w.]*\w)", page.read_text(encoding="utf-8")):
            said[page.name] = version
    if wrong := {name: version for name, version in said.items() if version != __version__}:
        raise CheckError(f"actsr_cli/version.py says {__version__}, but {wrong}")
    return f"version {__version__}, in actsr_cli/version.py and {', '.join(said)}"


def installed(wheel: Path, python: str, folder: Path) -> Path:
    """The programs of a new environment with the wheel and the pinned versions of what it needs."""
    run(python, "-m", "venv", str(folder), folder=folder.parent)
    pins = str(ROOT / "constraints.txt")
    run(folder / "bin" / "pip", "install", "--quiet", "--no-compile", "-c", pins, str(wheel), folder=folder.parent)
    run(folder / "bin" / "pip", "check", folder=folder.parent)
    return folder / "bin"


def check_job(programs: Path, folder: Path) -> str:
    """The main job works away from the checkout, with the installed package."""
    shown = run(programs / "python", "-c", "import actsr_cli; print(actsr_cli.__file__)", folder=folder)
    if not Path(shown.strip()).is_relative_to(programs.parent):
        raise CheckError(f"actsr_cli comes from {shown.strip()}")
    if (shown := run(programs / "actsr", "--version", folder=folder).strip()) != f"actsr {__version__}":
        raise CheckError(f"actsr --version says {shown}")
    for arguments in JOB:
        shown = run(programs / "actsr", *arguments.split(), folder=folder)
    if "user u0007" not in shown or not re.search(r"^3  i\d+", shown, re.MULTILINE):
        raise CheckError(f"no recommendation:\n{shown}")
    version = run(programs / "python", "-c", "import platform; print(platform.python_version())", folder=folder)
    return f"Python {version.strip()}: installed; {', '.join(each.split()[0] for each in JOB)}"


def checks(pythons: list[str], folder: Path) -> Iterator[Callable[[], str]]:
    """The checks, in order."""
    wheel = build(folder / "dist")
    yield lambda: check_wheels(wheel, build(folder / "direct", "--wheel"))
    yield lambda: check_description(description(wheel))
    yield check_version
    for number, python in enumerate(pythons):
        away = folder / f"away-{number}"
        away.mkdir()
        yield lambda python=python, away=away: check_job(installed(wheel, python, away / "venv"), away)  # type: ignore[misc]


def main() -> None:
    failures = 0
    with tempfile.TemporaryDirectory() as folder:
        for check in checks(sys.argv[1:] or [sys.executable], Path(folder)):
            try:
                print("ok   ", check(), flush=True)
            except (CheckError, OSError) as error:
                failures += 1
                print("FAIL ", error, flush=True)
    sys.exit(1 if failures else 0)


if __name__ == "__main__":
    main()
