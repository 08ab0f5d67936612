"""Remembers facts about a source between preparations: the hashes of its files, and its latest preparation."""

from __future__ import annotations

import hashlib
import json
from contextlib import suppress
from logging import getLogger
from pathlib import Path
from typing import TypeVar

from pydantic import BaseModel, RootModel, ValidationError

from actsr_cli import sealed
from actsr_cli.config import DataConfig
from actsr_cli.data.manifest import sha256_of
from actsr_cli.data.readers.folders import part_files
from actsr_cli.data.sources import Source
from actsr_cli.errors import DataError, DiskError
from actsr_cli.files import disk_errors

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


class Choice(BaseModel):
    """The filters that the user chose for a data set.

    Attributes:
        settings: the filters.
        preset: the preset that they are from, or None.
    """

    settings: DataConfig
    preset: str | None = None


class Latest(BaseModel):
    """The latest preparation.

    Attributes:
        fingerprint: the name of its folder; empty if nothing was prepared yet.
        inputs: SHA-256 of each input by its path.
        choice: what `actsr preprocess` was last asked for. Preparations for a training or an evaluation keep it.
    """

    fingerprint: str = ""
    inputs: dict[str, str] = {}
    choice: Choice | None = None


def content_hashes(source: Source) -> dict[str, str]:
    """SHA-256 of each file of a source by its path; recomputed only if its size or modification time changed.

    The hash of a folder of parts depends on the names and the content of its parts. That of a file of items that cannot
    be read is empty.

    Raises:
        DataError: the stored hashes are damaged, or a folder holds other files than parts.
    """
    path = source.folder / "prepared" / "inputs.json"
    before = _read(path, _Inputs).root
    parts = {file: part_files(file) for file in source.files if _is_readable(source, file)}
    now = {str(part): _seen(part, before.get(str(part))) for of_file in parts.values() for part in of_file}
    if any(before.get(name) != seen for name, seen in now.items()):
        with suppress(DiskError):  # a read-only folder: the files are hashed again the next time
            _write(path, _Inputs(before | now))
    found = {file: _hash(file, {part: now[str(part)].sha256 for part in of_file}) for file, of_file in parts.items()}
    return {str(file): found.get(file, "") for file in source.files}


def _is_readable(source: Source, file: Path) -> bool:
    """False for a file of items that cannot be read and was not given: it costs titles only."""
    if file != source.item_file or source.items_given:
        return True
    try:
        with file.open("rb"):
            return True
    except OSError:
        return False


def latest(source: Source) -> Latest:
    """The latest preparation of a source.

    Raises:
        DataError: its stored record is damaged.
    """
    return _read(source.folder / "prepared" / "latest.json", Latest)


def choice_of(record: Path) -> Choice | None:
    """The filters in the record of prepared data, of any version; None if there is no record.

    Raises:
        DataError: the record is damaged.
    """
    return _read(record, Choice) if record.is_file() else None


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


def _hash(file: Path, parts: dict[Path, str]) -> str:
    """The hash of a file, or of a folder by those of its parts."""
    if file in parts:
        return parts[file]
    listed = [[part.relative_to(file).as_posix(), digest] for part, digest in parts.items()]
    return hashlib.sha256(json.dumps(listed).encode()).hexdigest()


def _read(path: Path, model: type[Model]) -> Model:
    if not path.is_file():
        return model()
    try:
        values, fits = sealed.read_json(path)
        found = model.model_validate(values)
    except (sealed.DamageError, ValidationError) as error:
        raise DataError(f"{path} is damaged", hint="Delete it.") from error
    if not fits:
        raise DataError(f"{path} is damaged: {sealed.CHANGED}", hint="Delete it.")
    return found


def _write(path: Path, values: BaseModel) -> None:
    with disk_errors(path, path.parent):
        path.parent.mkdir(parents=True, exist_ok=True)
    sealed.write_json(path, values.model_dump(mode="json"))
