"""Reads JSON lines: one object per line, one interaction or one list of items in each."""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Iterator, Sequence
from itertools import chain, islice
from math import isfinite
from pathlib import Path
from reprlib import repr as shortened
from typing import Any

import numpy as np
import pandas as pd

from actsr_cli.data.readers.columns import Columns
from actsr_cli.data.readers.delimited import Table
from actsr_cli.data.readers.expansion import Layout, find_layout, read_layout
from actsr_cli.data.readers.interactions import BadLines, Interactions
from actsr_cli.data.readers.text import read_lines
from actsr_cli.errors import DataError

_HEAD = 1000
"""Number of lines in which the columns are looked for."""
_ENDLESS = 1e308
"""Whole numbers from here on are no floats."""
_WHOLE = 2.0**53
"""Up to here every whole number is a float of its own."""

_Convert = Callable[[str, Any], Any]


class _MalformedError(Exception):
    """A line cannot be read; the message is the reason."""


def read_json(path: Path, columns: Columns, wanted: Collection[str], bad_lines: BadLines) -> Interactions:
    """Read a file with one JSON object per line; its keys are the columns.

    Raises:
        DataError: a column is missing, or the file holds no interactions or one JSON array.
    """
    lines = _parsed_lines(path, columns.encoding)
    head = list(islice(lines, _HEAD))
    samples = {key: value for _, found in reversed(head) for key, value in _items(found) if value is not None}
    names = list(dict.fromkeys(key for _, found in head for key, _ in _items(found)))
    if not names:
        for number, reason in head:
            bad_lines.report(number, reason)
        raise DataError(f"{path} holds no interactions")
    lists = {name for name, value in samples.items() if isinstance(value, list)}
    layout = find_layout(names, lists, columns, wanted, path)
    return read_layout(_table(chain(head, lines), layout), layout, path, bad_lines)


def _items(found: Any) -> Collection[tuple[str, Any]]:
    return found.items() if isinstance(found, dict) else ()


def _parsed_lines(path: Path, encoding: str | None) -> Iterator[tuple[int, Any]]:
    """The number of each line that is not empty, with its object or the reason why it is malformed, a text."""
    for number, line in enumerate(read_lines(path, encoding), start=1):
        text = line.strip(" \t")
        if not text:
            continue
        if number == 1 and text[0] == "[":
            raise DataError(
                f"{path} is one JSON array, and JSON lines are read: one object per line",
                hint=f"Convert it: jq -c '.[]' {path.name} > {path.stem}.jsonl",
            )
        yield number, _parsed(text)


def _parsed(text: str) -> Any:
    """The object in a text, or the reason why the text is malformed."""
    try:
        found, end = _DECODER.raw_decode(text)
    except json.JSONDecodeError as error:
        return f"not JSON: {error.msg}"
    except (ValueError, RecursionError) as error:  # a number or a nesting beyond Python's limits
        return f"not JSON: {error}"
    except _MalformedError as error:
        return str(error)
    if end < len(text):
        return "not JSON: more than one value"
    return found if isinstance(found, dict) else "not a JSON object"


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """An object whose keys occur once each."""
    found = dict(pairs)
    if len(found) < len(pairs):
        seen: set[str] = set()
        twice = next(key for key, _ in pairs if key in seen or seen.add(key))  # type: ignore[func-returns-value]
        raise _MalformedError(f"the key {shortened(twice)} occurs twice")
    return found


_DECODER = json.JSONDecoder(object_pairs_hook=_unique)


def _table(lines: Iterator[tuple[int, Any]], layout: Layout) -> Table:
    """The used columns: texts, numbers, and lists of them."""
    converts = [(name, _convert(name, layout)) for name in layout.used]
    rows: list[tuple[Any, ...]] = []  # a tuple of texts and numbers costs the garbage collector nothing
    places: list[int] = []
    malformed: list[tuple[int, str]] = []
    for number, found in lines:
        try:
            if isinstance(found, str):
                raise _MalformedError(found)
            rows.append(tuple([convert(name, found.get(name)) for name, convert in converts]))
            places.append(number)
        except _MalformedError as error:
            malformed.append((number, str(error)))
    values = zip(*rows, strict=True) if rows else ([] for _ in converts)
    columns = {name: _series(held) for (name, _), held in zip(converts, values, strict=True)}
    return Table(pd.DataFrame(columns), lambda: np.array(places, dtype=np.int64), "line", malformed)


def _series(values: Sequence[Any]) -> pd.Series:
    """A column of lists, of texts, or of numbers."""
    kinds = set(map(type, values))
    if list in kinds:
        return pd.Series(values, dtype=object)
    if str in kinds or not values:
        return pd.Series([value if value is None else str(value) for value in values], dtype="str")
    return pd.Series(values, dtype=np.float64)


def _convert(name: str, layout: Layout) -> _Convert:
    """What makes a text of the values of a column."""
    if name == layout.lists:
        return _ids
    if name in (layout.roles.user, layout.roles.item):
        return _id
    if name != layout.roles.timestamp:
        return _number
    return _times if layout.times else _time


def _id(name: str, value: Any) -> str:
    if isinstance(value, str) and value:
        return value if value.isascii() else _text(name, value)
    if value is None or value == "":
        raise _MalformedError(f"no {name}")
    if isinstance(value, float) and value.is_integer() and abs(value) <= _WHOLE:
        value = int(value)  # written by pandas, where a missing value makes floats of a column
    if isinstance(value, bool) or not isinstance(value, int):
        raise _MalformedError(f"{name} {shortened(value)} is neither a text nor a whole number")
    return str(value)


def _ids(name: str, value: Any) -> list[str]:
    return [_id(name, each) for each in _list(name, value)]


def _number(name: str, value: Any) -> float | str | None:
    """A number, or the text of one or of a date; None where it is missing."""
    if isinstance(value, float) and isfinite(value):
        return value
    if value is None or value == "":
        return None
    if isinstance(value, str):
        return _text(name, value)
    if isinstance(value, int) and not isinstance(value, bool) and abs(value) < _ENDLESS:
        return value
    raise _MalformedError(f"{name} {shortened(value)} is not a number")


def _time(name: str, value: Any) -> float | str:
    time = _number(name, value)
    if time is None:
        raise _MalformedError(f"no {name}")
    return time


def _times(name: str, value: Any) -> list[float | str]:
    return [_time(name, each) for each in _list(name, value)]


def _list(name: str, value: Any) -> list[Any]:
    if not isinstance(value, list):
        raise _MalformedError(f"no list of {name}" if value is None else f"{name} {shortened(value)} is not a list")
    return value


def _text(name: str, value: str) -> str:
    """A text, if it can be written: JSON may hold halves of surrogate pairs."""
    try:
        value.encode()
    except UnicodeEncodeError:
        raise _MalformedError(f"{name} {shortened(value)} holds half of a character") from None
    return value
