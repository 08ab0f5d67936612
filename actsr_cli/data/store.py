"""Stores prepared data on disk: memory-mapped arrays, names in Parquet, and a record of the preparation.

FOLDER/prepared/FINGERPRINT/
    items.npy offsets.npy [timestamps.npy] [parts.npy]    flat arrays
    users.parquet items.parquet                           raw ids, titles, categories
    prepared.json                                         settings, steps, counts, source
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from tokenize import TokenError
from typing import Any, TypeVar
from zipfile import BadZipFile

import numpy as np
import pyarrow as pa
import pyarrow.parquet as parquet
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, ValidationError

from actsr_cli import sealed
from actsr_cli.config import DataConfig
from actsr_cli.data.names import lists_of_texts, texts
from actsr_cli.data.readers.columns import Columns
from actsr_cli.data.report import Report
from actsr_cli.data.sequences import SequenceData
from actsr_cli.errors import DataError
from actsr_cli.files import replacing_folder
from actsr_cli.words import shortened

FORMAT_VERSION = 2
"""Version of the file layout and of the preparation; increased when either changes."""
RECORD = "prepared.json"

Model = TypeVar("Model", bound=BaseModel)


class Record(BaseModel):
    """How data were prepared.

    Attributes:
        name: the data set's name.
        fingerprint: hexadecimal digest of input and settings.
        version: `FORMAT_VERSION` of the actsr that prepared them.
        prepared: date of the preparation in UTC, as ISO 8601.
        files: the files of interactions: one, or three if the data are split into files.
        sha256: hexadecimal digest of each file.
        format: the format of the files.
        columns: the columns that were read.
        timestamps: whether there are timestamps.
        parts: whether the data are split into files.
        users: number of users.
        items: number of items.
        interactions: number of interactions.
        settings: the filters.
        report: the size after each step.
        checksums: checksum of each file beside the record; None of an earlier version.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    fingerprint: str
    version: int
    prepared: str
    files: tuple[str, ...]
    sha256: tuple[str, ...]
    format: str
    columns: Columns = Columns()
    timestamps: bool
    parts: bool
    users: int
    items: int
    interactions: int
    settings: DataConfig
    report: Report
    checksums: dict[str, str] | None = None


class _Version(BaseModel):
    """The part of a record that all versions have in common."""

    version: int


def save(folder: Path, data: SequenceData, record: Record) -> None:
    """Write prepared data to a temporary folder and rename it to `folder`, replacing an existing one."""
    with replacing_folder(folder) as partial:
        for name, array in (
            ("items", data.items),
            ("offsets", data.offsets),
            ("timestamps", data.timestamps),
            ("parts", data.parts),
        ):
            if array is not None:
                np.save(partial / f"{name}.npy", array, allow_pickle=False)
        parquet.write_table(_table({"id": data.user_names}), partial / "users.parquet")
        items = _table({"id": data.item_names, "title": data.titles, "categories": data.categories})
        parquet.write_table(items, partial / "items.parquet")
        files = sealed.checksums(sorted(partial.iterdir()))
        values = json.loads(record.model_copy(update={"checksums": files}).model_dump_json())
        sealed.write_json(partial / RECORD, values)


def load(folder: Path) -> SequenceData:
    """Open prepared data; the arrays stay on disk until they are read.

    Raises:
        DataError: the data are missing, damaged or from another version of actsr.
    """
    record = load_record(folder)
    try:
        sealed.check_files(folder, record.checksums or {})
        users, items = parquet.read_table(folder / "users.parquet"), parquet.read_table(folder / "items.parquet")
        data = SequenceData(
            name=record.name,
            fingerprint=record.fingerprint,
            items=_mapped(folder, "items", np.int32),
            offsets=_mapped(folder, "offsets", np.int64),
            timestamps=_mapped(folder, "timestamps", np.float64) if record.timestamps else None,
            user_names=texts(users, "id"),
            item_names=texts(items, "id"),
            titles=texts(items, "title") if "title" in items.column_names else None,
            categories=lists_of_texts(items, "categories") if "categories" in items.column_names else None,
            parts=_mapped(folder, "parts", np.uint8) if record.parts else None,
            times=record.report.times.get("timestamp", ""),
        )
    except (OSError, EOFError, ValueError, KeyError, TypeError, SyntaxError, MemoryError, pa.ArrowException) as error:
        raise _damaged(folder, shortened(" ".join(str(error).split()), 300)) from error
    if not _fits(data, record):
        raise _damaged(folder, "its files do not fit together")
    if problem := _problem_of(data):
        raise _damaged(folder, problem)
    return data


