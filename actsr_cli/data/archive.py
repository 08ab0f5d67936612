"""Unpacks the zip archive of a data set and checks it; the sizes and names declared in it are not trusted."""

from __future__ import annotations

import stat
import zipfile
import zlib
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import IO

from actsr_cli.errors import DownloadError

_CHUNK = 1 << 20
_SKIPPED_FOLDER = "__MACOSX"
_SKIPPED_FILE = ".DS_Store"


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
        with zipfile.ZipFile(archive) as opened:
            targets = _plan(opened.infolist(), name, limits)
            _check_declared_size(targets, allowed)
            _unpack(opened, targets, folder, allowed)
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, UnicodeDecodeError) as error:
        raise ArchiveError(f"broken zip archive: {error}") from error


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
        if target.casefold() in taken:
            raise ArchiveError(f"duplicate member '{entry.filename}': another member is also '{target}'")
        taken.add(target.casefold())
        targets[target] = entry
    return targets


def _check_entry(entry: zipfile.ZipInfo) -> None:
    member = entry.orig_filename
    reason = _unsafe_name(member) or _unsafe_kind(entry)
    if reason:
        raise ArchiveError(f"member {member!r} {reason}")


def _unsafe_name(member: str) -> str | None:
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


def _unpack(opened: zipfile.ZipFile, targets: dict[str, zipfile.ZipInfo], folder: Path, allowed: int) -> None:
    for target, entry in targets.items():
        try:
            with opened.open(entry) as source, (folder / target).open("xb") as file:
                allowed -= _copy(source, file, allowed, entry.filename)
        except zipfile.BadZipFile as error:
            raise ArchiveError(f"broken zip archive: member '{entry.filename}': {error}") from error


def _copy(source: IO[bytes], file: IO[bytes], allowed: int, member: str) -> int:
    """Copy a member and return its real number of bytes, which may differ from its header."""
    written = 0
    while chunk := source.read(_CHUNK):
        written += len(chunk)
        if written > allowed:
            raise ArchiveError(f"archive bomb: member '{member}' unpacks to more than is allowed")
        file.write(chunk)
    return written
