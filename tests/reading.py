"""Helpers for tests of readers: writing a file, reading it, and listing the result."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from actsr_cli.data.readers import Columns, find_reader
from actsr_cli.data.readers.interactions import BadLines, Interactions
from actsr_cli.data.readers.parts import read_interactions

HEADER = "user_id:token\titem_id:token\trating:float\ttimestamp:float\n"


def read(
    path: Path,
    format_name: str,
    *,
    wanted: tuple[str, ...] = (),
    policy: Literal["error", "skip"] = "error",
    **columns: str,
) -> tuple[Interactions, BadLines]:
    bad_lines = BadLines(path, policy)
    return read_interactions(find_reader(format_name), Columns(**columns), wanted, [bad_lines]), bad_lines


def triples(raw: Interactions) -> list[tuple[str, str, float | None]]:
    times = [None] * len(raw) if raw.timestamps is None else raw.timestamps.tolist()
    return [
        (str(raw.user_names[user]), str(raw.item_names[item]), time)
        for user, item, time in zip(raw.users, raw.items, times, strict=True)
    ]


def write(path: Path, content: str | bytes) -> Path:
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path
