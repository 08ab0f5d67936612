"""Writes a trained model for other runtimes, and checks there that it gives the same scores."""

from __future__ import annotations

import copy
import json
import logging
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict
from torch.export import ExportedProgram

from actsr_cli.attention import CalibratedSelfAttention, reads_forbidden_keys
from actsr_cli.data.histories import Histories
from actsr_cli.errors import ActsrError, ConfigError, RunError
from actsr_cli.files import move_to, scratch_folder, write_record, write_text
from actsr_cli.models.base import Model
from actsr_cli.recommending.choice import Choice, check_length
from actsr_cli.recommending.graph import Graph, example_inputs, traced
from actsr_cli.recommending.histories import KnownHistories
from actsr_cli.recommending.recommender import Recommender
from actsr_cli.tensors import save_tensors
from actsr_cli.version import __version__
from actsr_cli.words import shortened

Format = Literal["onnx", "torch-export", "safetensors"]
FILES: dict[Format, str] = {"onnx": "model.onnx", "torch-export": "model.pt2", "safetensors": "model.safetensors"}
"""The file of each format."""
_NEEDED = ("onnx", "onnxscript", "onnxruntime")
_TOLERANCE = 1e-4
"""Largest difference of a score, and its share in the score: runtimes add numbers up in other orders."""
_LARGEST_ONNX = 2**30
"""Bytes of numbers above which an ONNX file, which holds 2 GB at most, has them in a file beside it."""
_TOGETHER = 200
"""Longest history of the check that is run together with others: padded attention takes memory."""

Arrays = dict[str, NDArray[Any]]
Runtime = Callable[[Arrays], list[NDArray[Any]]]
"""Runs an exported graph: inputs by name to outputs."""


class Manifest(BaseModel):
    """What an exported folder holds: `manifest.json`.

    Attributes:
        actsr: the version that wrote it.
        run: the run.
        format: the format.
        files: the files of the model; the first is the one to open.
        n_items: items of the catalogue; item ids go from 1 to `n_items`, their raw ids are in `items.json`.
        max_length: the most items of a history that the model reads.
        k: length of the lists; None if a graph returns scores, or if there is no graph.
        settings: the sections `model` and `calibration` of the run's settings.
        inputs: what the graph reads; nothing for bare weights.
        outputs: what it returns.
        checked: the largest difference of a score from the model's own, on `histories` histories.
        histories: number of histories of that check.
    """

    model_config = ConfigDict(frozen=True)

    actsr: str
    run: str
    format: Format
    files: list[str]
    n_items: int
    max_length: int
    k: int | None
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
        k: length of the lists, at most the number of items; None for the scores of all items. Not used for weights.

    Raises:
        ConfigError: the folder has files, packages are missing, or the format or k is invalid.
        RunError: the model cannot be exported, or its graph does not give the model's scores.
        DiskError: the folder cannot be written.
    """
    folder = Path(folder).resolve()
    _check(folder, format)
    vocabulary, model = recommender.vocabulary, recommender.model
    model = model if recommender.device.type == "cpu" else copy.deepcopy(model).cpu()
    is_graph = format != "safetensors"
    k = min(check_length(k), vocabulary.n_items) if is_graph and k is not None else None
    with scratch_folder(folder) as scratch:
        path = scratch / FILES[format]
        checked: dict[str, Any] = {}
        if is_graph:
            _check_traceable(model)
            graph = Graph(model, torch.from_numpy(vocabulary.counts), k).eval()
            with _foreign_code(format):
                checked = _compared(recommender, k, _write_graph(graph, path, format))
        else:
            save_tensors(path, model.state_dict(), {"run": recommender.name})
        record = Manifest(
            actsr=__version__,
            run=recommender.name,
            format=format,
            files=sorted(file.name for file in scratch.iterdir()),
            n_items=vocabulary.n_items,
            max_length=model.max_length,
            k=k,
            settings={"model": model.config.model_dump(), "calibration": model.calibration.model_dump()},
            inputs={name: INPUTS[name] for name in example_inputs(model)} if is_graph else {},
            outputs=_outputs(k) if is_graph else {},
            **checked,
        )
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


def _check_traceable(model: Model) -> None:
    """Raise RunError if the model reads padding, of which a graph has other amounts than the model itself."""
    attentions = (module for module in model.modules() if isinstance(module, CalibratedSelfAttention))
    if any(map(reads_forbidden_keys, attentions)):
        raise RunError(
            "a model with reproduce_published_faults that combines by `fixed` or has no renormalisation reads padding, "
            "so its scores depend on how long a batch is: it can be exported as safetensors only"
        )


@contextmanager
def _foreign_code(form: Format) -> Iterator[None]:
    """Without the exporter's remarks about its work; whatever a model, the exporter or a runtime raises is a RunError.

    Raises:
        RunError: what was raised, in one line.
    """
    disabled = logging.root.manager.disable
    logging.disable(max(disabled, logging.WARNING))
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    except (ActsrError, OSError):
        raise
    except Exception as error:  # code of others may raise anything
        first = error
        while first.__cause__ is not None and isinstance(first.__cause__, Exception):
            first = first.__cause__
        reason = shortened(str(first).strip().partition("\n")[0] or type(first).__name__, 300)
        raise RunError(f"the model cannot be exported as {form}: {reason}") from error
    finally:
        logging.disable(disabled)


def _outputs(k: int | None) -> dict[str, str]:
    return _SCORES if k is None else _LISTS


def _write_graph(graph: Graph, path: Path, form: Format) -> Runtime:
    """Write the graph, and open it again in its runtime."""
    program = traced(graph)
    if form == "onnx":
        _write_onnx(program, graph, path)
        from onnxruntime import InferenceSession

        session = InferenceSession(path, providers=["CPUExecutionProvider"])
        return lambda inputs: list(session.run(None, inputs))
    with path.open("wb") as file:  # if torch opens it, a full disk ends the process
        torch.export.save(program, file)
    opened = torch.export.load(path).module()
    return lambda inputs: _run_program(opened, inputs)


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


@dataclass(frozen=True)
class _Expected:
    """The model's own scores of some histories.

    Attributes:
        histories: the histories.
        scores: (histories, n_items + 1) the scores of all items; -inf for those of the history, and for 0.
    """

    histories: Histories
    scores: NDArray[np.float32]

    def gap(self, rows: slice, found: list[NDArray[Any]]) -> float:
        """The largest difference of a score in a graph's outputs for some histories; infinite if it is no rounding."""
        expected = self.scores[rows]
        if len(found) == 1:
            return _gap(found[0], expected)
        items, scores = found
        best = np.sort(expected, axis=1)[:, ::-1][:, : scores.shape[1]]
        of_items = np.where(items > 0, np.take_along_axis(expected, items, axis=1), -np.inf)
        return max(_gap(scores, best), _gap(scores, of_items))


