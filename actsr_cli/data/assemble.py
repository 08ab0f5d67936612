"""Reads raw files, filters them, and builds sequences in memory."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from actsr_cli.config import DataConfig
from actsr_cli.config.data import Bound
from actsr_cli.data.filters import equal_rows, in_interval, k_core, latest, user_order, without_duplicates
from actsr_cli.data.orders import Codes, blocks, counts_of, first_rows, gather, grouped
from actsr_cli.data.readers.dates import written
from actsr_cli.data.readers.interactions import BadLines, Interactions, OnBadLine
from actsr_cli.data.readers.item_files import ItemDetails, read_item_file
from actsr_cli.data.readers.parts import read_interactions
from actsr_cli.data.readers.registry import PARTS, find_reader
from actsr_cli.data.readers.tables import USUAL_NAMES
from actsr_cli.data.report import Report, Step
from actsr_cli.data.sequences import SequenceData
from actsr_cli.data.sources import Source
from actsr_cli.errors import DataError


def assemble(
    source: Source, settings: DataConfig, fingerprint: str, on_bad_line: OnBadLine, say: Callable[[str], None]
) -> tuple[SequenceData, Report]:
    """Read a source, filter it, and order each user's items.

    Args:
        source: the raw interactions.
        settings: the filters.
        fingerprint: fingerprint of the resulting data.
        on_bad_line: `error` raises at a malformed line; `skip` skips and counts it.
        say: called with a description of each step.

    Raises:
        DataError: the input is malformed, nothing is left of it, or a filter would change a split given as files.
    """
    if source.is_split:
        _check_filters(settings, source.name)
    say(f"reading {' and '.join(path.name for path in source.parts)}")
    bad_lines = [BadLines(path, on_bad_line) for path in source.parts]
    raw = read_interactions(find_reader(source.format), source.columns, settings.intervals, bad_lines)
    _check_equal(settings, raw, source.name)
    raw = replace(raw, order=user_order(raw))
    steps = [_step(_read_step(source, raw), raw)]
    times, period = _times(raw), _period(raw)
    repeated = int(equal_rows(raw).sum()) if settings.duplicates == "keep" else 0
    raw = _filtered(raw, settings, steps, say)
    say("building sequences")
    details, item_note = _item_details(source, bad_lines)
    report = Report(
        steps,
        bad_lines=sum(each.count for each in bad_lines),
        bad_examples=[example for each in bad_lines for example in each.examples],
        parts=_part_sizes(raw),
        item_note=item_note or _unmatched(source, raw, details),
        times=times,
        period=period,
        equal_rows=repeated,
    )
    return _sequences(raw, source.name, fingerprint, details), report


def _read_step(source: Source, raw: Interactions) -> str:
    """The name of the first step; it has the columns that are taken from a file without header."""
    if source.columns.header is None:
        return "read"
    user, item, time = raw.columns
    return f"read (user {user}, item {item}, {'no times' if time is None else f'time {time}'})"


def _item_details(source: Source, bad_lines: list[BadLines]) -> tuple[ItemDetails, str]:
    """The titles and categories of a source, and what is wrong with its file of items.

    Malformed lines of the file are skipped and counted. A faulty file costs the titles only, unless it was given.

    Raises:
        DataError: the file was given, and cannot be read.
    """
    if source.item_file is None:
        return ItemDetails(), ""
    bad_lines.append(BadLines(source.item_file, "skip"))
    columns = source.columns
    try:
        return read_item_file(source.item_file, bad_lines[-1], columns.encoding, columns.separator), ""
    except (DataError, OSError) as error:
        if source.items_given:
            raise
        bad_lines.pop()
        return ItemDetails(), f"titles and categories are left out: {error}"


def _times(raw: Interactions) -> dict[str, str]:
    """How the times of each column were written; the column of times is `timestamp` under all its names."""
    others = {name: way for name, way in raw.ways.items() if name not in (*USUAL_NAMES["timestamp"], *raw.columns)}
    return {"timestamp": raw.way, **others} if raw.way else others


def _period(raw: Interactions) -> tuple[str, ...]:
    return () if raw.timestamps is None else (written(raw.timestamps.min()), written(raw.timestamps.max()))


def _unmatched(source: Source, raw: Interactions, details: ItemDetails) -> str:
    """A note if the file of items describes no item of the data, or empty."""
    described = list(details.titles or details.categories)
    if source.item_file is None or not described or not set(described).isdisjoint(raw.item_names):
        return ""
    return (
        f"{source.item_file.name} describes none of the items: its ids look like {', '.join(described[:3])}, "
        f"those of the data like {', '.join(raw.item_names[:3])}"
    )


def _check_equal(settings: DataConfig, raw: Interactions, name: str) -> None:
    """Raise DataError if equal rows are to be dropped and cannot be known."""
    if settings.duplicates == "equal" and raw.timestamps is None:
        raise DataError(
            f"'{name}' has no times, so it has no rows that are equal in user, item and time",
            hint="Choose --duplicates first, last or keep.",
        )


def _check_filters(settings: DataConfig, name: str) -> None:
    """Raise DataError if a filter would change a split because it ignores the parts."""
    if settings.against_split:
        filters = " and ".join(settings.against_split)
        raise DataError(
            f"'{name}' is split into files, and {filters} would change the split",
            hint=f"Filter the data before you split them, and do not set {filters} here.",
        )


def _filtered(raw: Interactions, settings: DataConfig, steps: list[Step], say: Callable[[str], None]) -> Interactions:
    filters: list[tuple[str, Callable[[Interactions], Interactions]]] = [
        (_interval_name(column, low, high), lambda r, c=column, lo=low, hi=high: in_interval(r, c, lo, hi))  # type: ignore[misc]
        for column, (low, high) in settings.intervals.items()
    ]
    duplicates = settings.duplicates
    if duplicates == "equal":
        filters.append(("without equal rows", lambda r: r.select(~equal_rows(r))))
    elif duplicates != "keep":
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
        if empty := [part for part, size in _part_sizes(raw).items() if not size]:
            raise DataError(
                f"nothing is left of the {empty[0]} part after the step '{name}'", hint="Loosen this filter."
            )
    return raw


def _interval_name(column: str, low: Bound | None, high: Bound | None) -> str:
    first, last = (f"{each:.16g}" if isinstance(each, float) else each for each in (low, high))
    return f"{column} in [{first or '-∞'}, {last or '∞'}]"


def _step(name: str, raw: Interactions) -> Step:
    users, items = counts_of(raw.users, len(raw.user_names)), counts_of(raw.items, len(raw.item_names))
    return Step(name, int(np.count_nonzero(users)), int(np.count_nonzero(items)), len(raw))


def _part_sizes(raw: Interactions) -> dict[str, int]:
    """Number of interactions in each part of data that are split into files; empty for other data."""
    if raw.parts is None:
        return {}
    return dict(zip(PARTS, np.bincount(raw.parts, minlength=len(PARTS)).tolist(), strict=True))


def _sequences(raw: Interactions, name: str, fingerprint: str, details: ItemDetails) -> SequenceData:
    """Number users and items in order of first appearance, and sort each user's items by part and time."""
    user_numbers, user_names = _renumbered(raw.users, raw.user_names)
    item_numbers, item_names = _renumbered(raw.items, raw.item_names)
    order = user_order(raw)
    order = order[grouped(gather(user_numbers, gather(raw.users, order)), len(user_names))]
    items = np.empty(len(raw), dtype=np.int32)
    for block in blocks(len(raw)):
        items[block] = item_numbers[raw.items[order[block]]] + 1
    lengths = np.zeros(len(user_names), dtype=np.int64)
    of_user = counts_of(raw.users, len(raw.user_names))
    lengths[user_numbers[of_user > 0]] = of_user[of_user > 0]
    return SequenceData(
        name=name,
        fingerprint=fingerprint,
        items=items,
        offsets=np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64),
        timestamps=None if raw.timestamps is None else gather(raw.timestamps, order),
        user_names=tuple(user_names),
        item_names=("", *item_names),
        titles=("", *(details.titles.get(item, "") for item in item_names)) if details.titles else None,
        categories=((), *(details.categories.get(item, ()) for item in item_names)) if details.categories else None,
        parts=None if raw.parts is None else gather(raw.parts, order),
        times=raw.way,
    )


def _renumbered(codes: Codes, names: NDArray[np.object_]) -> tuple[NDArray[np.int32], NDArray[np.object_]]:
    """For each code its place in the order of first appearance, and the names in this order; codes may be absent."""
    first = first_rows(codes, len(names))
    by_appearance = np.argsort(first, kind="stable")[: np.count_nonzero(first < len(codes))]
    numbers = np.empty(len(names), dtype=np.int32)
    numbers[by_appearance] = np.arange(len(by_appearance))
    return numbers, names[by_appearance]
