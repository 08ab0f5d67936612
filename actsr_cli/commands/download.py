"""`actsr download`: download data sets of the catalogue, or generate the demo."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from actsr_cli import console
from actsr_cli.commands.completion import complete_dataset
from actsr_cli.commands.options import AsJson, DataDir
from actsr_cli.commands.tables import print_rows
from actsr_cli.data.catalog import CATALOG, Counts, DatasetEntry, find_entry, find_installed
from actsr_cli.data.retry import RetryPolicy
from actsr_cli.errors import ActsrError, DownloadError

if TYPE_CHECKING:
    from actsr_cli.data.fetch import Installed

SOURCE, NETWORK = "Source of the data", "Network"
_INTERRUPTED = 130


def _read_sha256(text: str | None) -> str | None:
    if text is not None and not re.fullmatch(r"[0-9a-fA-F]{64}", text):
        raise typer.BadParameter("must be 64 hexadecimal digits")
    return text


def download(
    names: Annotated[
        list[str] | None,
        typer.Argument(metavar="NAME", help="Data sets, see --list.", autocompletion=complete_dataset),
    ] = None,
    show_list: Annotated[bool, typer.Option("--list", help="List the data sets and exit.")] = False,
    as_json: AsJson = False,
    force: Annotated[bool, typer.Option("--force", help="Download again even if the files exist.")] = False,
    from_file: Annotated[
        Path | None,
        typer.Option(
            metavar="ARCHIVE", help="Unpack this zip archive instead of downloading one.", rich_help_panel=SOURCE
        ),
    ] = None,
    mirror: Annotated[
        list[str] | None,
        typer.Option(
            metavar="URL",
            help="Try this host first; may be repeated. The hosts in ACTSR_MIRROR and the built-in ones come next.",
            rich_help_panel=SOURCE,
        ),
    ] = None,
    sha256: Annotated[
        str | None,
        typer.Option(
            metavar="DIGEST",
            callback=_read_sha256,
            help="Refuse an archive with a different SHA-256.",
            rich_help_panel=SOURCE,
        ),
    ] = None,
    retries: Annotated[
        int,
        typer.Option(
            min=0,
            help="Number of retries in a row without new data before the next mirror is tried.",
            rich_help_panel=NETWORK,
        ),
    ] = RetryPolicy.retries,
    timeout: Annotated[
        float, typer.Option(min=0.1, help="Seconds without data after which a try has failed.", rich_help_panel=NETWORK)
    ] = RetryPolicy.timeout,
    data_dir: DataDir = Path("dataset"),
) -> None:
    """Download data sets, or generate the [bold]demo[/].

    The files of NAME go into DATA_DIR/NAME, with a manifest. An interrupted download continues where it stopped.

    [bold]Example:[/]  actsr download demo amazon-beauty
    """
    if show_list:
        _print_list(data_dir, as_json)
        return
    if as_json:
        raise typer.BadParameter("goes with --list only", param_hint="--json")
    from actsr_cli.data.fetch import list_mirrors, sweep_partial
    from actsr_cli.data.writing import writing

    entries = _read_names(names or [], from_file, sha256)
    mirrors = list_mirrors(mirror or [], os.environ.get("ACTSR_MIRROR", ""))
    policy = RetryPolicy(retries=retries, timeout=timeout)
    failures: dict[str, ActsrError | OSError] = {}
    for entry in entries:
        try:
            if force or _is_missing(entry, data_dir, from_file, sha256):
                with writing(data_dir / entry.name, "downloaded"):
                    # again, as another process may have installed it in the meantime
                    if force or _is_missing(entry, data_dir, from_file, sha256):
                        _report(entry, _install(entry, data_dir, from_file, mirrors, sha256, policy))
            else:
                sweep_partial(entry, data_dir)
        except (ActsrError, OSError) as error:
            if len(entries) == 1:
                raise
            console.show_error(str(error), getattr(error, "hint", None))
            failures[entry.name] = error
        except KeyboardInterrupt:
            console.warn("interrupted: the same command continues the download")
            raise typer.Exit(_INTERRUPTED) from None
    if failures:
        message = f"{len(failures)} of {len(entries)} data sets failed: {', '.join(failures)}"
        raise DownloadError(message) from next(iter(failures.values()))


def _read_names(names: list[str], from_file: Path | None, sha256: str | None) -> list[DatasetEntry]:
    """The entries of the names, each once. Unknown names are refused before any download starts."""
    if not names:
        raise typer.BadParameter("name a data set; --list shows them", param_hint="NAME")
    entries = list(dict.fromkeys(find_entry(name) for name in names))
    for option, value in (("--from-file", from_file), ("--sha256", sha256)):
        if value is not None and (len(entries) > 1 or entries[0].archive is None):
            raise typer.BadParameter("takes exactly one NAME, and not demo", param_hint=option)
    return entries


def _is_missing(entry: DatasetEntry, data_dir: Path, from_file: Path | None, sha256: str | None) -> bool:
    """Whether a data set has yet to be installed; says what is there if not.

    Raises:
        DownloadError: data are there, but not known to be of the archive that the options ask for.
    """
    from actsr_cli.data.manifest import read_manifest
    from actsr_cli.data.sources import registered_over

    there = find_installed(entry, data_dir)
    if there is None:
        return True
    manifest = read_manifest(there.parent)
    if from_file is not None or (sha256 is not None and (manifest is None or manifest.sha256 != sha256.lower())):
        option = "--from-file" if from_file is not None else "--sha256"
        raise DownloadError(
            f"{entry.name} is already there: {there}; {option} would have no effect",
            "Add --force to replace the data that are there.",
        )
    console.note(f"{entry.name} is already there: {there} (--force downloads it again)")
    if registered := ", ".join(map(str, registered_over(there))):
        console.warn(
            f"{entry.name} is registered as {registered}, which is read instead; "
            f"--force downloads {entry.name} again and reads that"
        )
    return False


def _install(
    entry: DatasetEntry,
    data_dir: Path,
    from_file: Path | None,
    mirrors: tuple[str, ...],
    sha256: str | None,
    policy: RetryPolicy,
) -> Installed:
    from actsr_cli.data.fetch import fetch_dataset, install_demo, install_from_file

    if from_file is not None:
        return install_from_file(entry, from_file, data_dir, sha256)
    if entry.archive is None:
        return install_demo(entry, data_dir)
    with console.transfer_progress() as progress:
        task = progress.add_task(entry.name, total=None)
        return fetch_dataset(
            entry,
            data_dir,
            mirrors,
            sha256=sha256,
            policy=policy,
            on_progress=lambda done, total: progress.update(task, completed=done, total=total),
            on_note=console.note,
        )


def _report(entry: DatasetEntry, installed: Installed) -> None:
    from rich.filesize import decimal

    if installed.earlier_sha256:
        console.warn(
            f"the archive of {entry.name} is not the one downloaded earlier: "
            f"sha256 {installed.manifest.sha256}, was {installed.earlier_sha256}"
        )
    if unregistered := ", ".join(map(str, installed.unregistered)):
        console.warn(f"{entry.name} was registered as {unregistered}; from now on its own files are read")
    files = ", ".join(f"{member.name} ({decimal(member.bytes)})" for member in installed.manifest.members)
    console.results.print(f"{entry.name}: {files} in {installed.folder}", soft_wrap=True)
    console.note(f"Next: actsr preprocess {entry.name}")


def _print_list(data_dir: Path, as_json: bool) -> None:
    if as_json:
        console.print_json([_told(entry, data_dir) for entry in CATALOG])
        return
    sizes = ("users", "items", "interactions")
    rows = []
    for entry in CATALOG:
        counts = [f"{count:,}" for count in entry.expected] if entry.expected else ["?"] * len(sizes)
        rows.append((entry.name, entry.title, *counts, "yes" if find_installed(entry, data_dir) else "no"))
    print_rows(("data set", "title", *sizes, "downloaded"), rows, right=sizes)
    console.note("The sizes are after the filters of the preset.")


def _told(entry: DatasetEntry, data_dir: Path) -> dict[str, Any]:
    """A data set for JSON; unknown sizes are null, and `file` is null if it is not downloaded."""
    file = find_installed(entry, data_dir)
    return {
        "name": entry.name,
        "title": entry.title,
        "aliases": entry.aliases,
        **(dict.fromkeys(Counts._fields) if entry.expected is None else entry.expected._asdict()),
        "file": None if file is None else str(file),
    }
