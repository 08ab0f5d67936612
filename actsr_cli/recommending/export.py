"""Writes a trained model for other runtimes, and checks there that it gives the same scores."""

from __future__ import annotations

import copy
import json
import logging
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict
from safetensors.torch import load_file, save_file
from torch import Tensor
from torch.export import ExportedProgram

from actsr_cli.data.histories import Histories
from actsr_cli.errors import ConfigError, RunError
from actsr_cli.files import move_to, replacing, scratch_folder, write_record, write_text
from actsr_cli.recommending.choice import Choice, check_length
from actsr_cli.recommending.graph import Graph, example_inputs, traced
from actsr_cli.recommending.histories import KnownHistories
from actsr_cli.recommending.recommender import Recommender
from actsr_cli.version import __version__

Format = Literal["onnx", "torch-export", "safetensors"]
FILES: dict[Format, str] = {"onnx": "model.onnx", "torch-export": "model.pt2", "safetensors": "model.safetensors"}
"""The file of each format."""
_NEEDED = ("onnx", "onnxscript", "onnxruntime")
_TOLERANCE = 1e-3
"""Largest difference of a score: runtimes add numbers up in other orders."""
_LARGEST_ONNX = 2**30
"""Bytes of numbers above which an ONNX file, which holds 2 GB at most, has them in a file beside it."""

Arrays = dict[str, NDArray[Any]]
Run = Callable[[Arrays], list[NDArray[Any]]]
"""Runs an exported graph: inputs by name to outputs."""


class Manifest(BaseModel):
    """What an exported folder holds: `manifest.json`.

    Attributes:
        actsr: the version that wrote it.
        run: the run.
        format: the format.
        file: the file of the model.
        n_items: items of the catalogue; item ids go from 1 to `n_items`, their raw ids are in `items.json`.
        max_length: the most items of a history that the model reads.
        settings: the sections `model` and `calibration` of the run's settings.
        inputs: what the graph reads; nothing for bare weights.
        outputs: what it returns.
        checked: the largest difference of a score from the model's own, on `histories` random histories.
        histories: number of histories of that check.
    """

    model_config = ConfigDict(frozen=True)

    actsr: str
    run: str
    format: Format
    file: str
    n_items: int
    max_length: int
    settings: dict[str, Any]
    inputs: dict[str, str]
    outputs: dict[str, str]
    checked: float | None = None
    histories: int = 0


INPUTS = {
    "history": "(histories, length) int64 item ids, oldest first, then 0 up to the length; at most max_length",
    "without": "(histories, any) int64 item ids that are not recommended, such as the whole history, and 0",
    "timestamps": "(histories, length) float64 seconds since 1970 of the items of the history, 0 behind its end",
    "user": "(histories,) int64 places in users.json, -1 for an unknown user",
}
_LISTS = {"items": "(histories, k) int64 item ids, best first, 0 if none is left", "scores": "(histories, k) float32"}
_SCORES = {"scores": "(histories, n_items + 1) float32 scores of all items, -inf for 0 and for `without`"}


def export(
    recommender: Recommender,
    folder: str | Path,
    format: Format = "onnx",  # noqa: A002  # the name of the command's option
    *,
    k: int | None = 10,
) -> Manifest:
    """Write a model for another runtime into a new folder; see `actsr export`.

    The graph is run in the runtime itself and compared with the model, on random histories and on special ones: empty,
    of one item, of the longest length. The folder appears only if they agree.

    Args:
        recommender: the model.
        folder: a folder that does not exist or is empty.
        format: `onnx`, `torch-export` (a program that `torch.export.load` opens), or `safetensors` (weights only).
        k: length of the lists; None for the scores of all items. Weights have neither.

    Raises:
        ConfigError: the folder has files, packages are missing, or the format or k is invalid.
        RunError: the model cannot be exported, or its graph does not give the model's scores.
        DiskError: the folder cannot be written.
    """
    folder = Path(folder)
    _check(folder, format)
    vocabulary, model = recommender.vocabulary, recommender.model
    model = model if recommender.device.type == "cpu" else copy.deepcopy(model).cpu()
    k = None if k is None else min(check_length(k), vocabulary.n_items)
    is_graph = format != "safetensors"
    record = Manifest(
        actsr=__version__,
        run=recommender.name,
        format=format,
        file=FILES[format],
        n_items=vocabulary.n_items,
        max_length=model.max_length,
        settings={"model": model.config.model_dump(), "calibration": model.calibration.model_dump()},
        inputs={name: INPUTS[name] for name in example_inputs(model)} if is_graph else {},
        outputs=_outputs(k) if is_graph else {},
    )
    with scratch_folder(folder) as scratch:
        path = scratch / FILES[format]
        if is_graph:
            run = _write_graph(Graph(model, torch.from_numpy(vocabulary.counts), k).eval(), path, format)
            record = record.model_copy(update=_checked(recommender, k, run))
        else:
            _write_weights(model.state_dict(), path)
        write_text(scratch / "items.json", json.dumps([None, *vocabulary.item_names[1:]], ensure_ascii=False))
        if vocabulary.user_names is not None:
            write_text(scratch / "users.json", json.dumps(vocabulary.user_names, ensure_ascii=False))
        write_record(scratch / "manifest.json", record)
        move_to(folder, scratch)
    return record


def _check(folder: Path, form: Format) -> None:
    if form not in FILES:
        raise ConfigError(f"format must be {', '.join(FILES)}, not {form!r}")
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise ConfigError(f"{folder} exists already", hint="Choose another folder, or delete it first.")
    missing = [name for name in _NEEDED if find_spec(name) is None] if form == "onnx" else []
    if missing:
        raise ConfigError(
            f"exporting to ONNX needs {', '.join(missing)}", hint="Install them: pip install 'actsr[export]'"
        )


