"""Changes records with checksums, as actsr itself would have written them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from actsr_cli import sealed


def change(path: Path, **changes: Any) -> None:
    """Change entries of a JSON record; None removes an entry."""
    values, _ = sealed.read_json(path)
    sealed.write_json(path, {key: value for key, value in (values | changes).items() if (key, value) != (key, None)})


def change_text(path: Path, old: str, new: str) -> None:
    """Replace a part of a YAML text."""
    text, _ = sealed.read_sealed(path)
    assert old in text
    sealed.write_sealed(path, text.replace(old, new).partition("# checksum")[0])
