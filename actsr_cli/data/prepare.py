"""From a source to prepared sequences, kept under a fingerprint of input and settings."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from actsr_cli.config import DataConfig
from actsr_cli.data import history, store
from actsr_cli.data.filters import in_interval, k_core, latest, time_order, without_duplicates
from actsr_cli.data.manifest import utc_now
from actsr_cli.data.readers import BadLines, Interactions, read_interactions
from actsr_cli.data.readers.interactions import OnBadLine
from actsr_cli.data.readers.tables import read_titles
from actsr_cli.data.report import Report, Step
from actsr_cli.data.sequences import SequenceData
from actsr_cli.data.sources import Source, find_source
from actsr_cli.errors import DataError

FORMAT_VERSION = 1


@dataclass(frozen=True)
class Prepared:
    """Prepared data, where they are kept and how they came about."""

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
) -> Prepared:
    """Prepare a source, or open what an earlier call prepared from the same input with the same settings.

    Args:
        source: the raw interactions.
        settings: the filters.
        on_bad_line: raise at a malformed line, or `skip` and count it; not asked again of data prepared before.
        force: prepare anew in any case.
        on_step: hears what is being done.

    Raises:
        DataError: the input is missing, malformed, or nothing is left of it.
    """
    say = on_step or (lambda _: None)
    if gone := [file for file in source.files if not file.is_file()]:
        return _without_input(source, settings, gone[0])
    inputs = history.content_hashes(source)
    this = history.Latest(fingerprint=_fingerprint(source, settings, inputs), inputs=inputs)
    folder = _folder(source, this.fingerprint)
    if folder.is_dir() and not force:
        prepared = _opened(source, folder)
    else:
        before = history.latest(source).inputs
        changed = [Path(file).name for file, digest in inputs.items() if before.get(file, digest) != digest]
        note = f"{' and '.join(changed)} has changed since it was last prepared" if changed else ""
        data, report = _read_and_filtered(source, settings, this.fingerprint, on_bad_line, say)
        store.save(folder, data, _record(source, settings, data, report, inputs))
        prepared = Prepared(store.load(folder), folder, replace(report, note=note))
    history.remember_latest(source, this)
    return prepared


def last_settings(source: Source) -> DataConfig | None:
    """The settings with which a source was last prepared, or None.

    Raises:
        DataError: what is remembered of that preparation is damaged.
    """
    fingerprint = history.latest(source).fingerprint
    folder = _folder(source, fingerprint)
    return store.load_record(folder).settings if fingerprint and folder.is_dir() else None


def latest_record(data_dir: Path, name: str | None = None) -> store.Record | None:
    """The record of what was prepared last: of a data set, or of all; None where nothing was.

    Raises:
        DataError: there is no data set of that name, or the record is damaged.
    """
    folders = data_dir.glob("*") if name is None else [find_source(data_dir, name).folder]
    records = [path for folder in folders for path in folder.glob(f"prepared/*/{store.RECORD}")]
    if not records:
        return None
    return store.load_record(max(records, key=lambda path: path.stat().st_mtime).parent)


def _folder(source: Source, fingerprint: str) -> Path:
    return source.folder / "prepared" / fingerprint


def _opened(source: Source, folder: Path, note: str = "") -> Prepared:
    """What an earlier call prepared, under the name that is asked for now."""
    report = replace(store.load_record(folder).report, cached=True, note=note)
    return Prepared(replace(store.load(folder), name=source.name), folder, report)


def _read_and_filtered(
    source: Source, settings: DataConfig, fingerprint: str, on_bad_line: OnBadLine, say: Callable[[str], None]
) -> tuple[SequenceData, Report]:
    say(f"reading {source.file.name}")
    bad = BadLines(source.file, on_bad_line)
    raw = read_interactions(source, settings.intervals, bad)
    steps = [_step("read", raw)]
    raw = _filtered(raw, settings, steps, say)
    say("building sequences")
    titles: dict[str, str] = {}
    bad_titles = BadLines(source.item_file or source.file, "skip")  # a title less is no reason to stop
    if source.item_file is not None:
        titles = read_titles(source.item_file, bad_titles)
    report = Report(steps, bad.count + bad_titles.count, bad.examples + bad_titles.examples)
    return _sequences(raw, source.name, fingerprint, titles), report


def _filtered(raw: Interactions, settings: DataConfig, steps: list[Step], say: Callable[[str], None]) -> Interactions:
    filters: list[tuple[str, Callable[[Interactions], Interactions]]] = [
        (_interval_name(column, low, high), lambda r, c=column, lo=low, hi=high: in_interval(r, c, lo, hi))  # type: ignore[misc]
        for column, (low, high) in settings.intervals.items()
    ]
    if settings.duplicates != "keep":
        duplicates = settings.duplicates
        filters.append((f"{duplicates} of duplicates", lambda r: without_duplicates(r, duplicates)))
    if settings.user_core or settings.item_core:
        cores = settings.user_core, settings.item_core
        filters.append((f"core of {cores[0]} per user, {cores[1]} per item", lambda r: k_core(r, *cores)))
    if (longest := settings.max_length) is not None:
        filters.append((f"latest {longest} of each user", lambda r: latest(r, longest)))
    for name, apply in filters:
        say(name)
        raw = apply(raw)
        steps.append(_step(name, raw))
        if not len(raw):
            raise DataError(f"nothing is left after the step '{name}'", hint="Loosen this filter.")
    return raw


def _interval_name(column: str, low: float | None, high: float | None) -> str:
    return f"{column} in [{'-∞' if low is None else f'{low:.16g}'}, {'∞' if high is None else f'{high:.16g}'}]"


def _step(name: str, raw: Interactions) -> Step:
    return Step(name, _present(raw.users), _present(raw.items), len(raw))


def _present(codes: NDArray[np.int64]) -> int:
    """How many different codes there are."""
    return int(np.count_nonzero(np.bincount(codes)))


def _sequences(raw: Interactions, name: str, fingerprint: str, titles: dict[str, str]) -> SequenceData:
    """Users and items numbered in order of first appearance, each user's items in order of time."""
    users, user_names = _renumbered(raw.users, raw.user_names)
    items, item_names = _renumbered(raw.items, raw.item_names)
    order = time_order(raw)
    order = order[np.argsort(users[order], kind="stable")]
    return SequenceData(
        name=name,
        fingerprint=fingerprint,
        items=(items[order] + 1).astype(np.int32),
        offsets=np.concatenate([[0], np.cumsum(np.bincount(users))]).astype(np.int64),
        timestamps=None if raw.timestamps is None else raw.timestamps[order],
        user_names=tuple(user_names),
        item_names=("", *item_names),
        titles=("", *(titles.get(item, "") for item in item_names)) if titles else None,
    )


