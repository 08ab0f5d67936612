"""Numbers that are not finite: where they were, what is left, and going on with a lower learning rate."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from trainings import (
    BATCHES,
    DATA,
    INF,
    NAN,
    Listener,
    assert_same,
    at,
    poison,
    small_config,
    train_on,
    train_short,
)

from actsr_cli.batch import Batch
from actsr_cli.config import RunConfig
from actsr_cli.distributed import ALONE
from actsr_cli.errors import RunError
from actsr_cli.evaluation.metrics import parse_measure
from actsr_cli.evaluation.protocol import Protocol
from actsr_cli.experiment.evaluate import Request, evaluate_run
from actsr_cli.experiment.find import find_run, summaries
from actsr_cli.experiment.record import Status
from actsr_cli.experiment.resume import reconfigure
from actsr_cli.experiment.run import Run
from actsr_cli.models.base import SequentialModel
from actsr_cli.tensors import load_tensors
from actsr_cli.training.checkpoint import saved_state
from actsr_cli.training.tally import NotFiniteError, Tally, all_finite
from actsr_cli.training.trainer import Trainer

AC = {"kind": "full"}


def settings(**training: Any) -> RunConfig:
    return small_config({"name": "sasrec"}, calibration=AC, training={"epochs": 4, "learning_rate": 0.01, **training})


def fail(runs: Path, wanted: RunConfig) -> tuple[Run, RunError]:
    """A training that ends with an error: its run and the error."""
    with pytest.raises(RunError) as caught:
        train_short(runs, wanted, "one")
    return find_run(runs, "one"), caught.value


@pytest.mark.parametrize(
    ("loss", "value", "problem"),
    [
        ("calibrated", NAN, "the prediction loss is nan"),
        ("calibrated", INF, "the prediction loss is inf"),
        ("perturbed", NAN, "the prediction loss of the adversary is nan"),
        ("penalty", INF, "the mask penalty is inf"),
        (None, -INF, "the norm of the gradient is inf"),
        (None, NAN, "the norm of the gradient is nan"),
    ],
)
def test_the_first_bad_batch_is_named_and_the_best_model_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, loss: str | None, value: float, problem: str
) -> None:
    poison(monkeypatch, lambda epoch, batch, _: epoch == 3 and batch >= 2, loss, value)
    run, error = fail(tmp_path, settings())
    record = run.record
    best = f"The model of epoch {record.best_epoch} (hit@10 {record.value:.4f}) is kept"
    assert error.message == f"epoch 3, batch 2: {problem}. {best}: actsr evaluate d/ac-sasrec/one"
    assert error.hint is not None
    assert "from the end of epoch 2 with a lower learning rate: actsr train --resume d/ac-sasrec/one" in error.hint
    assert record.error == f"RunError: {error.message}"
    (line,) = summaries(tmp_path)
    assert (line.status, line.epochs, line.best_epoch, line.value) == (
        Status.FAILED,
        2,
        record.best_epoch,
        record.value,
    )
    for file in (run.model_file, run.checkpoint_file):
        assert all_finite(load_tensors(file)[0].values())
    assert saved_state(run.checkpoint_file).epoch == 2
    request = Request("valid", Protocol.of(run.config.evaluation), (parse_measure("hit@10"),), device="cpu")
    assert evaluate_run(run, DATA, request).metrics["hit@10"] == pytest.approx(record.value)


def test_before_the_first_validation_there_is_no_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    poison(monkeypatch, at(1, 3))
    run, error = fail(tmp_path, settings())
    assert error.message == (
        "epoch 1, batch 3: the prediction loss is nan. No epoch was validated before, so there is no model to evaluate"
    )
    assert error.hint is not None and "from the start with a lower learning rate" in error.hint
    assert not run.model_file.exists()


@pytest.mark.parametrize("readings", [3, 50])
def test_a_reading_now_and_then_names_the_batch_all_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, readings: int
) -> None:
    """On a GPU the losses are not read after every batch: the first bad one may be long past."""
    monkeypatch.setattr(Trainer, "_batches_per_reading", readings)
    poison(monkeypatch, at(2, 1))
    _, error = fail(tmp_path, settings())
    assert error.message.startswith("epoch 2, batch 1: the prediction loss is nan.")


@pytest.mark.parametrize("what", ["weight", "moment"])
@pytest.mark.parametrize("stop_after", [None, 2 * BATCHES - 1])
def test_a_checkpoint_never_holds_what_is_not_finite(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, what: str, stop_after: int | None
) -> None:
    """The losses and gradients of a step are finite, but not what it makes of the model or optimizer."""
    last = 2 * BATCHES if stop_after is None else stop_after
    steps: list[int] = []
    step = Trainer._step

    def broken(self: Trainer, batch: Any) -> list[Tensor]:
        steps.append(1)
        values = step(self, batch)
        if len(steps) == last:
            moments = next(iter(self.optimizer.moments.values()))
            with torch.no_grad():
                (next(self.model.parameters()) if what == "weight" else moments["exp_avg_sq"])[-1] = INF
        return values

    monkeypatch.setattr(Trainer, "_step", broken)
    problem = f"epoch 2, batch {(last - 1) % BATCHES + 1}: a weight or a value of the optimizer is not finite"
    with pytest.raises(RunError, match=problem):
        train_short(tmp_path, settings(ema=0.9), "one", stop_after)
    run = find_run(tmp_path, "one")
    assert saved_state(run.checkpoint_file).epoch == 1 and not run.batch_checkpoint_file.exists()
    for file in (run.model_file, run.checkpoint_file):
        assert all_finite(load_tensors(file)[0].values())


def rates(run: Run) -> list[float]:
    with (run.path / "history.csv").open() as file:
        return [float(row["learning_rate"]) for row in csv.DictReader(file)]


def changed(run: Run, **training: Any) -> Run:
    """The run with other settings of its training."""
    values = run.config.model_dump()
    return reconfigure(run, RunConfig.model_validate(values | {"training": values["training"] | training}))


BACKOFF = settings(on_nan="backoff", backoff_factor=0.5, ema=0.8)
TWICE = at(3, 2, above=0.004)
"""Goes wrong with the full rate of 0.01 and with its half, but not with a quarter."""


def test_backoff_goes_on_from_the_last_finished_epoch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    poison(monkeypatch, TWICE)
    listener = Listener()
    run = train_short(tmp_path, BACKOFF, "one", listener=listener)
    assert rates(run) == [0.01, 0.01, 0.0025, 0.0025]
    assert listener.batches == [
        *((epoch, batch) for epoch in (1, 2) for batch in range(1, BATCHES + 1)),
        *[(3, 1), (3, 1)],
        *((epoch, batch) for epoch in (3, 4) for batch in range(1, BATCHES + 1)),
    ]
    problem = "epoch 3, batch 2: the prediction loss is nan"
    assert run.record.backoffs == [problem, problem] == saved_state(run.checkpoint_file).backoffs
    assert listener.said == [
        f"{problem}. Going on from the end of epoch 2 with the learning rate times {factor} (backoff {n} of 3)"
        for n, factor in ((1, "0.5"), (2, "0.25"))
    ]
    assert (run.status, run.record.error) == (Status.FINISHED, None)


def test_a_training_that_backs_off_goes_on_after_any_batch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also if checkpoints were written between the last finished epoch and the batch that went wrong."""
    poison(monkeypatch, TWICE)
    whole = train_short(tmp_path, BACKOFF, "whole")
    for stop in range(2 * BATCHES + 1, 2 * BATCHES + 4):
        run = train_short(tmp_path, BACKOFF, f"stopped-{stop}", stop)
        assert run.status is Status.INTERRUPTED
        train_on(run)
        assert_same(whole, run)
        assert run.record.backoffs == whole.record.backoffs


