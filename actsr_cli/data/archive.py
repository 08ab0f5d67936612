"""Unpacks the zip archive of a data set and checks it; the sizes and names declared in it are not trusted."""

from __future__ import annotations

import lzma
import stat
import struct
import zipfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from actsr_cli.errors import DownloadError

_CHUNK = 1 << 20
_BROKEN = (
    *(zipfile.BadZipFile, zlib.error, lzma.LZMAError, struct.error, EOFError),
    *(OSError, ValueError, NotImplementedError, RuntimeError),
)
"""What zipfile raises on damaged archives: invalid offsets, sizes, names, compressed data and methods."""
_SKIPPED_FOLDER = "__MACOSX"
_SKIPPED_FILE = ".DS_Store"
_LONGEST_NAME = 200
_OWN_NAMES = ("source.json", "manifest.json", "latest.json", "inputs.json", "prepared", "prepared.json")
"""What actsr itself puts into the folder of a data set, and trusts: no archive may bring it."""


@dataclass(frozen=True)
class Limits:
    """Limits above which an archive counts as an archive bomb.

    Attributes:
        total: unpacked bytes of all members.
        ratio: unpacked bytes per byte of the archive.
        exempt: unpacked bytes up to which the ratio is not checked.
        members: number of entries, including folders.
    """

    total: int = 8 << 30
    ratio: int = 200
    exempt: int = 16 << 20
    members: int = 256

    def allowed(self, archive_bytes: int) -> int:
        """The bytes that an archive of this size may unpack to."""
        return min(self.total, max(self.exempt, self.ratio * archive_bytes))


DEFAULT_LIMITS = Limits()


class ArchiveError(DownloadError):
    """The archive is broken or unsafe, or holds no data set."""


def unpack_archive(archive: Path, folder: Path, name: str, limits: Limits = DEFAULT_LIMITS) -> None:
    """Unpack the atomic files in `archive` into the empty `folder`, as name.inter, name.item and so on.

    Members lie at the top level or in one folder. Those with the same stem as the .inter file are renamed;
    others keep their names.

    Raises:
        ArchiveError: the archive is broken or unsafe, or has no .inter file or several; the message names the member.
    """
    check_leading_bytes(archive)
    allowed = limits.allowed(archive.stat().st_size)
    try:
        opened = zipfile.ZipFile(archive)
    except _BROKEN as error:
        raise ArchiveError(f"broken zip archive: {error}") from error
    with opened:
        targets = _plan(opened.infolist(), name, limits)
        _check_declared_size(targets, allowed)
        for target, entry in targets.items():
            allowed -= _unpack(opened, entry, folder / target, allowed)


def check_leading_bytes(archive: Path) -> None:
    """Check that a file begins like a zip archive.

    Raises:
        ArchiveError: it does not; the message says if it is an HTML page or empty.
    """
    with archive.open("rb") as file:
        head = file.read(1024)
    if head.startswith(b"PK"):
        return
    text = head.lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    if text.startswith(b"<!doctype html") or b"<html" in text:
        raise ArchiveError("an HTML page, not an archive")
    raise ArchiveError("not a zip archive" if head else "an empty file, not an archive")


def _plan(entries: list[zipfile.ZipInfo], name: str, limits: Limits) -> dict[str, zipfile.ZipInfo]:
    """The members by their new file names. Raises ArchiveError if any member is unsafe."""
    if len(entries) > limits.members:
        raise ArchiveError(f"archive bomb: {len(entries):,} members, at most {limits.members} are allowed")
    for entry in entries:
        _check_entry(entry)
    files = [entry for entry in entries if not entry.is_dir() and not _is_skipped(entry)]
    _check_depth(files)
    stem = _stem_of_interactions(files)
    targets: dict[str, zipfile.ZipInfo] = {}
    taken: set[str] = set()
    for entry in files:
        path = PurePosixPath(entry.filename)
        target = f"{name}{path.suffix}" if path.stem == stem else path.name
        if _is_own(target):
            raise ArchiveError(f"member {entry.filename!r} has a name that only actsr itself may write: '{target}'")
        if target.casefold() in taken:
            raise ArchiveError(f"duplicate member '{entry.filename}': another member is also '{target}'")
        taken.add(target.casefold())
        targets[target] = entry
    return targets