def _renumbered(codes: NDArray[np.int64], names: NDArray[np.object_]) -> tuple[NDArray[np.int64], NDArray[np.object_]]:
    """Codes without gaps, in order of first appearance, and their names."""
    first = np.full(len(names), len(codes))
    first[codes[::-1]] = np.arange(len(codes) - 1, -1, -1)  # the last of equal indices stays: the first appearance
    by_appearance = np.argsort(first, kind="stable")[: np.count_nonzero(first < len(codes))]
    number = np.empty(len(names), dtype=np.int64)
    number[by_appearance] = np.arange(len(by_appearance))
    return number[codes], names[by_appearance]


def _fingerprint(source: Source, settings: DataConfig, inputs: dict[str, str]) -> str:
    """16 hexadecimal digits over everything that prepared data depend on.

    What is done about malformed lines is not among it: where nothing was raised, the good lines are what was prepared.
    """
    described = {
        "version": FORMAT_VERSION,
        "file": inputs[str(source.file)],
        "item_file": None if source.item_file is None else inputs[str(source.item_file)],
        "format": source.format,
        "columns": source.columns.model_dump(),
        "settings": settings.model_dump(mode="json"),
    }
    return hashlib.sha256(json.dumps(described, sort_keys=True).encode()).hexdigest()[:16]


def _without_input(source: Source, settings: DataConfig, gone: Path) -> Prepared:
    """What was last prepared from this source with these settings, before its input went away."""
    last = history.latest(source).fingerprint
    found: list[tuple[bool, str, Path]] = []
    for folder in (source.folder / "prepared").glob("[0-9a-f]*/"):
        made = store.load_record(folder)
        asked = (str(source.file), source.format, source.columns, settings)
        if (made.file, made.format, made.columns, made.settings) == asked:
            found.append((made.fingerprint == last, made.prepared, folder))
    if not found:
        raise DataError(f"no file {gone}, from which '{source.name}' was prepared")
    return _opened(source, max(found)[-1], note=f"{gone} is gone; these data were prepared from it before")


def _record(
    source: Source, settings: DataConfig, data: SequenceData, report: Report, inputs: dict[str, str]
) -> store.Record:
    return store.Record(
        name=source.name,
        fingerprint=data.fingerprint,
        version=FORMAT_VERSION,
        prepared=utc_now(),
        file=str(source.file),
        sha256=inputs[str(source.file)],
        format=source.format,
        columns=source.columns,
        timestamps=data.timestamps is not None,
        users=data.n_users,
        items=data.n_items,
        interactions=data.n_interactions,
        settings=settings,
        report=report,
    )
