"""Exported models, opened and run by their runtimes, against recommendations by the model itself."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
import torch
from pages import blocks, read
from processes import made_once
from safetensors.torch import load_file
from samples import built, run_config
from shelves import CPU, MAX_LENGTH, N_ITEMS, N_USERS, names, shelf, times_of, vocabulary
from torch import Tensor

from actsr_cli.batch import Batch
from actsr_cli.errors import ConfigError, RunError
from actsr_cli.models.popularity import Popularity
from actsr_cli.recommending import export as exporting
from actsr_cli.recommending.export import Format, Manifest, export
from actsr_cli.recommending.recommender import Recommender

HISTORIES = [[3], [2, 5, 2], [4, 9, 1, 2, 2, 3, 5, 1], []]
"""One is longer than the models read, one is empty."""
PROGRAMS = {"bert4rec": "spatial", "sse-pt": "none", "tisasrec": "none", "gru4rec": "none", "item-knn": "none"}
"""The models that are exported as programs of PyTorch, and their calibrations: a graph of all takes long to trace."""


def filtered() -> Recommender:
    """AC-SASRec with all that its encoder may have."""
    torch.manual_seed(2)
    keys = {
        "hidden_size": 8,
        "inner_size": 8,
        "heads": 2,
        "layers": 1,
        "initializer_range": 0.5,
        "max_length": MAX_LENGTH,
    }
    config = run_config("sasrec", "full", filter="dynamic", residual="gated", learn_repeats=True, **keys)
    made = built(config, N_ITEMS).eval()
    made.get_parameter("repeat_bonus.scaled").data.fill_(-0.3)
    return Recommender(made, vocabulary(titles=True), name="demo/ac-sasrec/one", device=CPU)


def manifest(folder: Path) -> Manifest:
    return Manifest.model_validate_json((folder / "manifest.json").read_text(encoding="utf-8"))


def inputs_of(recommender: Recommender, histories: list[list[int]], user: int = -1) -> dict[str, np.ndarray[Any, Any]]:
    """What an exported graph reads for some histories, put together as docs/export.md says."""

    def padded(rows: list[list[Any]], kind: type) -> np.ndarray[Any, Any]:
        width = max(1, *map(len, rows))
        return np.array([row + [0] * (width - len(row)) for row in rows], dtype=kind)

    latest = [history[-MAX_LENGTH:] for history in histories]
    inputs = {"history": padded(latest, np.int64), "without": padded(histories, np.int64)}
    if recommender.model.needs_timestamps:
        inputs["timestamps"] = padded([times_of(each)[-MAX_LENGTH:] for each in histories], np.float64)
    if recommender.model.needs_users:
        inputs["user"] = np.full(len(histories), user)
    return inputs


def check_lists(recommender: Recommender, items: Any, scores: Any, k: int, user: int = -1) -> None:
    """Compare the lists of a graph for HISTORIES with those of the recommender."""
    for history, ids, values in zip(HISTORIES, items, scores, strict=True):
        times = times_of(history) if recommender.model.needs_timestamps else None
        name = None if user < 0 else str(user)
        expected = recommender.recommend(names(history), k=N_ITEMS, timestamps=times, user=name)
        given = [float(value) for item, value in zip(ids, values, strict=True) if item]
        assert given == pytest.approx([item.score for item in expected][:k], abs=1e-5)
        score_of = {item.item: item.score for item in expected}  # equal scores may come in any order
        assert [score_of[f"i{item}"] for item in ids if item] == pytest.approx(given, abs=1e-5)


@pytest.fixture(scope="module")
def onnx(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of an exported AC-SASRec."""

    def make(place: Path) -> None:
        record = export(filtered(), place / "exported", "onnx", k=4)
        assert record == manifest(place / "exported")
        assert record.checked is not None and 0 < record.checked < 1e-5

    return made_once(tmp_path_factory, "onnx", make) / "exported"


