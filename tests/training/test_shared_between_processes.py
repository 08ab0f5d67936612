"""Losses and gradients of two processes with shares of a batch add up to those of one process."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as dist
from samples import built, prediction_loss, run_config, sequence_data
from torch import multiprocessing

from actsr_cli.data.batches import TrainingBatches
from actsr_cli.distributed import ALONE, Workers
from actsr_cli.models.base import SequentialModel
from actsr_cli.training.objective import Objective

DATA = sequence_data([[1 + (user * 7 + step * step) % 13 for step in range(4 + user)] for user in range(14)])
SMALL = sequence_data([[1, 2, 3, 4, 5, 6, 7, 8, 9]])  # a single window, so that one process gets no part


def first_step(workers: Workers, options: dict[str, Any], small: bool) -> dict[str, torch.Tensor]:
    """Losses and gradients of the first batch, without randomness."""
    torch.randn_like = torch.zeros_like  # type: ignore[assignment]
    torch.manual_seed(0)
    data = SMALL if small else DATA
    config = run_config(max_length=8, hidden_size=12, inner_size=8, hidden_dropout=0, attention_dropout=0, **options)
    model = built(config, data.n_items, data.n_users)
    assert isinstance(model, SequentialModel)
    model.double().train()
    objective = Objective(model, prediction_loss(n_items=data.n_items), workers=workers)
    batches = TrainingBatches(data, max_length=8, batch_size=30, workers=workers)
    losses = objective.losses(*next(iter(batches.epoch(torch.Generator().manual_seed(2)))))
    objective.backward(losses)
    split = objective.parameters
    workers.sum_gradients([*split.predictor, *split.adversary])
    names = ("calibrated", "perturbed", "penalty")
    values = [getattr(losses, name) for name in names]  # None if this process had no part
    summed = workers.sum(torch.stack([torch.zeros(()).double() if v is None else v.detach().double() for v in values]))
    return {"losses": summed} | {name: p.grad for name, p in model.named_parameters() if p.grad is not None}


MODELS = [{"name": "sasrec", "calibration": "full"}, {"name": "sse-pt", "calibration": "adversarial"}]


def _work(rank: int, folder: str) -> None:
    dist.init_process_group("gloo", init_method=f"file://{folder}/meeting", rank=rank, world_size=2)
    for options in MODELS:
        for small in (False, True):
            torch.save(first_step(Workers(rank, 2), options, small), f"{folder}/{options['name']}-{small}-{rank}.pt")
    dist.destroy_process_group()


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the results of two processes, for every model and both data sets."""
    folder = tmp_path_factory.mktemp("shared")
    multiprocessing.spawn(_work, (str(folder),), nprocs=2)  # type: ignore[attr-defined, no-untyped-call]
    return folder


@pytest.mark.parametrize("small", [False, True], ids=["shared", "one has nothing"])
@pytest.mark.parametrize("options", MODELS, ids=str)
def test_gradients_add_up(shared: Path, monkeypatch: pytest.MonkeyPatch, options: dict[str, Any], small: bool) -> None:
    monkeypatch.setattr(torch, "randn_like", torch.zeros_like)
    expected = first_step(ALONE, options, small)
    for rank in range(2):
        got = torch.load(shared / f"{options['name']}-{small}-{rank}.pt", weights_only=True)
        assert got.keys() == expected.keys()
        for name in got:
            torch.testing.assert_close(got[name], expected[name], rtol=1e-6, atol=1e-9, msg=name)
