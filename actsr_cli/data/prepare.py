"""Prepares sequences from a source and stores them under a fingerprint of input and settings."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from actsr_cli.config import DataConfig
from actsr_cli.data import history, store
from actsr_cli.data.assemble import assemble
from actsr_cli.data.manifest import utc_now
from actsr_cli.data.readers.interactions import OnBadLine
from actsr_cli.data.report import Report
from actsr_cli.data.sequences import SequenceData
from actsr_cli.data.sources import Source, find_source
from actsr_cli.data.writing import writing
from actsr_cli.errors import DataError

_FINGERPRINT_DIGITS = 16
_READING = 2
"""Version of the reading; increased when the same files and settings give other data than before."""


@dataclass(frozen=True)
class Prepared:
    """Prepared data, their folder, and the report of their preparation."""

    data: SequenceData
    folder: Path
    report: Report


def prepare(
    source: Source,
    settings: DataConfig,
    *,
    on_bad_line: OnBadLine = "error",
    force: bool = False,
    on_step: Callable[[str], None] | None = None,
    choice: history.Choice | None = None,
) -> Prepared:
    """Prepare a source, or open the data that were prepared before from the same input with the same settings.

    Args:
        source: the raw interactions.
        settings: the filters.
        on_bad_line: `error` raises at a malformed line; `skip` skips and counts it. Not used if data are only opened.
        force: prepare again even if prepared data exist.
        on_step: called with a description of each step.
        choice: what the user asked for, remembered for `last_choice`. None keeps what was remembered before.

    Raises:
        DataError: the input is missing or malformed, or the filters leave nothing of it.
    """
    say = on_step or (lambda _: None)
    choice = choice or last_choice(source)
    source, lost = _without_lost_items(source)
    if gone := [file for file in source.files if not file.exists()]:
        prepared = _without_input(source, settings, gone[0])
        history.remember_latest(source, history.latest(source).model_copy(update={"choice": choice}))
        return prepared

    def identified() -> history.Latest:
        inputs = history.content_hashes(source)
        return history.Latest(fingerprint=_fingerprint(source, settings, inputs), inputs=inputs, choice=choice)

    this = identified()
    if force or not _folder(source, this.fingerprint).is_dir():
        with writing(source.folder, "prepared"):
            this = identified()  # another process may have prepared the data meanwhile, or downloaded others
            if force or not _folder(source, this.fingerprint).is_dir():
                prepared = _prepared_anew(source, settings, this, on_bad_line, lost, say)
                history.remember_latest(source, this)
                return prepared
    history.remember_latest(source, this)
    return open_prepared(_folder(source, this.fingerprint), source.name)


def _prepared_anew(
    source: Source,
    settings: DataConfig,
    this: history.Latest,
    on_bad_line: OnBadLine,
    lost: str,
    say: Callable[[str], None],
) -> Prepared:
    """Prepare a source, and store the data; the caller holds the lock of the data set.

    Raises:
        DataError: see `prepare`; or a file has changed while it was read.
    """
    folder, before = _folder(source, this.fingerprint), history.latest(source).inputs
    changed = [Path(file).name for file, digest in this.inputs.items() if before.get(file, digest) != digest]
    note = f"{' and '.join(changed)} has changed since it was last prepared" if changed else ""
    data, report = assemble(source, settings, this.fingerprint, on_bad_line, say)
    if history.content_hashes(source) != this.inputs:
        raise DataError(f"the files of '{source.name}' have changed while they were read", hint="Prepare them again.")
    report = replace(report, item_note=lost or report.item_note)
    store.save(folder, data, _record(source, settings, data, report, this.inputs))
    return Prepared(store.load(folder), folder, replace(report, note=note))


def last_choice(source: Source) -> history.Choice | None:
    """The filters that the user last prepared a source with, or None.

    Raises:
        DataError: what was remembered is damaged.
    """
    latest = history.latest(source)
    if "choice" in latest.model_fields_set or not latest.fingerprint:
        return latest.choice
    # an earlier version remembered no more than the folder
    return history.choice_of(_folder(source, latest.fingerprint) / store.RECORD)


def last_settings(source: Source) -> DataConfig | None:
    """The filters of `last_choice`, or None."""
    choice = last_choice(source)
    return None if choice is None else choice.settings


def find_prepared(data_dir: Path, fingerprint: str) -> Path | None:
    """The folder of prepared data with this fingerprint, in any data set below the data root, or None.

    Does not check whether the source still exists or has changed.
    """
    if not re.fullmatch(f"[0-9a-f]{{{_FINGERPRINT_DIGITS}}}", fingerprint):
        return None
    return next((path.parent for path in sorted(data_dir.glob(f"*/prepared/{fingerprint}/{store.RECORD}"))), None)


def open_prepared(folder: Path, name: str) -> Prepared:
    """Open prepared data under the given name, even if the source is gone or has changed.

    Raises:
        DataError: the data are missing, damaged or from another version of actsr.
    """
    report = replace(store.load_record(folder).report, cached=True, note="")
    return Prepared(replace(store.load(folder), name=name), folder, report)


def latest_record(data_dir: Path, name: str | None = None) -> store.Record | None:
    """The record of the latest prepared data of one data set or of all, or None if no data are prepared.

    Raises:
        DataError: there is no data set of that name, or the record is damaged.
    """
    folders = data_dir.glob("*") if name is None else [find_source(data_dir, name).folder]
    records = sorted(
        (path for folder in folders for path in folder.glob(f"prepared/[0-9a-f]*/{store.RECORD}")),
        key=lambda path: path.stat().st_mtime,
        reverse=True,
    )
    return next((store.load_record(path.parent) for path in records if store.is_current(path.parent)), None)


def _without_lost_items(source: Source) -> tuple[Source, str]:
    """The source without a file of items that was found beside the interactions and is gone, and a note about it."""
    file = source.item_file
    if file is None or source.items_given or file.is_file():
        return source, ""
    return source.model_copy(update={"item_file": None}), f"{file} is gone: titles and categories are left out"


def _folder(source: Source, fingerprint: str) -> Path:
    return source.folder / "prepared" / fingerprint


def _without_input(source: Source, settings: DataConfig, gone: Path) -> Prepared:
    """Open the latest data prepared from this source with these settings; its input is missing."""
    last = history.latest(source).fingerprint
    asked = (tuple(map(str, source.parts)), source.format, source.columns, settings)
    found: list[tuple[bool, str, Path]] = []
    for folder in filter(store.is_current, (source.folder / "prepared").glob("[0-9a-f]*/")):
        made = store.load_record(folder)
        if (made.files, made.format, made.columns, made.settings) == asked:
            found.append((made.fingerprint == last, made.prepared, folder))
    if not found:
        raise DataError(f"no file {gone}, which is the input of '{source.name}'")
    prepared = open_prepared(max(found)[-1], source.name)
    return replace(
        prepared, report=replace(prepared.report, note=f"{gone} is missing; using data prepared from it before")
    )


def _fingerprint(source: Source, settings: DataConfig, inputs: dict[str, str]) -> str:
    """Hexadecimal digest of everything that prepared data depend on.

    `on_bad_line` is not included: if no error is raised, the prepared data contain the valid lines either way.
    """
    described = {
        "version": store.FORMAT_VERSION,
        "reading": _READING,
        "files": [inputs[str(file)] for file in source.parts],
        "item_file": None if source.item_file is None else inputs[str(source.item_file)],
        "format": source.format,
        "columns": source.columns.model_dump(),
        "settings": settings.model_dump(mode="json"),
    }
    return hashlib.sha256(json.dumps(described, sort_keys=True).encode()).hexdigest()[:_FINGERPRINT_DIGITS]


def _record(
    source: Source, settings: DataConfig, data: SequenceData, report: Report, inputs: dict[str, str]
) -> store.Record:
    return store.Record(
        name=source.name,
        fingerprint=data.fingerprint,
        version=store.FORMAT_VERSION,
        prepared=utc_now(),
        files=tuple(map(str, source.parts)),
        sha256=tuple(inputs[str(file)] for file in source.parts),
        format=source.format,
        columns=source.columns,
        timestamps=data.timestamps is not None,
        parts=data.parts is not None,
        users=data.n_users,
        items=data.n_items,
        interactions=data.n_interactions,
        settings=settings,
        report=report,
    )
