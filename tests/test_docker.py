"""The Dockerfile: its files are there, its commands parse, and nothing runs as root. No image is built here."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import typer.main
from packaging.requirements import Requirement

from actsr_cli.app import app

ROOT = Path(__file__).parents[1]


def instructions() -> list[list[tuple[str, str]]]:
    """The instructions of each stage: name and the rest of the line."""
    stages: list[list[tuple[str, str]]] = []
    for line in (ROOT / "Dockerfile").read_text(encoding="utf-8").replace("\\\n", " ").splitlines():
        name, _, rest = line.partition(" ")
        if name == "FROM":
            stages.append([])
        if line and not line.startswith("#"):
            stages[-1].append((name, rest))
    return stages


def last(name: str) -> str:
    """The instruction of this name of the image itself."""
    [found] = [rest for each, rest in instructions()[-1] if each == name]
    return found


def test_what_is_copied_is_there_and_not_ignored() -> None:
    ignore = (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines()
    sent = {line.removeprefix("!") for line in ignore if line.startswith("!")}
    copied = [rest.split() for stage in instructions() for name, rest in stage if name == "COPY"]
    from_here = {source for words in copied if not words[0].startswith("--from=") for source in words[:-1]}
    assert ignore[0] == "*" and from_here == sent
    assert all((ROOT / source).exists() for source in from_here)


def test_stages_are_taken_from_earlier_ones() -> None:
    names: list[str] = []
    for stage in instructions():
        for name, rest in stage:
            if found := re.match(r"--from=(\w+) ", rest):
                assert name == "COPY" and found[1] in names
        names += re.findall(r" AS (\w+)$", stage[0][1])
    assert len(names) == 2 and len(instructions()) == 3


def test_the_image_runs_as_a_user_that_is_not_root() -> None:
    stage = instructions()[-1]
    user = last("USER")
    assert user not in ("root", "0") and any(name == "RUN" and rest.endswith(f" {user}") for name, rest in stage)
    after = [name for name, _ in stage].index("USER")
    assert all(name not in ("COPY", "ADD") for name, _ in stage[after:])
    assert not any("ACTSR_API_KEY" in rest or "--api-key" in rest for _, rest in stage)


def test_its_commands_parse() -> None:
    words: list[str] = [*json.loads(last("ENTRYPOINT")), *json.loads(last("CMD"))]
    assert words[:2] == ["actsr", "serve"]
    command: Any = typer.main.get_command(app).commands["serve"]  # type: ignore[attr-defined]
    with command.make_context("serve", words[2:]) as context:
        assert (context.params["host"], context.params["port"]) == ("0.0.0.0", int(last("EXPOSE")))  # noqa: S104
    kind, _, check = last("HEALTHCHECK").partition(" CMD ")
    assert "--interval" in kind
    python, option, code = json.loads(check)
    compile(code, "HEALTHCHECK", "exec")
    assert (python, option) == ("python", "-c") and f":{last('EXPOSE')}/health" in code


def test_what_is_installed_is_pinned() -> None:
    pins = {Requirement(line).name for line in (ROOT / "constraints.txt").read_text().splitlines() if "==" in line}
    installs = [
        rest for stage in instructions() for name, rest in stage if " install " in rest and "/opt/actsr" in rest
    ]
    assert len(installs) == 2 and all("--constraint /constraints.txt" in each for each in installs)
    assert "--index-url https://download.pytorch.org/whl/cpu torch" in installs[0] and "torch" in pins