def test_onnx_gives_the_lists_of_the_model(onnx: Path) -> None:
    recommender, session = filtered(), onnxruntime.InferenceSession(onnx / "model.onnx")
    assert [each.name for each in session.get_inputs()] == ["history", "without"]
    assert [each.name for each in session.get_outputs()] == ["items", "scores"]
    items, scores = session.run(None, inputs_of(recommender, HISTORIES))
    check_lists(recommender, items, scores, k=4)
    alone = [session.run(None, inputs_of(recommender, [history])) for history in HISTORIES]
    check_lists(recommender, [items[0] for items, _ in alone], [scores[0] for _, scores in alone], k=4)
    assert json.loads((onnx / "items.json").read_text()) == [None, *(f"i{item}" for item in range(1, N_ITEMS + 1))]


def test_a_history_that_is_too_long_is_an_error_of_the_runtime(onnx: Path) -> None:
    session = onnxruntime.InferenceSession(onnx / "model.onnx")
    history = np.ones((1, MAX_LENGTH + 1), dtype=np.int64)
    with pytest.raises(Exception, match="invalid index"):
        session.run(None, {"history": history, "without": history})


def test_the_lines_of_the_page_need_no_torch(onnx: Path) -> None:
    (code,) = [each.text for each in blocks("docs/export.md", read("docs/export.md")) if each.language == "python"]
    barred = "import sys\nfor name in ('torch', 'actsr_cli', 'pandas'):\n    sys.modules[name] = None\n"
    code = code.replace('"i001", "i002", "i003"', '"i2", "unheard of", "i5"')
    found = subprocess.run(
        [sys.executable, "-c", barred + code], cwd=onnx.parent, capture_output=True, text=True, check=False
    )
    assert found.stdout.strip() == str(filtered().recommend(["i2", "i5"], k=4).ids), found.stderr


@pytest.mark.parametrize("name", [*PROGRAMS, "popularity", "shelves:Own"])
def test_programs_of_torch_give_the_lists_of_the_model(name: str, tmp_path: Path) -> None:
    recommender = shelf(name, PROGRAMS.get(name, "none"))
    record = export(recommender, tmp_path / "out", "torch-export", k=5)
    assert set(record.inputs) == set(inputs_of(recommender, [[1]]))
    opened = torch.export.load(tmp_path / "out" / "model.pt2").module()
    for user in (-1, 2) if recommender.model.needs_users else (-1,):
        given = {name: torch.from_numpy(each) for name, each in inputs_of(recommender, HISTORIES, user).items()}
        items, scores = opened(**given)
        check_lists(recommender, items, scores.detach(), 5, user)
    users = tmp_path / "out" / "users.json"
    assert users.exists() == recommender.model.needs_users
    if users.exists():
        assert json.loads(users.read_text()) == [str(user) for user in range(N_USERS)]


def test_scores_of_all_items(tmp_path: Path) -> None:
    recommender = shelf("item-knn")
    export(recommender, tmp_path / "out", "torch-export", k=None)
    given = inputs_of(recommender, [[2, 5], [4]])
    given["without"][:] = [[2, 0], [0, 0]]
    scores = torch.export.load(tmp_path / "out" / "model.pt2").module()(
        **{name: torch.from_numpy(each) for name, each in given.items()}
    )
    assert scores[:, 0].tolist() == [-torch.inf, -torch.inf] and scores[0, 2] == -torch.inf
    allowed = [item for item in range(1, N_ITEMS + 1) if item != 2]
    expected = recommender.score(["i2", "i5"], [f"i{item}" for item in allowed])
    assert scores[0, allowed].tolist() == pytest.approx([item.score for item in expected])


def test_weights_alone(tmp_path: Path) -> None:
    recommender = filtered()
    record = export(recommender, tmp_path / "out", "safetensors")
    weights = load_file(tmp_path / "out" / "model.safetensors")
    assert weights.keys() == recommender.model.state_dict().keys()
    assert all(torch.equal(weights[name], each) for name, each in recommender.model.state_dict().items())
    assert record.inputs == record.outputs == {} and record.checked is None
    assert record.settings["model"]["filter"] == "dynamic" and record.settings["calibration"]["kind"] == "full"


Outputs = list[np.ndarray[Any, Any]]


def swapped(items: np.ndarray[Any, Any], scores: np.ndarray[Any, Any]) -> Outputs:
    return [np.roll(items, 1, axis=1), scores]


def shifted(items: np.ndarray[Any, Any], scores: np.ndarray[Any, Any]) -> Outputs:
    return [items, scores + 0.01]


