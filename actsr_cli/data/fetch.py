"""Installs a data set of the catalogue into DATA_DIR/NAME: from a mirror, from a local archive, or generated."""

from __future__ import annotations

import re
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import httpx

from actsr_cli.data import sources
from actsr_cli.data.archive import ArchiveError, unpack_archive
from actsr_cli.data.catalog import DatasetEntry
from actsr_cli.data.manifest import (
    FILE_NAME,
    Manifest,
    list_members,
    read_manifest,
    sha256_of,
    utc_now,
    write_manifest,
)
from actsr_cli.data.retry import RetryPolicy
from actsr_cli.data.synthetic import DEMO_SEED, generate_demo
from actsr_cli.data.transfer import (
    BrokenOffError,
    OnNote,
    OnProgress,
    PartialFile,
    RefusalError,
    download,
)
from actsr_cli.data.writing import writing
from actsr_cli.errors import DiskError, DownloadError
from actsr_cli.files import move_into, scratch_folder

BUILTIN_MIRRORS = (
    "https://recbole.s3-accelerate.amazonaws.com/ProcessedDatasets/",
    "https://recbole.s3.amazonaws.com/ProcessedDatasets/",
)
MANUAL_PAGE = "https://github.com/RUCAIBox/RecSysDatasets"


@dataclass(frozen=True)
class Installed:
    """A data set that has just been installed.

    Attributes:
        folder: DATA_DIR/NAME.
        manifest: the files in it and their origin.
        earlier_sha256: digest of an earlier download from the same source if it differs from this one, else None.
        unregistered: the files that were registered under this name and read until now; empty if there were none.
    """

    folder: Path
    manifest: Manifest
    earlier_sha256: str | None
    unregistered: tuple[Path, ...]


def list_mirrors(first: Sequence[str], listed: str = "") -> tuple[str, ...]:
    """The mirrors in the order in which they are tried: `first`, then `listed`, then the built-in hosts.

    Args:
        first: URLs.
        listed: URLs separated by commas or blanks.

    Raises:
        DownloadError: one is not an http or https address.
    """
    given = [*first, *(url for url in re.split(r"[,\s]+", listed) if url)]
    return tuple(dict.fromkeys([*map(_check_mirror, given), *BUILTIN_MIRRORS]))


def _check_mirror(mirror: str) -> str:
    try:
        url = httpx.URL(mirror)
    except httpx.InvalidURL as error:
        raise DownloadError(f"mirror '{mirror}' is not an address: {error}") from error
    if url.scheme not in ("http", "https") or not url.host or url.query or url.fragment:
        raise DownloadError(
            f"mirror '{mirror}' is not an address of a folder",
            "A mirror is an http or https URL, to which the path of the archive is appended. "
            "For a file on this machine use --from-file.",
        )
    return mirror.rstrip("/") + "/"


def fetch_dataset(
    entry: DatasetEntry,
    data_dir: Path,
    mirrors: Sequence[str] = BUILTIN_MIRRORS,
    *,
    sha256: str | None = None,
    policy: RetryPolicy | None = None,
    on_progress: OnProgress | None = None,
    on_note: OnNote | None = None,
) -> Installed:
    """Download the archive of `entry` from the first mirror that has a valid one, and install it.

    An unfinished download stays as DATA_DIR/NAME.zip.part, and the next call continues it. The caller holds the lock of
    the data set, see `writing`.

    Args:
        mirrors: URLs to put before the archive's path, in the order to try them.
        sha256: digest that the archive must have; None: the catalogue's, if it has one.

    Raises:
        DownloadError: no mirror has it; the hint lists the answer of each mirror and explains a manual download.
    """
    data_dir.mkdir(parents=True, exist_ok=True)
    partial = _partial_of(entry, data_dir)
    answers: list[str] = []
    for mirror in mirrors:
        url = f"{mirror.rstrip('/')}/{entry.archive}"
        source = str(httpx.URL(url).copy_with(userinfo=b""))
        try:
            download(url, partial, policy or RetryPolicy(), on_progress, on_note)
            installed = _install_partial(entry, partial, data_dir, source, sha256)
        except (RefusalError, BrokenOffError, ArchiveError) as error:
            answers.append(f"{source}: {error}")
            if on_note and len(answers) < len(mirrors):
                on_note(f"{answers[-1]}; trying the next mirror")
            continue
        partial.discard()
        return installed
    raise DownloadError(f"no mirror has a valid archive of '{entry.name}'", _manual_route(entry, data_dir, answers))


