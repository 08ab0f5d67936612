"""Writes a trained model for other programs, and checks that their runtime gives the same scores."""

from __future__ import annotations

import copy
import json
import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal

import torch
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict
from torch.export import ExportedProgram

from actsr_cli.attention import CalibratedSelfAttention, reads_forbidden_keys
from actsr_cli.errors import ActsrError, ConfigError, RunError
from actsr_cli.files import move_to, scratch_folder, write_record, write_text
from actsr_cli.models.base import Model
from actsr_cli.recommending.choice import check_length
from actsr_cli.recommending.export_check import Arrays, Runtime, compared
from actsr_cli.recommending.graph import Graph, example_inputs, traced
from actsr_cli.recommending.recommender import Recommender
from actsr_cli.tensors import save_tensors
from actsr_cli.version import __version__
from actsr_cli.words import shortened

Format = Literal["onnx", "torch-export", "safetensors"]
FILES: dict[Format, str] = {"onnx": "model.onnx", "torch-export": "model.pt2", "safetensors": "model.safetensors"}
"""The file of each format."""
_NEEDED = ("onnx", "onnxscript", "onnxruntime")
_LARGEST_ONNX = 2**30
"""Bytes of numbers above which an ONNX file, which holds 2 GB at most, has them in a file beside it."""


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
                checked = compared(recommender, _write_graph(graph, path, format))
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
        first: BaseException = error
        while first.__cause__ is not None:
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