def _outputs(k: int | None) -> dict[str, str]:
    return _SCORES if k is None else _LISTS


def _write_weights(tensors: Mapping[str, Tensor], path: Path) -> None:
    with replacing(path) as partial:
        save_file({name: each.contiguous() for name, each in tensors.items()}, partial)
    for name, each in load_file(path).items():
        if not torch.equal(each, tensors[name]):
            raise RunError(f"the weights were not written as they are: {name} differs")


def _write_graph(graph: Graph, path: Path, form: Format) -> Run:
    """Write the graph, and open it again in its runtime."""
    with _quiet():
        try:
            program = traced(graph)
            if form == "onnx":
                _write_onnx(program, graph, path)
            else:
                torch.export.save(program, path)
        except (RuntimeError, ValueError, TypeError, NotImplementedError) as error:  # of a model of your own
            reason = str(error).strip().partition("\n")[0]
            raise RunError(f"the model cannot be exported as {form}: {reason}") from error
        if form == "torch-export":
            opened = torch.export.load(path).module()
            return lambda inputs: _run_program(opened, inputs)
    from onnxruntime import InferenceSession

    session = InferenceSession(path, providers=["CPUExecutionProvider"])
    return lambda inputs: list(session.run(None, inputs))


def _write_onnx(program: ExportedProgram, graph: Graph, path: Path) -> None:
    size = sum(each.numel() * each.element_size() for each in graph.state_dict().values())
    torch.onnx.export(
        program,
        f=path,
        input_names=list(example_inputs(graph.model)),
        output_names=list(_outputs(graph.k)),
        external_data=size > _LARGEST_ONNX,
        verbose=False,
    )


def _run_program(opened: torch.nn.Module, inputs: Arrays) -> list[NDArray[Any]]:
    with torch.inference_mode():
        found = opened(**{name: torch.from_numpy(each) for name, each in inputs.items()})
    return [each.numpy() for each in (found if isinstance(found, tuple) else (found,))]


@contextmanager
def _quiet() -> Iterator[None]:
    """Without the remarks of the exporter about its own work."""
    disabled = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(disabled)


def _checked(recommender: Recommender, k: int | None, run: Run) -> dict[str, float | int]:
    """Compare an exported graph with the model, one history at a time and all at once.

    Raises:
        RunError: they differ.
    """
    histories = _some_histories(recommender)
    known = KnownHistories([""] * len(histories.starts), histories, [()] * len(histories.starts))
    n_items = recommender.vocabulary.n_items
    lists = recommender.lists(known, Choice(n_items if k is None else k, "exclude"))
    worst = 0.0
    for rows in (*(slice(row, row + 1) for row in range(len(known))), slice(0, len(known))):
        found = run(_inputs_of(recommender, histories, rows))
        if k is None:
            scores = np.take_along_axis(found[0], lists.item_ids[rows], axis=1)
            scores = np.where(lists.item_ids[rows] > 0, scores, -np.inf)
        else:
            scores = found[1]
        worst = max(worst, _largest_gap(scores, lists.scores[rows]))
    if not worst <= _TOLERANCE * max(1.0, float(np.abs(lists.scores[np.isfinite(lists.scores)]).max(initial=0))):
        raise RunError(f"the exported graph does not give the model's scores: they differ by up to {worst:.2g}")
    return {"checked": worst, "histories": len(known)}


def _largest_gap(found: NDArray[Any], expected: NDArray[np.float32]) -> float:
    """The largest difference of two arrays of scores; infinite if one has a score where the other has -inf."""
    finite = np.isfinite(expected)
    if found.shape != expected.shape or not np.array_equal(np.isfinite(found), finite):
        return float("inf")
    return float(np.abs(found[finite] - expected[finite]).max(initial=0))


def _some_histories(recommender: Recommender) -> Histories:
    """Histories for the check, the longest first: of all lengths, one empty, one of a single item again and again."""
    draw, longest = np.random.default_rng(0), recommender.model.max_length
    n_items = recommender.vocabulary.n_items
    lengths = [longest, max(1, longest - 1), 1, 2, 0, *draw.integers(1, longest + 1, 12).tolist()]
    items = [draw.integers(1, n_items + 1, length) for length in lengths]
    items.append(np.ones(min(3, longest), dtype=np.int64))
    times = [np.cumsum(draw.integers(0, 10**6, len(each))).astype(np.float64) for each in items]
    n_users = len(recommender.vocabulary.user_names or ())
    users = draw.integers(-1, n_users, len(items))
    needed = recommender.model.needs_timestamps
    return Histories.of(items, users=users.tolist(), timestamps=times if needed else None)


def _inputs_of(recommender: Recommender, histories: Histories, rows: slice) -> Arrays:
    """The inputs of a graph for some histories."""
    starts, ends = histories.starts[rows], histories.ends[rows]
    width = max(1, int((ends - starts).max()))
    inputs: Arrays = {"history": _padded(histories.items, starts, ends, width).astype(np.int64)}
    inputs["without"] = inputs["history"]
    if histories.timestamps is not None:
        inputs["timestamps"] = _padded(histories.timestamps, starts, ends, width)
    if recommender.model.needs_users:
        inputs["user"] = histories.users[rows]
    return inputs


def _padded(values: NDArray[Any], starts: NDArray[np.int64], ends: NDArray[np.int64], width: int) -> NDArray[Any]:
    padded = np.zeros((len(starts), width), dtype=values.dtype)
    for row, (start, end) in enumerate(zip(starts, ends, strict=True)):
        padded[row, : end - start] = values[start:end]
    return padded
