"""From a source to prepared sequences, kept under a fingerprint of input and settings."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from actsr_cli.config import DataConfig
from actsr_cli.data import store
from actsr_cli.data.filters import in_interval, k_core, latest, time_order, without_duplicates
from actsr_cli.data.manifest import sha256_of
from actsr_cli.data.readers import BadLines, Interactions, read_interactions
from actsr_cli.data.readers.interactions import OnBadLine
from actsr_cli.data.readers.tables import read_titles
from actsr_cli.data.sequences import SequenceData
from actsr_cli.data.sources import Source
from actsr_cli.errors import DataError

FORMAT_VERSION = 1
_INPUTS = "inputs.json"
_LATEST = "latest.json"


@dataclass(frozen=True)
class Step:
    """What was left after a step of the preparation.

    Attributes:
        name: the step, in words.
        users: users that are left.
        items: items that are left.
        interactions: interactions that are left.
    """

    name: str
    users: int
    items: int
    interactions: int


@dataclass(frozen=True)
class Report:
    """How data were prepared.

    Attributes:
        steps: reading first, then each filter.
        bad_lines: malformed lines that were passed over.
        bad_examples: the first few of them.
        cached: whether they had been prepared before.
        note: something about the input that one should know, or empty.
    """

    steps: list[Step]
    bad_lines: int = 0
    bad_examples: list[str] = field(default_factory=list)
    cached: bool = False
    note: str = ""


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
    if not source.file.is_file():
        return _without_input(source, settings)
    fingerprint = _fingerprint(source, settings)
    folder = source.folder / "prepared" / fingerprint
    if folder.is_dir() and not force:
        _remember_latest(source, fingerprint)
        return Prepared(store.load(folder), folder, _stored_report(folder))
    say(f"reading {source.file.name}")
    bad_lines = BadLines(source.file, on_bad_line)
    raw = read_interactions(source, settings.intervals, bad_lines)
    steps = [_step("read", raw)]
    raw = _filtered(raw, settings, steps, say)
    say("building sequences")
    data = _sequences(raw, source, fingerprint)
    note = "the input has changed since it was last prepared" if _prepared_from_other_input(source) else ""
    report = Report(steps, bad_lines.count, bad_lines.examples, note=note)
    store.save(folder, data, _record(source, settings, data, report))
    _remember_latest(source, fingerprint)
    return Prepared(store.load(folder), folder, report)


def last_settings(source: Source) -> DataConfig | None:
    """The settings with which a source was last prepared, or None."""
    folder = _latest_folder(source)
    return None if folder is None else DataConfig.model_validate(store.load_record(folder)["settings"])


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
    return Step(name, len(np.unique(raw.users)), len(np.unique(raw.items)), len(raw))


def _sequences(raw: Interactions, source: Source, fingerprint: str) -> SequenceData:
    """Users and items numbered in order of first appearance, each user's items in order of time."""
    users, user_names = _renumbered(raw.users, raw.user_names)
    items, item_names = _renumbered(raw.items, raw.item_names)
    order = time_order(raw)
    order = order[np.argsort(users[order], kind="stable")]
    titles = None if source.item_file is None else read_titles(source.item_file)
    return SequenceData(
        name=source.name,
        fingerprint=fingerprint,
        items=(items[order] + 1).astype(np.int32),
        offsets=np.concatenate([[0], np.cumsum(np.bincount(users))]).astype(np.int64),
        timestamps=None if raw.timestamps is None else raw.timestamps[order],
        user_names=tuple(user_names),
        item_names=("", *item_names),
        titles=("", *(titles.get(name, "") for name in item_names)) if titles else None,
    )


def _renumbered(codes: Any, names: Any) -> tuple[Any, Any]:
    """Codes without gaps, in order of first appearance, and their names."""
    present, first, inverse = np.unique(codes, return_index=True, return_inverse=True)
    rank = np.argsort(np.argsort(first, kind="stable"), kind="stable")
    return rank[inverse], names[present[np.argsort(first, kind="stable")]]


