"""The pinned versions: constraints.txt, its copy with hashes, and the versions that pyproject.toml allows."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[1]
HASH = re.compile(r"--hash=sha256:[0-9a-f]{64}( \\)?")


def pinned(lines: list[str]) -> dict[str, str]:
    """Versions by name of the `name==version` at the start of each line."""
    pairs = [line.removesuffix(" \\").split("==") for line in lines]
    return {canonicalize_name(name): version for name, version in pairs}


def constraints() -> dict[str, str]:
    return pinned([line for line in (ROOT / "constraints.txt").read_text().splitlines() if not line.startswith("#")])


def test_each_pin_has_hashes() -> None:
    pins: list[str] = []
    hashes = 0
    for line in (ROOT / "constraints-hashed.txt").read_text().splitlines():
        if line.startswith(" "):
            assert HASH.fullmatch(line.strip())
            hashes += 1
        else:
            assert not pins or hashes, f"{pins[-1]} has no hash"
            pins.append(line)
            hashes = 0
    assert hashes
    expected = constraints()
    del expected["torch"]  # its build depends on the machine
    assert pinned(pins) == expected, "after a change of constraints.txt: make hashes"


def test_every_dependency_is_pinned_at_a_version_that_is_allowed() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = [text for texts in project["optional-dependencies"].values() for text in texts]
    needed = [Requirement(text) for text in (*project["dependencies"], *extras)]
    pins = constraints()
    wrong = [str(each) for each in needed if each.name != "actsr" and not _is_pinned(each, pins)]
    assert len(needed) > 20 and wrong == []


def _is_pinned(needed: Requirement, pins: dict[str, str]) -> bool:
    return needed.specifier.contains(pins.get(canonicalize_name(needed.name), "0"))
