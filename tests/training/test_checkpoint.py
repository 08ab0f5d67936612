"""Damaged and forged models and checkpoints: found before anything of them is used, in one line."""

from __future__ import annotations

import json
import random
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from samples import built, prediction_loss, run_config
from torch import Tensor, nn

from actsr_cli.errors import RunError
from actsr_cli.models.base import Model, SequentialModel
from actsr_cli.tensors import load_tensors, save_tensors
from actsr_cli.training.checkpoint import load_checkpoint, load_model, save_checkpoint, save_model
from actsr_cli.training.trainer import EpochRecord, Hooks, Trainer

CONFIG = run_config("sasrec", "full", hidden_size=8, inner_size=8, layers=1, max_length=5)


class NoBatches:
    n_batches = 1

    def epoch(self, _: torch.Generator) -> list[list[object]]:
        return []


def model() -> Model:
    torch.manual_seed(1)
    return built(CONFIG, n_items=9)


def trainer() -> Trainer:
    """A trainer after one step and one epoch."""
    made = model()
    assert isinstance(made, SequentialModel)
    found = Trainer(made, CONFIG.training, NoBatches(), prediction_loss(), Hooks())  # type: ignore[arg-type]
    for parameter in made.parameters():
        parameter.grad = torch.ones_like(parameter)
    found.optimizer.step()
    found.state.history.append(EpochRecord(1, {"calibrated": 1.0}, {"hit@10": 0.5}, 1.0, 1.0, 0.001))
    found.state.best_epoch, found.state.best_value = 1, 0.5
    return found


@pytest.fixture
def files(tmp_path: Path) -> tuple[Path, Path]:
    """A model and a checkpoint."""
    save_model(tmp_path / "model.safetensors", model(), epoch=3)
    save_checkpoint(tmp_path / "checkpoint.safetensors", trainer())
    return tmp_path / "model.safetensors", tmp_path / "checkpoint.safetensors"


INTO, UNTRAINED = trainer(), model()


def refused(path: Path) -> str:
    """The message with which a file is refused; the trainer that should take it stays as it was."""
    into = UNTRAINED if path.name.startswith("model") else INTO.model
    before = {name: tensor.clone() for name, tensor in into.state_dict().items()}
    with pytest.raises(RunError) as caught:
        if into is UNTRAINED:
            load_model(path, UNTRAINED)
        else:
            load_checkpoint(path, INTO)
    assert all(torch.equal(tensor, before[name]) for name, tensor in into.state_dict().items())
    assert str(path) in caught.value.message and "\n" not in caught.value.message
    return caught.value.message


def test_both_are_opened_again(files: tuple[Path, Path]) -> None:
    assert load_model(files[0], model()) == 3
    into, before = trainer(), trainer()
    for parameter in into.model.parameters():
        nn.init.zeros_(parameter)
    load_checkpoint(files[1], into)
    assert into.state == before.state
    for (name, loaded), saved in zip(into.model.named_parameters(), before.model.parameters(), strict=True):
        assert torch.equal(loaded, saved), name
    ours, theirs = into.optimizer, before.optimizer
    for mine, other in zip(ours.parameters, theirs.parameters, strict=True):
        assert ours.moments[mine].keys() == theirs.moments[other].keys()
        assert all(torch.equal(value, theirs.moments[other][key]) for key, value in ours.moments[mine].items())


def test_files_of_earlier_versions_have_no_checksum_and_are_opened(files: tuple[Path, Path]) -> None:
    for path in files:
        tensors, metadata = load_tensors(path)
        save_file(tensors, path, metadata)
    assert load_model(files[0], model()) == 3
    load_checkpoint(files[1], trainer())


@pytest.mark.parametrize("which", [0, 1])
def test_every_flipped_bit_is_found(files: tuple[Path, Path], which: int) -> None:
    """In the header and in the values."""
    path = files[which]
    whole = path.read_bytes()
    header = 8 + int.from_bytes(whole[:8], "little")
    chance = random.Random(0)  # noqa: S311
    places = [chance.randrange(header) for _ in range(40)] + [chance.randrange(len(whole)) for _ in range(40)]
    for place in places:
        damaged = bytearray(whole)
        damaged[place] ^= 1 << chance.randrange(8)
        path.write_bytes(damaged)
        assert "is damaged" in refused(path)


