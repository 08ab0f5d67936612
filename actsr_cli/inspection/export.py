"""Writes attention traces as CSV, JSON and npz files."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from actsr_cli.files import replacing
from actsr_cli.inspection.views import Subject, View

Name = Callable[[int], str]
"""Returns the display name of an item: its title, or its raw id if it has no title."""
_LONGEST_NAME = 100
"""Characters of a label in the name of a folder; file systems take about 250."""


def real_tensors(view: View) -> dict[str, NDArray[Any]]:
    """All tensors of a view's trace without batch axis and padding: (heads, length, length) per layer and stage."""
    length = int(view.trace.lengths[0])
    arrays = {name: tensor[0].cpu().numpy() for name, tensor in view.trace.tensors().items()}
    scores = arrays.pop("scores")
    real = {name: _trimmed(array, length) for name, array in arrays.items()}
    return real | {"scores": scores}


def place_names(view: View, name: Name) -> list[str]:
    """The item name at each encoded position; the mask of a cloze model is `?`."""
    n_items = view.trace.scores.shape[1] - 1
    length = int(view.trace.lengths[0])
    return [name(item) if item <= n_items else "?" for item in view.trace.item_ids[0, :length].tolist()]


def write_view(folder: Path, subject: Subject, view: View, name: Name) -> None:
    """Write attention.npz, attention.csv and attention.json of one subject; each file is replaced atomically.

    The CSV has a line per layer, head, query and key (positions counted from 1), and a column per tensor.

    Args:
        folder: created if missing.
        subject: the subject.
        view: the view of a model on it.
        name: returns the display name of an item.
    """
    folder.mkdir(parents=True, exist_ok=True)
    tensors = real_tensors(view)
    with replacing(folder / "attention.npz") as partial, partial.open("wb") as file:
        np.savez_compressed(file, **tensors)  # type: ignore[arg-type]
    with replacing(folder / "attention.csv") as partial:
        _table(tensors, place_names(view, name)).to_csv(partial, index=False)
    record = _facts(subject, view, name) | {key: values.tolist() for key, values in tensors.items()}
    with replacing(folder / "attention.json") as partial:
        partial.write_text(json.dumps(record) + "\n", encoding="utf-8")


def folder_names(subjects: Sequence[Subject]) -> list[str]:
    """A valid folder name for each subject: its label, cut if it is long, and numbered if several would be equal."""
    names: list[str] = []
    for subject in subjects:
        plain = re.sub(r"[^A-Za-z0-9_-]", "_", subject.label)[:_LONGEST_NAME] or "_"
        taken = {name.lower() for name in names}
        names.append(next(name for name in _numbered(plain) if name.lower() not in taken))
    return names


def _numbered(name: str) -> Iterator[str]:
    yield name
    number = 2
    while True:
        yield f"{name}-{number}"
        number += 1


def view_record(subject: Subject, view: View, name: Name) -> dict[str, Any]:
    """How a model sees a subject, as nested mappings and lists.

    `attention` has a mapping per layer: by stage a list per head, of the weights with which the prediction looks at
    each place.

    Args:
        subject: who is looked at.
        view: by which model.
        name: what items are called.
    """
    places = int(view.trace.lengths[0])
    rows = {stage: view.trace.last_rows(stage) for stage in view.trace.stages}
    attention = [
        {stage: layers[layer][0, :, :places].tolist() for stage, layers in rows.items()}
        for layer in range(len(view.trace.layers))
    ]
    return _facts(subject, view, name) | {"attention": attention}


def _facts(subject: Subject, view: View, name: Name) -> dict[str, Any]:
    target, explained = subject.case.target, view.explained
    return {
        "user": subject.label,
        "places": place_names(view, name),
        "target": name(target) if target else None,
        "rank": view.rank,
        "plain_rank": view.plain_rank,
        "probability": view.probability,
        "recommended": [{"item": name(item), "probability": value} for item, value in view.recommended],
        "explained": None if explained is None else name(explained.item),
        "importance": None if explained is None else list(explained.importance),
    }


def _table(tensors: dict[str, NDArray[Any]], places: list[str]) -> pd.DataFrame:
    layers: dict[str, dict[str, NDArray[Any]]] = {}
    for key, values in tensors.items():
        layer, dot, stage = key.partition(".")
        if dot:
            layers.setdefault(layer, {})[stage] = values
    return pd.concat([_layer_table(layer, stages, places) for layer, stages in layers.items()], ignore_index=True)


def _layer_table(layer: str, stages: dict[str, NDArray[Any]], places: list[str]) -> pd.DataFrame:
    heads = stages["plain"].shape[0]
    head, query, key = (axis.ravel() for axis in np.indices((heads, len(places), len(places))))
    columns = {stage: np.broadcast_to(values, (heads, len(places), len(places))) for stage, values in stages.items()}
    names = np.array(places, dtype=object)
    return pd.DataFrame(
        {
            "layer": int(layer.removeprefix("layer")),
            "head": head + 1,
            "query": query + 1,
            "query_item": names[query],
            "key": key + 1,
            "key_item": names[key],
        }
        | {stage: values.ravel() for stage, values in columns.items()}
    )


def _trimmed(array: NDArray[Any], length: int) -> NDArray[Any]:
    if array.ndim == 3:  # (heads, queries, keys)
        return array[:, :length, :length]
    return array[:length] if array.ndim == 1 else array
