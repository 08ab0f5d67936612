"""Reads and writes `manifest.json`, the record of where the files of a data set came from."""

from __future__ import annotations

from datetime import UTC, datetime
from hashlib import file_digest
from pathlib import Path

from pydantic import BaseModel, ConfigDict, ValidationError

from actsr_cli.files import write_record

FILE_NAME = "manifest.json"


class Member(BaseModel):
    """One file of the data set."""

    model_config = ConfigDict(frozen=True)

    name: str
    bytes: int


class Manifest(BaseModel):
    """Record of an installed data set.

    Attributes:
        name: the data set's name in the catalogue.
        title: a short description.
        source: the URL or file that it came from, or how it was generated.
        bytes: size of the archive; for generated data, of all members.
        sha256: hexadecimal digest of the archive; for generated data, of the .inter file.
        date: date of installation in UTC, as ISO 8601.
        members: the files, sorted by name.
    """

    model_config = ConfigDict(frozen=True)

    name: str
    title: str
    source: str
    bytes: int
    sha256: str
    date: str
    members: tuple[Member, ...]


def list_members(folder: Path) -> tuple[Member, ...]:
    """The files in `folder` with their sizes, sorted by name, without the manifest."""
    files = sorted(path for path in folder.iterdir() if path.is_file() and path.name != FILE_NAME)
    return tuple(Member(name=path.name, bytes=path.stat().st_size) for path in files)


def utc_now() -> str:
    """The date and time in UTC to the second, as ISO 8601."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def sha256_of(path: Path) -> str:
    """The hexadecimal SHA-256 digest of a file."""
    with path.open("rb") as file:
        return file_digest(file, "sha256").hexdigest()


def write_manifest(manifest: Manifest, folder: Path) -> None:
    """Write `manifest` into `folder` atomically."""
    write_record(folder / FILE_NAME, manifest)


def read_manifest(folder: Path) -> Manifest | None:
    """The manifest in `folder`, or None if it is missing or damaged."""
    try:
        return Manifest.model_validate_json((folder / FILE_NAME).read_bytes())
    except (FileNotFoundError, ValidationError):
        return None