def lost(items: np.ndarray[Any, Any], scores: np.ndarray[Any, Any]) -> Outputs:
    return [items, np.where(items == items[0, -1], -np.inf, scores)]


@pytest.mark.parametrize("wrong", [swapped, shifted, lost])
def test_a_graph_that_differs_is_refused_and_nothing_appears(
    wrong: Callable[..., Outputs], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Even beside the scores of an empty history, which are large counts."""
    counts = [0, 5_000_000, *range(N_ITEMS - 1)]
    recommender = Recommender(shelf("item-knn").model, vocabulary(counts=counts), name="wrong", device=CPU)
    right = exporting._run_program
    monkeypatch.setattr(exporting, "_run_program", lambda opened, inputs: wrong(*right(opened, inputs)))
    with pytest.raises(RunError, match="does not give the model's scores"):
        export(recommender, tmp_path / "out", "torch-export", k=5)
    assert list(tmp_path.iterdir()) == []


class Reads(Popularity):
    """A model whose course depends on a number of its input, which no graph can have."""

    def score(self, batch: Batch) -> Tensor:
        return super().score(batch) * (2 if batch.item_ids.sum().item() > 3 else 1)


class Counts(Popularity):
    """A model that asks for the number of histories, which no graph knows."""

    def score(self, batch: Batch) -> Tensor:
        return self.counts.expand(len(batch), -1)


class Bessel(Popularity):
    """A model with an operation that ONNX does not have."""

    def score(self, batch: Batch) -> Tensor:
        together: Tensor = super().score(batch) + torch.special.bessel_j0(self.counts)
        return together


@pytest.mark.parametrize(
    ("kind", "form", "reason"),
    [
        (Reads, "torch-export", "data-dependent"),
        (Counts, "torch-export", r"len\(\) cannot tell how many"),
        (Bessel, "onnx", "No ONNX function found"),
    ],
)
def test_a_model_that_cannot_be_traced_is_refused_in_one_line(
    kind: type[Popularity], form: Format, reason: str, tmp_path: Path
) -> None:
    known = shelf("popularity")
    made = kind(known.model.config, known.model.calibration, N_ITEMS).eval()  # type: ignore[arg-type]
    recommender = Recommender(made, known.vocabulary, name="mine", device=CPU)
    with pytest.raises(RunError, match=f"the model cannot be exported as {form}: .*{reason}") as caught:
        export(recommender, tmp_path / "out", form)
    assert str(caught.value).isprintable() and list(tmp_path.iterdir()) == []


def test_faults_that_read_padding_are_refused(tmp_path: Path) -> None:
    faults = {"reproduce_published_faults": True, "combine": "fixed", "hidden_size": 8, "heads": 2, "max_length": 4}
    made = built(run_config("sasrec", "full", **faults), N_ITEMS).eval()
    recommender = Recommender(made, vocabulary(), name="faulty", device=CPU)
    with pytest.raises(RunError, match="reads padding"):
        export(recommender, tmp_path / "out", "torch-export")
    assert export(recommender, tmp_path / "out", "safetensors").k is None


def test_a_model_that_reads_one_item(tmp_path: Path) -> None:
    config = run_config("sasrec", "none", hidden_size=8, inner_size=8, layers=1, heads=1, max_length=1)
    recommender = Recommender(built(config, N_ITEMS).eval(), vocabulary(), name="short", device=CPU)
    assert export(recommender, tmp_path / "out", "torch-export", k=50).k == N_ITEMS


def test_large_models_have_their_numbers_in_a_file_beside(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(exporting, "_LARGEST_ONNX", 0)
    record = export(shelf("popularity"), tmp_path / "out", "onnx", k=3)
    assert record.files == ["model.onnx", "model.onnx.data"]
    assert all((tmp_path / "out" / name).is_file() for name in record.files)


def test_a_folder_with_files_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("mine")
    with pytest.raises(ConfigError, match="exists already"):
        export(shelf("popularity"), tmp_path, "safetensors")
    assert [each.name for each in tmp_path.iterdir()] == ["mine.txt"]


def test_missing_packages_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(exporting, "find_spec", lambda name: None if name == "onnxscript" else name)
    with pytest.raises(ConfigError, match="exporting to ONNX needs onnxscript"):
        export(shelf("popularity"), tmp_path / "out", "onnx")