def sweep_partial(entry: DatasetEntry, data_dir: Path) -> None:
    """Remove what a download left that was killed after it had installed the data set."""
    partial = _partial_of(entry, data_dir)
    if partial.exists():
        with suppress(DiskError), writing(data_dir / entry.name, "downloaded"):  # a read-only folder keeps it
            partial.discard()


def _partial_of(entry: DatasetEntry, data_dir: Path) -> PartialFile:
    return PartialFile(data_dir / f"{entry.name}.zip.part")


def _install_partial(
    entry: DatasetEntry, partial: PartialFile, data_dir: Path, source: str, sha256: str | None
) -> Installed:
    try:
        return _install_archive(entry, partial.path, data_dir, source, sha256)
    except ArchiveError:
        partial.discard()
        raise


def _manual_route(entry: DatasetEntry, data_dir: Path, answers: Sequence[str]) -> str:
    lines = [f"  {answer}" for answer in answers]
    lines += [
        f"By hand: open {MANUAL_PAGE} and follow its links to {entry.archive_name}. Then either",
        f"  actsr download {entry.name} --from-file {entry.archive_name}",
        f"or unpack it so that {data_dir / entry.name / entry.name}.inter exists. In both cases, continue with",
        f"  actsr preprocess {entry.name}",
    ]
    return "\n".join(lines)


def install_from_file(entry: DatasetEntry, archive: Path, data_dir: Path, sha256: str | None = None) -> Installed:
    """Check a local archive and unpack it into DATA_DIR/NAME; the archive stays where it is.

    Raises:
        DownloadError: it is missing, broken or unsafe, or has another checksum; earlier data are kept.
    """
    if entry.archive is None:
        raise DownloadError(f"'{entry.name}' is generated, not unpacked", f"Run: actsr download {entry.name}")
    if not archive.is_file():
        raise DownloadError(f"no archive '{archive}'")
    try:
        return _install_archive(entry, archive, data_dir, str(archive.resolve()), sha256)
    except ArchiveError as error:
        hint = f"Copy single files into {data_dir / entry.name} by hand; then: actsr preprocess {entry.name}"
        raise DownloadError(f"'{archive}': {error}", hint) from error


def _install_archive(entry: DatasetEntry, archive: Path, data_dir: Path, source: str, sha256: str | None) -> Installed:
    digest = sha256_of(archive)
    wanted = sha256 or entry.sha256
    if wanted and digest != wanted.lower():
        raise ArchiveError(f"its sha256 is {digest}, not {wanted.lower()}")
    with scratch_folder(data_dir / entry.name) as scratch:
        unpack_archive(archive, scratch, entry.name)
        manifest = Manifest(
            name=entry.name,
            title=entry.title,
            source=source,
            bytes=archive.stat().st_size,
            sha256=digest,
            date=utc_now(),
            members=list_members(scratch),
        )
        return _put_in_place(manifest, scratch, data_dir / entry.name)


def install_demo(entry: DatasetEntry, data_dir: Path, seed: int = DEMO_SEED) -> Installed:
    """Generate the demo data into DATA_DIR/NAME."""
    with scratch_folder(data_dir / entry.name) as scratch:
        generate_demo(scratch, seed)
        members = list_members(scratch)
        manifest = Manifest(
            name=entry.name,
            title=entry.title,
            source=f"generated by actsr with seed {seed}",
            bytes=sum(member.bytes for member in members),
            sha256=sha256_of(scratch / "demo.inter"),
            date=utc_now(),
            members=members,
        )
        return _put_in_place(manifest, scratch, data_dir / entry.name)


def _put_in_place(manifest: Manifest, scratch: Path, folder: Path) -> Installed:
    """Move the files of `scratch` into `folder`, the manifest last. Files of other origin in `folder` are kept.

    If another file is registered in `folder`, it is no longer: the moved files are read from now on.
    """
    write_manifest(manifest, scratch)
    registered = sources.registered_over(folder / f"{manifest.name}.inter")
    earlier = read_manifest(folder)
    names = [member.name for member in manifest.members]
    move_into(folder, scratch, [*names, FILE_NAME])
    if earlier:
        for member in earlier.members:
            if member.name not in names:
                (folder / Path(member.name).name).unlink(missing_ok=True)
    if registered:
        (folder / sources.FILE_NAME).unlink()
    changed = earlier and earlier.source == manifest.source and earlier.sha256 != manifest.sha256
    return Installed(folder, manifest, earlier.sha256 if earlier and changed else None, registered)
