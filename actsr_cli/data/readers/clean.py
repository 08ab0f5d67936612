"""The fast path of reading: tables whose values all fit, chunk by chunk, in memory that does not depend on their text.

A table is clean if each row has all fields, a user and an item, and each column of numbers or times holds only finite
numbers, only ISO dates or only typed times, which do not contradict each other. `read_clean` gives up where a value
does not fit. The caller then reads the whole table as text with `tables.read_table`, which knows what to report or to
skip, and where. On clean tables both have the same result.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as compute
from numpy.typing import NDArray

from actsr_cli.data.readers.interactions import Interactions, NotCleanError
from actsr_cli.data.readers.tables import Roles
from actsr_cli.data.readers.values import Column

_ROWS = 1 << 19
"""Number of rows that are converted at once."""
_THREADS = 2
_LARGEST, _SMALL = 1 << 26, 1 << 20
"""Ids that are whole numbers below the first are looked up by number: a tenth of the time of looking up texts. With few
rows they must be below the second, or 16 times the rows, so that the table does not outgrow the file."""


def read_clean(chunks: Iterable[pa.Table], roles: Roles) -> Interactions | None:
    """Convert a clean table to interactions; None if it is not clean, or empty.

    Args:
        chunks: its rows in order, ids as texts. May raise `NotCleanError`.
        roles: its columns.

    Raises:
        DataError: the chunks cannot be read.
    """
    ids = {name: Ids() for name in (roles.user, roles.item)}
    kept = {roles.timestamp, *roles.numbers.values()}
    numbers = {
        name: Column(
            times=name == roles.timestamp,
            dates=name == roles.timestamp or name != roles.rating,
            kept=name in kept,
        )
        for name in roles.of_numbers
    }
    try:
        adds = [(name, each.add) for name, each in ids.items()] + [(name, each.add) for name, each in numbers.items()]
        _add_all(chunks, adds)
        readings = {name: each.reading() for name, each in numbers.items()}
    except NotCleanError:
        return None
    users, user_names = ids[roles.user].numbered()
    items, item_names = ids[roles.item].numbered()
    if not len(users):
        return None
    return Interactions(
        users=users,
        items=items,
        user_names=user_names,
        item_names=item_names,
        timestamps=None if roles.timestamp is None else readings[roles.timestamp].values,
        numbers={name: readings[column].values for name, column in roles.numbers.items()},
        way="" if roles.timestamp is None else readings[roles.timestamp].way,
        ways={name: way for name, column in roles.numbers.items() if (way := readings[column].way)},
        columns=(roles.user, roles.item, roles.timestamp),
    )


class Ids:
    """Numbers ids in order of first appearance. They come chunk by chunk, as texts.

    Whole numbers, as they are usually written, are looked up in an array. From the first other text on, ids are held
    back until they are as many as the known ones, and then are numbered together with these.
    """

    def __init__(self) -> None:
        self._codes: list[NDArray[np.int32]] = []
        self._code_of = np.empty(0, dtype=np.int32)
        self._numbers: list[NDArray[np.int64]] = [np.empty(0, dtype=np.int64)]
        self._names: pa.LargeStringArray | None = None
        self._waiting: list[pa.LargeStringArray] = []

    def add(self, ids: pa.Array) -> None:
        """Add ids.

        Raises:
            NotCleanError: one is missing or empty.
        """
        texts = ids.cast(pa.large_string())
        if texts.null_count or compute.any(compute.equal(texts, "")).as_py():
            raise NotCleanError
        if self._names is None:
            rows = sum(map(len, self._codes)) + len(texts)
            numbers = _whole_numbers(texts, below=min(_LARGEST, max(_SMALL, 16 * rows)))
            if numbers is not None:
                self._codes.append(self._looked_up(numbers))
                return
            self._names = _texts_of(self._numbers)
            self._numbers, self._code_of = [], self._code_of[:0]
        self._waiting.append(texts)
        if sum(map(len, self._waiting)) >= max(_ROWS, len(self._names)):
            self._names = self._number_waiting(self._names)

    def numbered(self) -> tuple[NDArray[np.int32], NDArray[np.object_]]:
        """The number of each id, and the text of each number; may be called once."""
        names = _texts_of(self._numbers) if self._names is None else self._number_waiting(self._names)
        codes, self._codes = self._codes, []
        return np.concatenate(codes or [np.empty(0, dtype=np.int32)]), names.to_numpy(zero_copy_only=False)

    def _looked_up(self, numbers: NDArray[np.int64]) -> NDArray[np.int32]:
        """The codes of whole numbers; new ones get the next codes."""
        needed = int(numbers.max(initial=-1)) + 1
        if needed > len(self._code_of):
            more = np.full(max(needed, 2 * len(self._code_of)) - len(self._code_of), -1, dtype=np.int32)
            self._code_of = np.concatenate([self._code_of, more])
        codes = self._code_of[numbers]
        unknown = codes < 0
        if unknown.any():
            found = numbers[unknown]
            new = pd.unique(found)
            known = sum(map(len, self._numbers))
            self._code_of[new] = np.arange(known, known + len(new), dtype=np.int32)
            self._numbers.append(new)
            codes[unknown] = self._code_of[found]
        return codes

    def _number_waiting(self, names: pa.LargeStringArray) -> pa.LargeStringArray:
        """Number the ids that wait; returns the names, with those of new ids at the end."""
        encoded = pa.concat_arrays([names, *self._waiting]).dictionary_encode()
        self._codes.append(encoded.indices.to_numpy(zero_copy_only=False)[len(names) :].astype(np.int32))
        self._waiting = []
        return encoded.dictionary


def _whole_numbers(texts: pa.LargeStringArray, *, below: int) -> NDArray[np.int64] | None:
    """The numbers that all texts stand for, or None if one is large or written in another way than str() does."""
    if not compute.all(compute.ascii_is_decimal(texts)).as_py():
        return None
    try:
        numbers: NDArray[np.int64] = texts.cast(pa.int64()).to_numpy()
    except pa.ArrowInvalid:  # beyond 64 bits
        return None
    largest = int(numbers.max(initial=0))
    if largest >= below:
        return None
    digits = len(numbers) + sum(int(np.count_nonzero(numbers >= 10**n)) for n in range(1, len(str(largest))))
    has_zeros_in_front = compute.sum(compute.binary_length(texts)).as_py() not in (digits, None)
    return None if has_zeros_in_front else numbers


def _texts_of(numbers: list[NDArray[np.int64]]) -> pa.LargeStringArray:
    return pa.array(np.concatenate(numbers)).cast(pa.large_string())


def _add_all(chunks: Iterable[pa.Table], columns: Sequence[tuple[str, Callable[[pa.Array], None]]]) -> None:
    """Add each chunk to each column: while one is read, the one before is converted."""
    running: list[Future[None]] = []
    with ThreadPoolExecutor(_THREADS) as pool:
        for table in _of_size(chunks):
            for each in running:
                each.result()
            arrays: Mapping[str, pa.Array] = {name: table[name].combine_chunks() for name in table.column_names}
            running = [pool.submit(add, arrays[name]) for name, add in columns]
        for each in running:
            each.result()


def _of_size(chunks: Iterable[pa.Table]) -> Iterator[pa.Table]:
    """The same rows in chunks of about `_ROWS`, or larger ones."""
    held: list[pa.Table] = []
    for chunk in chunks:
        held.append(chunk)
        if sum(map(len, held)) >= _ROWS:
            yield pa.concat_tables(held)
            held = []
    if held:
        yield pa.concat_tables(held)