def _gap(found: NDArray[Any], expected: NDArray[Any]) -> float:
    if not np.allclose(found, expected, rtol=_TOLERANCE, atol=_TOLERANCE):  # -inf equals -inf alone
        return float("inf")
    finite = np.isfinite(expected)
    return float(np.abs(found[finite] - expected[finite]).max(initial=0))


def _compared(recommender: Recommender, k: int | None, run: Runtime) -> dict[str, Any]:
    """Compare an exported graph with the model, one history at a time and several at once.

    Raises:
        RunError: they differ.
    """
    expected = _expected(recommender)
    n, lengths = len(expected.histories.starts), expected.histories.lengths
    first_of_many = int((lengths > _TOGETHER).sum())  # the longest come first
    worst = 0.0
    for rows in (*(slice(row, row + 1) for row in range(n)), slice(first_of_many, n)):
        worst = max(worst, expected.gap(rows, run(_inputs_of(recommender, expected.histories, rows))))
    if not np.isfinite(worst):
        raise RunError("the exported graph does not give the model's scores")
    return {"checked": worst, "histories": n}


def _expected(recommender: Recommender) -> _Expected:
    histories, n_items = _some_histories(recommender), recommender.vocabulary.n_items
    n = len(histories.starts)
    lists = recommender.lists(KnownHistories([""] * n, histories, [()] * n), Choice(n_items, "exclude"))
    scores = np.full((n, n_items + 1), -np.inf, dtype=np.float32)
    np.put_along_axis(scores, lists.item_ids, lists.scores, axis=1)
    scores[:, 0] = -np.inf
    return _Expected(histories, scores)


def _some_histories(recommender: Recommender) -> Histories:
    """Histories for the check, the longest first: of many lengths, one empty, one of a single item again and again."""
    draw, longest = np.random.default_rng(0), recommender.model.max_length
    n_items = recommender.vocabulary.n_items
    drawn = draw.integers(1, min(longest, _TOGETHER) + 1, 12)
    items = [draw.integers(1, n_items + 1, n) for n in (longest, max(1, longest - 1), 1, min(2, longest), 0, *drawn)]
    items.append(np.ones(min(3, longest), dtype=np.int64))
    times = [np.cumsum(draw.integers(0, 10**6, len(each))).astype(np.float64) for each in items]
    users = draw.integers(-1, len(recommender.vocabulary.user_names or ()), len(items))
    return Histories.of(items, users=users.tolist(), timestamps=times if recommender.model.needs_timestamps else None)


def _inputs_of(recommender: Recommender, histories: Histories, rows: slice) -> Arrays:
    """The inputs of a graph for some histories."""
    spans = list(zip(histories.starts[rows], histories.ends[rows], strict=True))
    width = max(1, *(int(end - start) for start, end in spans))

    def padded(values: NDArray[Any], kind: type[np.generic]) -> NDArray[Any]:
        return np.array([np.pad(values[start:end], (0, width - (end - start))) for start, end in spans], dtype=kind)

    inputs: Arrays = {"history": padded(histories.items, np.int64)}
    inputs["without"] = inputs["history"]
    if histories.timestamps is not None:
        inputs["timestamps"] = padded(histories.timestamps, np.float64)
    if recommender.model.needs_users:
        inputs["user"] = histories.users[rows]
    return inputs