@pytest.mark.parametrize("which", [0, 1])
def test_truncated_and_foreign_files(files: tuple[Path, Path], which: int) -> None:
    path = files[which]
    whole = path.read_bytes()
    header = json.dumps({"a": {"dtype": "F32", "shape": [2**62], "data_offsets": [0, 2**62]}}).encode()
    for content in (
        *(whole[:size] for size in (0, 1, 7, 8, 9, 200, len(whole) // 2, len(whole) - 1)),
        whole + b"\0",
        (2**40).to_bytes(8, "little") + whole[8:],
        (2**63).to_bytes(8, "little"),
        len(header).to_bytes(8, "little") + header,
        (100_000).to_bytes(8, "little") + b"[" * 100_000,
        b"\x80\x04\x95",
    ):
        path.write_bytes(content)
        assert "is damaged" in refused(path)
    path.unlink()
    assert "no file" in refused(path)
    path.mkdir()
    assert "no file" in refused(path)


def forged(path: Path, name: str, tensor: Tensor | None) -> None:
    """Replace, add or remove (None) a tensor, with a checksum that fits."""
    tensors, metadata = load_tensors(path)
    tensors.pop(name, None)
    save_tensors(path, tensors if tensor is None else tensors | {name: tensor}, metadata)


WEIGHT = "item_embedding.weight"


@pytest.mark.parametrize(
    ("name", "tensor", "problem"),
    [
        (WEIGHT, torch.full((10, 8), torch.nan), f"{WEIGHT} has values that are no finite numbers"),
        (WEIGHT, torch.full((10, 8), torch.inf), "no finite numbers"),
        (WEIGHT, torch.zeros(11, 8), f"{WEIGHT} has the shape (11, 8) of float32, not (10, 8) of float32"),
        (WEIGHT, torch.zeros(10, 8).half(), "has the shape (10, 8) of float16, not (10, 8) of float32"),
        (WEIGHT, torch.zeros(80), "has the shape (80,) of float32"),
        (WEIGHT, None, f"it lacks 1 tensor, such as {WEIGHT}"),
        ("other.weight", torch.zeros(1), "it has 1 unknown tensor, such as other.weight"),
        ("\x1b[31m", torch.zeros(1), r"such as \x1b[31m"),
    ],
)
def test_forged_weights(files: tuple[Path, Path], name: str, tensor: Tensor | None, problem: str) -> None:
    forged(files[0], name, tensor)
    assert problem in refused(files[0])
    forged(files[1], f"model.{name}", tensor)
    assert problem in refused(files[1])


@pytest.mark.parametrize(
    ("name", "tensor", "problem"),
    [
        (
            f"optimizer.exp_avg.{WEIGHT}",
            torch.zeros(1),
            f"exp_avg of {WEIGHT} has the shape (1,) of float32, not (10, 8)",
        ),
        (f"optimizer.exp_avg_sq.{WEIGHT}", torch.zeros(10, 8, dtype=torch.float64), "of float64, not"),
        (f"optimizer.exp_avg.{WEIGHT}", torch.full((10, 8), torch.nan), "no finite numbers"),
        (f"optimizer.step.{WEIGHT}", torch.zeros(2), f"step of {WEIGHT} has the shape (2,)"),
        (f"optimizer.exp_avg.{WEIGHT}", None, f"it lacks 1 tensor, such as exp_avg of {WEIGHT}"),
        (f"optimizer.max.{WEIGHT}", torch.zeros(10, 8), f"it has 1 unknown tensor, such as max of {WEIGHT}"),
        ("optimizer.exp_avg.nothing", torch.zeros(1), "the optimizer has 'nothing', which the model has not"),
        ("random.cpu", torch.zeros(5, dtype=torch.uint8), "cpu has the shape (5,)"),
        ("random.batches", torch.zeros(5056), "batches has the shape (5056,) of float32"),
        ("random.cpu", None, "the state of the generator 'cpu' is missing"),
        ("random.batches", None, "the state of the generator 'batches' is missing"),
        ("elsewhere", torch.zeros(1), "it has an unknown tensor, elsewhere"),
    ],
)
def test_forged_checkpoints(files: tuple[Path, Path], name: str, tensor: Tensor | None, problem: str) -> None:
    forged(files[1], name, tensor)
    assert problem in refused(files[1])


def test_states_of_other_machines_generators_are_left_alone(files: tuple[Path, Path]) -> None:
    forged(files[1], "random.cuda7", torch.zeros(3, dtype=torch.uint8))
    load_checkpoint(files[1], trainer())


@pytest.mark.parametrize(
    "state",
    [
        "",
        "[]",
        "{",
        "[" * 100_000,
        '{"history": 3}',
        '{"history": [{}]}',
        '{"best_epoch": "x"}',
        '{"best_epoch": 7}',
        '{"stale_validations": -1}',
        '{"history": [{"epoch": 2, "losses": {}, "metrics": {}, "train_seconds": 1, "validation_seconds": 1}]}',
        '{"history": [{"epoch": 1, "losses": {"a": "b"}, "metrics": {}, "train_seconds": 1, "validation_seconds": 1}]}',
        '{"best_epoch": ' + "9" * 5_000 + "}",
    ],
)
def test_forged_states(files: tuple[Path, Path], state: str) -> None:
    save_tensors(files[1], load_file(files[1]), {"state": state})
    assert "is damaged: state" in refused(files[1])


@pytest.mark.parametrize("epoch", ["", "-1", "x", "9" * 5_000, "1.5"])
def test_forged_epochs(files: tuple[Path, Path], epoch: str) -> None:
    save_tensors(files[0], load_file(files[0]), {"epoch": epoch})
    assert "its epoch is" in refused(files[0])


def test_the_same_content_is_the_same_file(tmp_path: Path) -> None:
    """Also in another process, which orders sets and maps another way."""
    tensors, metadata = {"b": torch.ones(2), "a": torch.zeros(1)}, {"state": "{}", "epoch": "1", "more": ""}
    code = (
        "import sys, torch; from pathlib import Path; from actsr_cli.tensors import save_tensors; "
        "save_tensors(Path(sys.argv[1]), {'b': torch.ones(2), 'a': torch.zeros(1)}, "
        "{'more': '', 'epoch': '1', 'state': '{}'})"
    )
    save_tensors(tmp_path / "here", tensors, metadata)
    subprocess.run([sys.executable, "-c", code, tmp_path / "there"], check=True)
    assert (tmp_path / "here").read_bytes() == (tmp_path / "there").read_bytes()