def load_record(folder: Path) -> Record:
    """The record of how data were prepared.

    Raises:
        DataError: the record is missing, damaged or from another version of actsr.
    """
    if not is_current(folder):
        raise DataError(
            f"the data in {folder} were prepared by another version of actsr",
            hint="Prepare them again: actsr preprocess NAME",
        )
    return _read(folder, Record)


def is_current(folder: Path) -> bool:
    """Whether prepared data have the current format version.

    Raises:
        DataError: their record is missing or damaged.
    """
    return _read(folder, _Version).version == FORMAT_VERSION


def _read(folder: Path, model: type[Model]) -> Model:
    try:
        values, fits = sealed.read_json(folder / RECORD)
        record = model.model_validate(values)
    except ValidationError as error:
        raise _damaged(folder, f"{RECORD} is not a valid record") from error
    except (sealed.DamageError, OSError) as error:
        reason = f"{RECORD} is not a valid record: {error}" if isinstance(error, sealed.DamageError) else error
        raise _damaged(folder, reason) from error
    if not fits:
        raise _damaged(folder, f"{RECORD} is not a valid record: {sealed.CHANGED}")
    return record


def _table(columns: Mapping[str, Sequence[object] | None]) -> pa.Table:
    """A table of texts and lists of texts; columns that are None are left out."""
    types = {"categories": pa.list_(pa.string())}
    return pa.table(
        {name: pa.array(values, types.get(name, pa.string())) for name, values in columns.items() if values is not None}
    )


def _mapped(folder: Path, name: str, kind: type[np.generic]) -> NDArray[Any]:
    """A memory-mapped array of one dimension and of a kind."""
    try:
        array = np.load(folder / f"{name}.npy", mmap_mode="r", allow_pickle=False)
    except (TokenError, OverflowError, BadZipFile) as error:  # a header that is no Python, or of another kind of file
        raise ValueError(f"{name}.npy has no header of an array") from error
    if not isinstance(array, np.ndarray):
        raise ValueError(f"{name}.npy is no array, but an archive of arrays")
    if array.dtype != kind or array.ndim != 1:
        raise ValueError(f"{name}.npy holds {array.ndim} dimensions of {array.dtype}, not one of {np.dtype(kind)}")
    return array


def _fits(data: SequenceData, record: Record) -> bool:
    """Whether the sizes of all files agree with the record."""
    return (
        data.offsets.shape == (record.users + 1,)
        and record.users >= 0
        and data.items.shape == (record.interactions,)
        and (data.timestamps is None or data.timestamps.shape == data.items.shape)
        and (data.parts is None or data.parts.shape == data.items.shape)
        and data.offsets[-1] == record.interactions
        and len(data.user_names) == record.users
        and len(data.item_names) == record.items + 1
    )


def _problem_of(data: SequenceData) -> str | None:
    """What is wrong in the values of the arrays, or None. Takes a few bytes of memory, whatever their size."""
    lengths = np.diff(data.offsets)
    if data.offsets[0] != 0 or lengths.min(initial=0) < 0:
        return "offsets.npy does not rise from 0"
    if not len(data.items):
        return None
    if data.items.min() < 1 or data.items.max() > data.n_items:
        return f"items.npy has an item that is not in 1 to {data.n_items}"
    if data.timestamps is not None and not np.isfinite([data.timestamps.min(), data.timestamps.max()]).all():
        return "timestamps.npy has a time that is no number"
    if data.parts is not None and data.parts.max() > 2:
        return "parts.npy has a part above 2"
    if data.item_names[0] != "":
        return "items.parquet does not begin with padding"
    return None


def _damaged(folder: Path, reason: object) -> DataError:
    return DataError(
        f"the prepared data in {folder} are damaged: {reason}", hint="Prepare them again: actsr preprocess NAME --force"
    )
