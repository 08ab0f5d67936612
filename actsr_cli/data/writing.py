"""The lock of a data set: one process at a time downloads or prepares it."""

from __future__ import annotations

from contextlib import AbstractContextManager
from pathlib import Path

from actsr_cli.locks import held


def writing(folder: Path, doing: str) -> AbstractContextManager[None]:
    """Hold the lock of a data set for as long as the context lasts; waits for another process that holds it.

    Args:
        folder: the folder of the data set, which need not exist; the lock lies beside it.
        doing: what this process does with it, such as "downloaded", for the messages of the others.

    Raises:
        DiskError: the lock cannot be written.
    """
    return held(folder.with_name(f".{folder.name}.lock"), f"the data set {folder.name}", doing, waits=True)
