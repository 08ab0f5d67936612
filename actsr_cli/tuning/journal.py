"""The journal of a study, which outlives full disks and killed processes."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any, cast

from filelock import FileLock
from optuna.storages.journal import JournalFileBackend

from actsr_cli.errors import DiskError

_LONGEST = 1 << 20
"""Bytes at the end of the file that are searched for a torn line; lines are far shorter."""


class Journal(JournalFileBackend):
    """A file of one line per change, locked by the operating system while a line is written.

    A torn last line, which a killed process or a full disk has left, is dropped.

    Args:
        file: the file; made if it does not exist.

    Raises:
        DiskError: the file cannot be written.
    """

    def __init__(self, file: Path) -> None:
        self._file = file
        self._writing = FileLock(file.with_suffix(".lock"))
        try:
            super().__init__(str(file), cast("Any", self._writing))  # it falls with its process; optuna's own stays
            with self._writing:
                self._drop_torn_line()
        except OSError as error:
            raise self._failed(error) from error

    def append_logs(self, logs: list[dict[str, Any]]) -> None:
        try:
            with self._writing:
                end = self._drop_torn_line()
                try:
                    super().append_logs(logs)
                except OSError:
                    os.truncate(self._file, end)
                    raise
        except OSError as error:
            raise self._failed(error) from error

    def _drop_torn_line(self) -> int:
        """Cut off what follows the last whole line, and return the size of the file; the lock must be held."""
        with self._file.open("rb") as file:
            end = file.seek(0, os.SEEK_END)
            file.seek(max(0, end - _LONGEST))
            lines = file.read().splitlines(keepends=True)
        if lines and not _is_whole(lines[-1]):
            end -= len(lines[-1])
            os.truncate(self._file, end)
        return end

    def _failed(self, error: OSError) -> DiskError:
        return DiskError(
            f"{self._file} cannot be written: {(error.strerror or str(error)).lower()}",
            hint="Free some space, or make the folder writable. Then the same command continues the study.",
        )


def _is_whole(line: bytes) -> bool:
    if not line.endswith(b"\n"):
        return False
    try:
        json.loads(line)
    except ValueError:
        return False
    return True
