"""`precision: auto` takes what is faster, says so, and a resumed run keeps it."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor
from trainings import Listener, small_config, train_on, train_short

from actsr_cli.config.losses import CrossEntropyOptions, SampledOptions
from actsr_cli.training import precision as module
from actsr_cli.training.losses import build_loss
from actsr_cli.training.losses.cross_entropy import cross_entropy
from actsr_cli.training.precision import faster_precision
from actsr_cli.training.trainer import Trainer

ITEMS = torch.randn(30, 8)
ENTROPY = build_loss(CrossEntropyOptions(name="ce"), 29, torch.ones(30))


def measure(monkeypatch: pytest.MonkeyPatch, seconds: dict[torch.dtype, float]) -> None:
    monkeypatch.setattr(module, "_best_seconds", lambda _columns, _width, dtype: seconds[dtype])
    module._ratio.cache_clear()


def test_the_faster_one_is_taken_if_it_is_clearly_faster(monkeypatch: pytest.MonkeyPatch) -> None:
    for in_bf16, expected in ((0.5, "bf16"), (0.95, "float32"), (3.0, "float32")):
        measure(monkeypatch, {torch.bfloat16: in_bf16, torch.float32: 1.0})
        chosen, reason = faster_precision(ITEMS, ENTROPY)
        assert chosen == expected and f"takes {in_bf16:g} times" in reason


def test_both_are_measured_without_a_random_number(monkeypatch: pytest.MonkeyPatch) -> None:
    types: list[torch.dtype] = []

    def spied(hidden: Tensor, items: Tensor, targets: Tensor) -> Tensor:
        types.append(torch.get_autocast_dtype("cpu") if torch.is_autocast_enabled("cpu") else items.dtype)
        return cross_entropy(hidden, items, targets)

    monkeypatch.setattr(module, "cross_entropy", spied)
    module._ratio.cache_clear()
    before = torch.get_rng_state()
    faster_precision(ITEMS, ENTROPY)
    assert torch.equal(before, torch.get_rng_state())
    assert set(types) == {torch.bfloat16, torch.float32}


def test_a_loss_without_the_catalogue_stays_in_float32() -> None:
    sampled = build_loss(SampledOptions(name="sampled"), 29, torch.ones(30))
    assert faster_precision(ITEMS, sampled)[0] == "float32"


def test_a_resumed_run_keeps_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    trained: list[str] = []
    fit = Trainer.fit

    def noticed(trainer: Trainer) -> None:
        trained.append(trainer.config.precision)
        fit(trainer)

    monkeypatch.setattr(Trainer, "fit", noticed)
    measure(monkeypatch, {torch.bfloat16: 0.5, torch.float32: 1.0})
    listener = Listener(stop_after=2)
    run = train_short(tmp_path, small_config({"name": "sasrec"}, training={"precision": "auto"}), "a", None, listener)
    assert any("Precision bf16: the loss over the catalogue takes 0.5 times" in text for text in listener.said)
    measure(monkeypatch, {torch.bfloat16: 2.0, torch.float32: 1.0})
    train_on(run)
    assert trained == ["bf16", "bf16"] and run.record.precision == "bf16"