def _fingerprint(source: Source, settings: DataConfig) -> str:
    """16 hexadecimal digits over everything that prepared data depend on.

    What is done about malformed lines is not among it: where nothing was raised, the good lines are what was prepared.
    """
    described = {
        "version": FORMAT_VERSION,
        "file": _content_hash(source, source.file),
        "item_file": None if source.item_file is None else _content_hash(source, source.item_file),
        "format": source.format,
        "columns": source.columns.model_dump(),
        "settings": settings.model_dump(mode="json"),
    }
    return hashlib.sha256(json.dumps(described, sort_keys=True).encode()).hexdigest()[:16]


def _content_hash(source: Source, path: Path) -> str:
    """The file's SHA-256; computed only where size or time of change differ from when it last was."""
    stat = path.stat()
    known = _read(source, _INPUTS)
    entry = known.get(str(path), {})
    if (entry.get("size"), entry.get("mtime_ns")) == (stat.st_size, stat.st_mtime_ns):
        return str(entry["sha256"])
    digest = sha256_of(path)
    _write(source, _INPUTS, known | {str(path): {"size": stat.st_size, "mtime_ns": stat.st_mtime_ns, "sha256": digest}})
    return digest


def _prepared_from_other_input(source: Source) -> bool:
    """Whether what was prepared last came from other content of the same file."""
    folder = _latest_folder(source)
    if folder is None:
        return False
    before = store.load_record(folder)
    same_file: bool = before["file"] == str(source.file)
    return same_file and before["sha256"] != _content_hash(source, source.file)


def _without_input(source: Source, settings: DataConfig) -> Prepared:
    """What was prepared with these settings before the input went away."""
    for folder in sorted((source.folder / "prepared").glob("[0-9a-f]*"), key=lambda path: path.stat().st_mtime):
        if store.load_record(folder)["settings"] == settings.model_dump(mode="json"):
            report = _stored_report(folder)
            note = f"{source.file} is gone; these data were prepared from it before"
            return Prepared(store.load(folder), folder, Report(**{**vars(report), "note": note}))
    raise DataError(f"no file {source.file}, from which '{source.name}' was prepared")


def _record(source: Source, settings: DataConfig, data: SequenceData, report: Report) -> dict[str, Any]:
    return {
        "name": source.name,
        "fingerprint": data.fingerprint,
        "version": FORMAT_VERSION,
        "prepared": datetime.now(UTC).isoformat(timespec="seconds"),
        "file": str(source.file),
        "sha256": _content_hash(source, source.file),
        "format": source.format,
        "timestamps": data.timestamps is not None,
        "users": data.n_users,
        "items": data.n_items,
        "interactions": data.n_interactions,
        "settings": settings.model_dump(mode="json"),
        "report": asdict(report),
    }


def _stored_report(folder: Path) -> Report:
    stored = store.load_record(folder)["report"]
    return Report(**{**stored, "steps": [Step(**step) for step in stored["steps"]], "cached": True, "note": ""})


def _latest_folder(source: Source) -> Path | None:
    fingerprint = _read(source, _LATEST).get("fingerprint")
    folder = source.folder / "prepared" / str(fingerprint)
    return folder if fingerprint and folder.is_dir() else None


def _remember_latest(source: Source, fingerprint: str) -> None:
    _write(source, _LATEST, {"fingerprint": fingerprint})


def _read(source: Source, name: str) -> dict[str, Any]:
    path = source.folder / "prepared" / name
    if not path.is_file():
        return {}
    try:
        values: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise DataError(f"{path} is damaged: {error}", hint="Delete it.") from error
    return values


def _write(source: Source, name: str, values: dict[str, Any]) -> None:
    folder = source.folder / "prepared"
    folder.mkdir(parents=True, exist_ok=True)
    partial = folder / f"{name}.partial"
    partial.write_text(json.dumps(values, indent=2) + "\n", encoding="utf-8")
    partial.replace(folder / name)
