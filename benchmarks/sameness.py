"""Compares what two commands have left in their folders; times, hosts and process numbers may differ."""

from __future__ import annotations

import csv
import json
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import safe_open

_BYTES = {".npy", ".parquet", ".inter", ".item", ".zip", ".csv"}
_BY_NAME = {"config.yaml", "metrics.json"}
_OF_RECORDS = ("status", "epochs", "best_epoch", "value", "monitor", "users", "items", "error", "backoffs")
_TIMES = {"train_seconds", "validation_seconds", "seconds"}
_STUDIES = "studies"


def files_in(folder: Path) -> set[str]:
    """The files below a folder, without events of TensorBoard, whose names hold the time, and without locks.

    A lock file stays, and the owner who was killed stays named until another process takes the lock.
    """
    paths = (path.relative_to(folder) for path in folder.rglob("*") if path.is_file())
    return {
        str(path) for path in paths if "tensorboard" not in path.parts and not path.name.endswith((".owner", ".lock"))
    }


def differences(one: Path, other: Path) -> list[str]:
    """The files of `one` that are missing or different in `other`."""
    return [name for name in sorted(files_in(one)) if _content(one / name) != _content(other / name)]


def trials(runs: Path) -> Counter[str]:
    """The finished trials of all studies: settings and value of each."""
    found: Counter[str] = Counter()
    for path in runs.glob(f"{_STUDIES}/*/*/*/trials.csv"):
        with path.open(encoding="utf-8") as file:
            for row in csv.DictReader(file):
                if row["state"] == "COMPLETE":
                    found[", ".join(f"{k}={v}" for k, v in row.items() if k.startswith("params_") or k == "value")] += 1
    return found


def finished_epochs(runs: Path) -> int:
    """Epochs that the histories of all runs list."""
    return sum(len(_rows(path)) for path in runs.glob("*/*/*/history.csv"))


def saved_epochs(runs: Path) -> int:
    """Epochs that the checkpoints of all runs hold; a counted model has none, but its history is its model."""
    total = 0
    for history in runs.glob("*/*/*/history.csv"):
        checkpoint = history.with_name("checkpoint.safetensors")
        saved = checkpoint if checkpoint.exists() else history.with_name("model.safetensors")
        if saved.exists():
            metadata = _metadata(saved)
            total += len(json.loads(metadata["state"])["history"]) if "state" in metadata else int(metadata["epoch"])
    return total


def _content(path: Path) -> Any:
    """What must be equal in a file; None if it is missing, and if it may be anything."""
    if not path.exists():
        return "missing"
    if path.suffix == ".safetensors":
        return _tensors(path)
    if path.name == "history.csv":
        return _rows(path)
    if path.name == "run.json":
        record = json.loads(path.read_text(encoding="utf-8"))
        return {name: record.get(name) for name in _OF_RECORDS}
    if path.suffix in _BYTES or path.name in _BY_NAME:
        return path.read_bytes()
    return None


def _tensors(path: Path) -> dict[str, Any]:
    with safe_open(path, framework="numpy") as opened:
        names = list(opened.keys())
        arrays: dict[str, np.ndarray[Any, Any]] = {name: opened.get_tensor(name) for name in names}
    content: dict[str, Any] = {name: (value.dtype.str, value.shape, value.tobytes()) for name, value in arrays.items()}
    metadata = _metadata(path)
    return content | {
        "state": _without_times(json.loads(metadata.get("state", "null"))),
        "epoch": metadata.get("epoch"),
    }


def _metadata(path: Path) -> dict[str, str]:
    with safe_open(path, framework="numpy") as opened:
        metadata: dict[str, str] = json.loads(opened.metadata()["actsr"])
    return metadata


def _rows(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8") as file:
        return [_without_times(row) for row in csv.DictReader(file)]


def _without_times(values: Any) -> Any:
    if isinstance(values, dict):
        return {key: _without_times(value) for key, value in values.items() if key not in _TIMES}
    return [_without_times(value) for value in values] if isinstance(values, list) else values
