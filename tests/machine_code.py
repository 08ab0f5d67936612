"""Lets copies of the package read the machine code of the attention, which takes more than a minute to compile."""

from __future__ import annotations

import hashlib
import shutil
from pathlib import Path

from actsr_cli.attention.kernels import compiling
from actsr_cli.attention.kernels.ready import make_ready


def share_machine_code(copy: Path) -> None:
    """Bring the machine code of this package to a copy of it.

    numba keeps it in a folder whose name has a hash of the place of the sources, and reads it if their content is what
    it has compiled.
    """
    make_ready()
    kept = compiling._place()
    assert kept is not None, "nowhere to keep machine code"
    here, there = Path(compiling.__file__).parent, copy / "attention" / "kernels"
    place = there / "__pycache__" / kept.name if kept.is_relative_to(here) else kept
    shutil.copytree(kept / _folder(here), place / _folder(there))


def _folder(sources: Path) -> str:
    return f"{sources.name}_{hashlib.sha1(str(sources).encode(), usedforsecurity=False).hexdigest()}"
