"""Prepared data on disk: arrays that are mapped, names in Parquet, and a record of how they were made.

FOLDER/prepared/FINGERPRINT/
    items.npy offsets.npy [timestamps.npy]    flat arrays
    users.parquet items.parquet               raw ids, titles
    prepared.json                             settings, steps, counts, source
"""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa

from actsr_cli.data.sequences import SequenceData
from actsr_cli.errors import DataError

RECORD = "prepared.json"


def save(folder: Path, data: SequenceData, record: dict[str, Any]) -> None:
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
        (partial / RECORD).write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")
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
            name=record["name"],
            fingerprint=record["fingerprint"],
            items=np.load(folder / "items.npy", mmap_mode="r", allow_pickle=False),
            offsets=np.load(folder / "offsets.npy", mmap_mode="r", allow_pickle=False),
            timestamps=np.load(times, mmap_mode="r", allow_pickle=False) if record["timestamps"] else None,
            user_names=tuple(users["id"]),
            item_names=tuple(items["id"]),
            titles=tuple(items["title"]) if "title" in items else None,
        )
    except (OSError, ValueError, KeyError, pa.ArrowException) as error:
        raise _damaged(folder, error) from error
    if data.offsets[-1] != len(data.items) or len(data.user_names) != data.n_users:
        raise _damaged(folder, "its files do not fit together")
    return data


def load_record(folder: Path) -> dict[str, Any]:
    """The record of how prepared data were made; DataError where it is missing or damaged."""
    try:
        record: dict[str, Any] = json.loads((folder / RECORD).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise _damaged(folder, error) from error
    return record


def _damaged(folder: Path, reason: object) -> DataError:
    return DataError(
        f"the prepared data in {folder} are damaged: {reason}", hint="Make them again: actsr preprocess NAME --force"
    )
