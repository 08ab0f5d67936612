"""Remembers facts about a source between preparations: the hashes of its files, and its latest preparation."""

from __future__ import annotations

from contextlib import suppress
from logging import getLogger
from pathlib import Path
from typing import TypeVar

from pydantic import BaseModel, RootModel, ValidationError

from actsr_cli.data.manifest import sha256_of
from actsr_cli.data.sources import Source
from actsr_cli.errors import DataError, DiskError
from actsr_cli.files import disk_errors, write_record

_log = getLogger("actsr")

Model = TypeVar("Model", bound=BaseModel)


class _Seen(BaseModel):
    """State of a file when its content was last hashed."""

    size: int
    mtime_ns: int
    sha256: str


class _Inputs(RootModel[dict[str, _Seen]]):
    """Files by path."""

    root: dict[str, _Seen] = {}


class Latest(BaseModel):
    """The latest requested preparation.

    Attributes:
        fingerprint: the name of its folder; empty if nothing was prepared yet.
        inputs: SHA-256 of each input by its path.
    """

    fingerprint: str = ""
    inputs: dict[str, str] = {}


def content_hashes(source: Source) -> dict[str, str]:
    """SHA-256 of each file of a source by its path; recomputed only if its size or modification time changed.

    Raises:
        DataError: the stored hashes are damaged.
    """
    path = source.folder / "prepared" / "inputs.json"
    before = _read(path, _Inputs).root
    now = {str(file): _seen(file, before.get(str(file))) for file in source.files}
    if any(before.get(name) != seen for name, seen in now.items()):
        with suppress(DiskError):  # a read-only folder: the files are hashed again the next time
            _write(path, _Inputs(before | now))
    return {name: seen.sha256 for name, seen in now.items()}


def latest(source: Source) -> Latest:
    """The latest preparation of a source.

    Raises:
        DataError: its stored record is damaged.
    """
    return _read(source.folder / "prepared" / "latest.json", Latest)


def remember_latest(source: Source, preparation: Latest) -> None:
    """Store `preparation` as the latest one of a source. Where it cannot be stored, this is logged."""
    path = source.folder / "prepared" / "latest.json"
    if not path.is_file() or _read(path, Latest) != preparation:
        try:
            _write(path, preparation)
        except DiskError as error:
            _log.warning("these settings are not remembered as the latest of %s: %s", source.name, error.message)


def _seen(file: Path, before: _Seen | None) -> _Seen:
    stat = file.stat()
    if before is not None and (before.size, before.mtime_ns) == (stat.st_size, stat.st_mtime_ns):
        return before
    return _Seen(size=stat.st_size, mtime_ns=stat.st_mtime_ns, sha256=sha256_of(file))


def _read(path: Path, model: type[Model]) -> Model:
    if not path.is_file():
        return model()
    try:
        return model.model_validate_json(path.read_bytes())
    except ValidationError as error:
        raise DataError(f"{path} is damaged", hint="Delete it.") from error


def _write(path: Path, values: BaseModel) -> None:
    with disk_errors(path, path.parent):
        path.parent.mkdir(parents=True, exist_ok=True)
    write_record(path, values)
