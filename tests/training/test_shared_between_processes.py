"""Two processes with shares of a batch: their losses and gradients add up, and they stop and go on together."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.distributed as dist
from processes import warm
from samples import built, prediction_loss, run_config, sequence_data
from trainings import DATA as SHARED
from trainings import EPOCHS, Listener, assert_same, small_config

from actsr_cli.batch import Batch
from actsr_cli.config import TrainingConfig
from actsr_cli.data.batches import TrainingBatches
from actsr_cli.data.histories import Histories
from actsr_cli.distributed import ALONE, Workers
from actsr_cli.errors import RunError
from actsr_cli.evaluation.ranker import Ranker, ScoreError
from actsr_cli.experiment.find import find_run
from actsr_cli.experiment.resume import resume_run
from actsr_cli.experiment.run import new_run
from actsr_cli.experiment.train import train_run
from actsr_cli.models.base import SequentialModel
from actsr_cli.training import trainer
from actsr_cli.training.averaging import weight_average
from actsr_cli.training.losses import PredictionLoss
from actsr_cli.training.objective import Objective
from actsr_cli.training.tally import NotFiniteError, Tally
from actsr_cli.training.trainer import Hooks, Trainer

DATA = sequence_data([[1 + (user * 7 + step * step) % 13 for step in range(4 + user)] for user in range(14)])
SMALL = sequence_data([[1, 2, 3, 4, 5, 6, 7, 8, 9]])  # a single window, so that one process gets no part


def first_step(
    workers: Workers, options: dict[str, Any], small: bool, loss: dict[str, Any] | None = None
) -> dict[str, torch.Tensor]:
    """Losses and gradients of the first batch, without randomness."""
    torch.randn_like = torch.zeros_like  # type: ignore[assignment]
    torch.manual_seed(0)
    data = SMALL if small else DATA
    config = run_config(max_length=8, hidden_size=12, inner_size=8, hidden_dropout=0, attention_dropout=0, **options)
    model = built(config, data.n_items, data.n_users)
    assert isinstance(model, SequentialModel)
    model.double().train()
    objective = Objective(model, prediction_loss(n_items=data.n_items, **(loss or {})), workers=workers)
    batches = TrainingBatches(data, max_length=8, batch_size=30, workers=workers)
    losses = objective.losses(next(iter(batches.epoch(torch.Generator().manual_seed(2)))))
    objective.backward(losses)
    split = objective.parameters
    workers.sum_gradients([*split.predictor, *split.adversary])
    names = ("calibrated", "perturbed", "penalty")
    values = [getattr(losses, name) for name in names]  # None if this process had no part
    summed = workers.sum(torch.stack([torch.zeros(()).double() if v is None else v.detach().double() for v in values]))
    return {"losses": summed} | {name: p.grad for name, p in model.named_parameters() if p.grad is not None}


def touched_rows(workers: Workers, loss: PredictionLoss) -> dict[str, torch.Tensor]:
    """A model and its average after two epochs in which each step updates the rows of its items alone."""
    torch.manual_seed(0)
    model = built(run_config(max_length=8, hidden_size=12, inner_size=8, hidden_dropout=0, attention_dropout=0), 13)
    assert isinstance(model, SequentialModel)
    model.double()
    config = TrainingConfig(
        item_updates="touched",
        optimizer="adamw",
        weight_decay=0.1,
        gradient_clip=0.1,
        ema=0.9,
        epochs=2,
        batch_size=8,
        device="cpu",
    )
    average = weight_average(model, config.ema)
    batches = TrainingBatches(DATA, max_length=8, batch_size=8, workers=workers)
    Trainer(model, config, batches, loss, Hooks(), workers=workers, average=average).fit()
    assert average is not None
    return model.state_dict() | average.state_dict()


def without_randomness() -> dict[str, PredictionLoss]:
    """Two losses over 13 items: the negatives of one depend on a process's own targets, of the other on all."""
    bpr = prediction_loss("bpr", n_items=13)
    bpr.draw = lambda targets: 1 + targets % 13  # type: ignore[method-assign]
    return {"bpr": bpr, "in-batch": prediction_loss(n_items=13, **IN_BATCH)}


STOPS = (1, 3, 2 * EPOCHS)
IN_BATCH = {"name": "sampled", "negative_sampling": "in-batch"}
TRAINED: list[tuple[dict[str, Any], dict[str, Any] | None]] = [
    ({"name": "sasrec", "calibration": "full"}, None),
    ({"name": "sse-pt", "calibration": "adversarial"}, None),
    ({"name": "sasrec"}, IN_BATCH),  # the negatives are the targets of both processes
]
"""Models, and their losses."""


def _train(workers: Workers, runs: Path, name: str, stop_after: int | None) -> None:
    """Train a run; after so many readings of the losses, one of the processes asks to stop, and then both resume."""
    settings = small_config(
        {"name": "sse-pt", "user_replacement": 0.2}, calibration={"kind": "full"}, training={"ema": 0.9}
    )
    listener = Listener(stop_after if workers.rank == 1 else None)
    with ExitStack() as held:
        run = workers.from_leader(lambda: held.enter_context(new_run(runs, settings, SHARED, name=name)))
        train_run(run, SHARED, listener, workers, stop=listener.stop)
    if stop_after is not None:
        torch.save(listener.batches, runs / f"{name}-{workers.rank}.pt")
        resume_run(run, SHARED, Listener(), workers)


