"""Prepared data on disk: arrays that are mapped, names in Parquet, and a record of how they were made.

FOLDER/prepared/FINGERPRINT/
    items.npy offsets.npy [timestamps.npy]    flat arrays
    users.parquet items.parquet               raw ids, titles
    prepared.json                             settings, steps, counts, source
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
from pydantic import BaseModel, ConfigDict, ValidationError

from actsr_cli.config import DataConfig
from actsr_cli.data.report import Report
from actsr_cli.data.sequences import SequenceData
from actsr_cli.data.sources import Columns, Format
from actsr_cli.errors import DataError

RECORD = "prepared.json"


class Record(BaseModel):
    """How prepared data were made.

    Attributes:
        name: the data set's name.
        fingerprint: hexadecimal digest of input and settings.
        version: version of the files' layout.
        prepared: when, in UTC, as ISO 8601.
        file: the interactions that were read.
        sha256: hexadecimal digest of that file.
        format: how it was read.
        columns: which columns were read.
        timestamps: whether there are times.
        users: number of users.
        items: number of items.
        interactions: number of interactions.
        settings: the filters.
        report: what each step left.
    """

    model_config = ConfigDict(frozen=True)

    name: str
    fingerprint: str
    version: int
    prepared: str
    file: str
    sha256: str
    format: Format
    columns: Columns = Columns()
    timestamps: bool
    users: int
    items: int
    interactions: int
    settings: DataConfig
    report: Report


def save(folder: Path, data: SequenceData, record: Record) -> None:
    """Write prepared data beside `folder` and rename them into place; an older version there is replaced."""
    partial = folder.with_name(f".{folder.name}.{os.getpid()}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    try:
        np.save(partial / "items.npy", data.items, allow_pickle=False)
        np.save(partial / "offsets.npy", data.offsets, allow_pickle=False)
        if data.timestamps is not None:
            np.save(partial / "timestamps.npy", data.timestamps, allow_pickle=False)
        pd.DataFrame({"id": data.user_names}, dtype="str").to_parquet(partial / "users.parquet")
        items = pd.DataFrame({"id": data.item_names}, dtype="str")
        if data.titles is not None:
            items["title"] = pd.Series(data.titles, dtype="str")
        items.to_parquet(partial / "items.parquet")
        (partial / RECORD).write_text(record.model_dump_json(indent=2) + "\n", encoding="utf-8")
        if folder.exists():
            shutil.rmtree(folder)
        partial.rename(folder)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def load(folder: Path) -> SequenceData:
    """Open prepared data; the arrays stay on disk until they are read.

    Raises:
        DataError: something is missing or damaged.
    """
    record = load_record(folder)
    try:
        times = folder / "timestamps.npy"
        users, items = pd.read_parquet(folder / "users.parquet"), pd.read_parquet(folder / "items.parquet")
        data = SequenceData(
            name=record.name,
            fingerprint=record.fingerprint,
            items=np.load(folder / "items.npy", mmap_mode="r", allow_pickle=False),
            offsets=np.load(folder / "offsets.npy", mmap_mode="r", allow_pickle=False),
            timestamps=np.load(times, mmap_mode="r", allow_pickle=False) if record.timestamps else None,
            user_names=tuple(users["id"]),
            item_names=tuple(items["id"]),
            titles=tuple(items["title"]) if "title" in items else None,
        )
    except (OSError, EOFError, ValueError, KeyError, pa.ArrowException) as error:
        raise _damaged(folder, error) from error
    if not _fits(data, record):
        raise _damaged(folder, "its files do not fit together")
    return data


def load_record(folder: Path) -> Record:
    """The record of how prepared data were made; DataError where it is missing or damaged."""
    path = folder / RECORD
    try:
        return Record.model_validate_json(path.read_bytes())
    except ValidationError as error:
        raise _damaged(folder, f"{RECORD} is no record of a preparation") from error
    except OSError as error:
        raise _damaged(folder, error) from error


def _fits(data: SequenceData, record: Record) -> bool:
    """Whether the files are of one preparation, as far as their sizes tell."""
    return (
        data.offsets.shape == (record.users + 1,)
        and data.items.shape == (record.interactions,)
        and (data.timestamps is None or data.timestamps.shape == data.items.shape)
        and data.offsets[-1] == record.interactions
        and len(data.user_names) == record.users
        and len(data.item_names) == record.items + 1
    )


def _damaged(folder: Path, reason: object) -> DataError:
    return DataError(
        f"the prepared data in {folder} are damaged: {reason}", hint="Make them again: actsr preprocess NAME --force"
    )
