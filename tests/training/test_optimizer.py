"""The optimizer against torch's classes, and without torch's compiler."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Literal

import pytest
import torch
from torch import nn

from actsr_cli.config import TrainingConfig
from actsr_cli.training.optimizer import Optimizer

TORCHS = {"adam": torch.optim.Adam, "adamw": torch.optim.AdamW}


def parameters() -> list[nn.Parameter]:
    drawn = torch.Generator().manual_seed(3)
    return [nn.Parameter(torch.randn(size, generator=drawn)) for size in ((4, 3), (3,), (2, 2))]


@pytest.mark.parametrize("weight_decay", [0.0, 0.1])
@pytest.mark.parametrize("kind", ["adam", "adamw"])
def test_equals_torchs_bit_for_bit(kind: Literal["adam", "adamw"], weight_decay: float) -> None:
    config = TrainingConfig(optimizer=kind, learning_rate=0.01, weight_decay=weight_decay)
    ours, theirs = parameters(), parameters()
    optimizer, expected = Optimizer(ours, config), TORCHS[kind](theirs, lr=0.01, weight_decay=weight_decay, fused=True)
    for step in range(1, 6):
        optimizer.forget_gradients()
        expected.zero_grad()
        optimizer.rate = expected.param_groups[0]["lr"] = 0.01 / step
        trained = slice(None) if step % 2 else slice(1, 2)  # a parameter without a gradient keeps its moments
        for each in (ours, theirs):
            torch.stack([(step * parameter).sin().sum() for parameter in each[trained]]).sum().backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        expected.step()
        if step == 3:
            restored = Optimizer(ours, config)
            restored.restore(optimizer.moments)
            optimizer = restored
    for mine, other in zip(ours, theirs, strict=True):
        assert torch.equal(mine, other)
        assert all(
            torch.equal(optimizer.moments[mine][key], expected.state[other][key]) for key in expected.state[other]
        )


def test_a_parameter_that_never_had_a_gradient_has_no_moments() -> None:
    some = parameters()
    optimizer = Optimizer(some, TrainingConfig())
    some[0].sum().backward()  # type: ignore[no-untyped-call]
    optimizer.step()
    assert list(optimizer.moments) == [some[0]]


ALONE = """
import pathlib, sys
sys.modules["torch._dynamo"] = None  # importing it is an error
from trainings import small_config, train_short

train_short(pathlib.Path(sys.argv[1]), small_config({"name": "sasrec"}, training={"epochs": 1, "ema": 0.9}), "short")
"""


def test_a_training_does_without_torchs_compiler(tmp_path: Path) -> None:
    folder = Path(__file__).parents[1]
    ended = subprocess.run(
        [sys.executable, "-c", ALONE, tmp_path], cwd=folder, capture_output=True, text=True, check=False
    )
    assert ended.returncode == 0, ended.stderr