def _problem(workers: Workers) -> str:
    """What both processes say of the first value that is not finite, in any of them."""
    tally = Tally(1, ("calibrated",), torch.device("cpu"), workers)
    for loss in ([1.0, 1.0, torch.inf], [1.0, torch.nan, 1.0])[workers.rank]:
        tally.add([torch.tensor(loss), torch.tensor(1.0)])
    with pytest.raises(NotFiniteError) as caught:
        tally.means()
    return caught.value.message


class NaNForUserOne:
    """Scores that are all 0, but for user 1, whose are NaN."""

    n_items, max_length = 9, 3

    def score(self, batch: Batch) -> torch.Tensor:
        assert batch.user_ids is not None
        return torch.zeros(len(batch), 10).masked_fill(batch.user_ids.unsqueeze(1) == 1, torch.nan)


def _unranked(workers: Workers) -> str:
    """What both processes say of a score that is not a number, which one of them has."""
    histories = Histories.of([np.array([1, 2]), np.array([3, 4])], users=[0, 1])
    with pytest.raises(ScoreError) as caught:
        Ranker(NaNForUserOne(), device=torch.device("cpu"), workers=workers).rank(histories)
    return caught.value.message


def _work(rank: int, folder: str) -> None:
    dist.init_process_group("gloo", init_method=f"file://{folder}/meeting", rank=rank, world_size=2)
    for number, (options, loss) in enumerate(TRAINED):
        for small in (False, True):
            torch.save(first_step(Workers(rank, 2), options, small, loss), f"{folder}/{number}-{small}-{rank}.pt")
    workers = Workers(rank, 2)
    for name, made in without_randomness().items():
        torch.save(touched_rows(workers, made), f"{folder}/touched-{name}-{rank}.pt")
    torch.save([_problem(workers), _unranked(workers)], f"{folder}/problems-{rank}.pt")
    trainer._BATCHES_PER_READING = 3  # of the four batches of an epoch
    for stop_after in (None, *STOPS):
        _train(workers, Path(folder) / "runs", f"stop-{stop_after}", stop_after)
    dist.destroy_process_group()


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the results of two processes, for every model and both data sets."""
    folder = tmp_path_factory.mktemp("shared")
    processes = [warm().Process(target=_work, args=(rank, str(folder))) for rank in range(2)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(200)
    assert [process.exitcode for process in processes] == [0, 0]
    return folder


@pytest.mark.parametrize("small", [False, True], ids=["shared", "one has nothing"])
@pytest.mark.parametrize("number", range(len(TRAINED)), ids=map(str, TRAINED))
def test_gradients_add_up(shared: Path, monkeypatch: pytest.MonkeyPatch, number: int, small: bool) -> None:
    monkeypatch.setattr(torch, "randn_like", torch.zeros_like)
    options, loss = TRAINED[number]
    expected = first_step(ALONE, options, small, loss)
    for rank in range(2):
        got = torch.load(shared / f"{number}-{small}-{rank}.pt", weights_only=True)
        assert got.keys() == expected.keys()
        for name in got:
            torch.testing.assert_close(got[name], expected[name], rtol=1e-6, atol=1e-9, msg=name)


@pytest.mark.parametrize("loss", without_randomness())
def test_touched_rows_are_those_of_all_processes(shared: Path, loss: str) -> None:
    """Each process reads other rows; both then have the same weights, which are those of one process."""
    one, other = (torch.load(shared / f"touched-{loss}-{rank}.pt", weights_only=True) for rank in range(2))
    for name, expected in touched_rows(ALONE, without_randomness()[loss]).items():
        assert torch.equal(one[name], other[name]), name
        torch.testing.assert_close(one[name], expected, rtol=1e-5, atol=1e-6, msg=name)


@pytest.mark.parametrize("stop_after", STOPS)
def test_processes_stop_at_one_batch_and_go_on_together(shared: Path, stop_after: int) -> None:
    """Each has its own dropout and its own sums of the losses; each second reading is at the end of an epoch."""
    runs, name = shared / "runs", f"stop-{stop_after}"
    read = [(epoch, batch) for epoch in range(1, EPOCHS + 1) for batch in (3, 4)][:stop_after]
    assert [torch.load(runs / f"{name}-{rank}.pt", weights_only=True) for rank in range(2)] == [read, read]
    assert_same(find_run(runs, "stop-None"), find_run(runs, name))


def test_another_number_of_processes_cannot_resume(shared: Path) -> None:
    run = find_run(shared / "runs", "stop-None")
    with pytest.raises(RunError, match=r"stop-None was trained by 2 processes: it cannot be resumed by 1$") as caught:
        resume_run(run, SHARED, Listener())
    assert (
        caught.value.hint is not None
        and "Start it with --processes 2, or torchrun with as many in all" in caught.value.hint
    )
    run.update(processes=1)
    with pytest.raises(RunError, match="was trained by 1 process: it cannot be resumed by 2") as caught:
        resume_run(run, SHARED, Listener(), Workers(1, 2))
    assert caught.value.hint is not None and "Start it in one process" in caught.value.hint


def test_all_processes_notice_a_bad_number_of_any(shared: Path) -> None:
    for rank in range(2):
        losses, scores = torch.load(shared / f"problems-{rank}.pt", weights_only=True)
        assert losses == "epoch 1, batch 2: the prediction loss is nan"
        assert scores == "the model scores an item with NaN: it cannot be ranked"