def _is_own(target: str) -> bool:
    name = target.casefold()
    return name in _OWN_NAMES or name.startswith(".") or name.endswith(".lock")


def _check_entry(entry: zipfile.ZipInfo) -> None:
    member = entry.orig_filename
    reason = _unsafe_name(member) or _unsafe_kind(entry)
    if reason:
        shown = member if len(member) <= _LONGEST_NAME else f"{member[:_LONGEST_NAME]}…"
        raise ArchiveError(f"member {shown!r} {reason}")


def _unsafe_name(member: str) -> str | None:
    if len(member.encode(errors="replace")) > _LONGEST_NAME:
        return f"has a name of more than {_LONGEST_NAME} bytes"
    if "\\" in member:
        return "has a backslash in its name"
    if not member.isprintable():
        return "has a control character in its name"
    if member.startswith("/"):
        return "has an absolute path"
    if ":" in member:
        return "names a drive"
    parts = member.removesuffix("/").split("/")
    if ".." in parts:
        return "points outside its folder"
    if "" in parts or "." in parts:
        return "has an empty part in its name"
    return None


def _unsafe_kind(entry: zipfile.ZipInfo) -> str | None:
    mode = entry.external_attr >> 16
    if stat.S_ISLNK(mode):
        return "is a link"
    if stat.S_IFMT(mode) not in (0, stat.S_IFREG, stat.S_IFDIR):
        return "is neither a file nor a folder"
    if entry.flag_bits & 1:
        return "is encrypted"
    return None


def _is_skipped(entry: zipfile.ZipInfo) -> bool:
    """Whether an entry is metadata of the macOS Finder, which is not part of the data set."""
    parts = PurePosixPath(entry.filename).parts
    return parts[0] == _SKIPPED_FOLDER or parts[-1] == _SKIPPED_FILE


def _check_depth(files: list[zipfile.ZipInfo]) -> None:
    folders = {PurePosixPath(entry.filename).parent for entry in files} - {PurePosixPath(".")}
    for entry in files:
        if len(PurePosixPath(entry.filename).parts) > 2:
            raise ArchiveError(f"member '{entry.filename}' lies deeper than one folder")
    if len(folders) > 1:
        raise ArchiveError(f"members lie in several folders: {', '.join(sorted(map(str, folders)))}")


def _stem_of_interactions(files: list[zipfile.ZipInfo]) -> str:
    paths = [PurePosixPath(entry.filename) for entry in files]
    interactions = [path for path in paths if path.suffix == ".inter"]
    if not interactions:
        held = ", ".join(path.name for path in paths[:5]) or "nothing"
        raise ArchiveError(f"no .inter file in the archive; it holds {held}")
    if len({path.name for path in interactions}) > 1:
        raise ArchiveError(f"several .inter files in the archive: {', '.join(path.name for path in interactions)}")
    return interactions[0].stem


def _check_declared_size(targets: dict[str, zipfile.ZipInfo], allowed: int) -> None:
    declared = sum(entry.file_size for entry in targets.values())
    if declared > allowed:
        raise ArchiveError(f"archive bomb: it would unpack to {declared:,} bytes, at most {allowed:,} are allowed")


def _unpack(opened: zipfile.ZipFile, entry: zipfile.ZipInfo, target: Path, allowed: int) -> int:
    """Write a member to a file and return its real number of bytes, which may differ from its header."""
    written = 0
    with target.open("xb") as file:
        for chunk in _chunks(opened, entry):
            written += len(chunk)
            if written > allowed:
                raise ArchiveError(f"archive bomb: member '{entry.filename}' unpacks to more than is allowed")
            file.write(chunk)
    return written


def _chunks(opened: zipfile.ZipFile, entry: zipfile.ZipInfo) -> Iterator[bytes]:
    """The content of a member. Errors of writing are not caught here: a full disk is no broken archive."""
    try:
        with opened.open(entry) as source:
            while chunk := source.read(_CHUNK):
                yield chunk
    except _BROKEN as error:
        raise ArchiveError(f"broken zip archive: member '{entry.filename}': {error}") from error