def test_the_first_epoch_backs_off_to_the_start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    poison(monkeypatch, at(1, 4, above=0.004))
    gentle = settings(learning_rate=0.0025)
    run = train_short(tmp_path, settings(on_nan="backoff"), "one")
    assert rates(run) == rates(train_short(tmp_path, gentle, "gentle")) == [0.0025] * 4
    weights, expected = (load_tensors(find_run(tmp_path, name).model_file)[0] for name in ("one", "gentle"))
    assert all(torch.equal(weights[name], expected[name]) for name in expected)


def test_a_score_that_is_no_number_is_gone_back_from(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The weights of an epoch are finite, its scores on validation are not."""
    score = SequentialModel.score
    epochs: list[int] = []

    class Counting(Listener):
        def epoch_started(self, epoch: int, n_batches: int) -> None:
            epochs.append(epoch)
            super().epoch_started(epoch, n_batches)

    def overflowing(self: SequentialModel, batch: Batch) -> Tensor:
        return score(self, batch) + (NAN if epochs == [1, 2] else 0.0)

    monkeypatch.setattr(SequentialModel, "score", overflowing)
    problem = f"epoch 2, batch {BATCHES}: a score on validation is nan"
    run = train_short(tmp_path, BACKOFF, "one", listener=Counting())
    assert epochs == [1, 2, 2, 3, 4] and rates(run) == [0.01, 0.005, 0.005, 0.005]
    assert run.record.backoffs == [problem]
    epochs.clear()
    with pytest.raises(RunError, match=rf"^{problem}\. The model of epoch 1 ") as caught:
        train_short(tmp_path, settings(), "two", listener=Counting())
    assert caught.value.hint is not None and "training.learning_rate" in caught.value.hint


def test_the_number_of_backoffs_is_limited(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    poison(monkeypatch, at(2, 1))
    run, error = fail(tmp_path, settings(on_nan="backoff", backoff_limit=2))
    assert error.message.startswith("epoch 2, batch 1: the prediction loss is nan, after 2 backoffs. The model of")
    assert run.record.status is Status.FAILED
    with pytest.raises(RunError, match="after 2 backoffs"):  # the count is in the checkpoint
        train_on(run)
    with pytest.raises(RunError, match="after 4 backoffs"):
        train_on(changed(run, backoff_limit=4))
    assert run.record.backoffs is not None and len(run.record.backoffs) == 4


def test_a_failed_run_can_be_resumed_with_backoff(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    poison(monkeypatch, at(2, 3, above=0.006))
    run, _ = fail(tmp_path, settings())
    train_on(changed(run, on_nan="backoff"))
    assert (run.status, rates(run)) == (Status.FINISHED, [0.01, 0.005, 0.005, 0.005])


def test_the_earliest_bad_value_is_reported_and_sums_that_overflow_too() -> None:
    tally = Tally(5, ("calibrated", "penalty"), torch.device("cpu"), ALONE)
    for values in ((1.0, 2.0, 1.0), (1.0, INF, 1.0), (NAN, NAN, NAN)):
        tally.add([torch.tensor(value) for value in values])
    with pytest.raises(NotFiniteError, match=r"^epoch 5, batch 2: the mask penalty is inf$"):
        tally.means()
    large = Tally(1, ("calibrated",), torch.device("cpu"), ALONE)
    for _ in range(2):
        large.add([torch.tensor(1.7e308, dtype=torch.float64), torch.tensor(0.0)])
    with pytest.raises(NotFiniteError, match="epoch 1, batch 2: the sum of the losses is too large"):
        large.means()


def test_what_counts_as_finite() -> None:
    good = [torch.ones(3, 2), torch.zeros(0), torch.tensor([True]), torch.tensor(2**62)]
    assert all_finite(good)
    for bad in (NAN, INF, -INF):
        assert not all_finite([*good, torch.tensor([1.0, bad, 1.0])])
