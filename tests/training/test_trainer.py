"""The training loop: what it saves, when it stops, and equal numbers for equal seeds, interrupted or not."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import pytest
import torch
from samples import built, prediction_loss, run_config, sequence_data

from actsr_cli.config import TrainingConfig
from actsr_cli.data.batches import TrainingBatches
from actsr_cli.errors import ConfigError, RunError
from actsr_cli.experiment.recorder import history_csv
from actsr_cli.models.base import SequentialModel
from actsr_cli.tensors import load_tensors, save_tensors
from actsr_cli.training.averaging import weight_average
from actsr_cli.training.checkpoint import load_checkpoint, load_model, save_checkpoint, save_model
from actsr_cli.training.device import choose_device, make_repeatable
from actsr_cli.training.trainer import EpochRecord, Hooks, Observer, Trainer, TrainingState

DATA = sequence_data([[1 + (user + step) % 11 for step in range(4 + user % 9)] for user in range(60)])


class Listener(Observer):
    """Records the events of a training; asks to stop after `stop_after` batches."""

    def __init__(self, stop_after: int | None = None) -> None:
        self.heard: list[str] = []
        self.stop_after = stop_after
        self.batches = 0

    def epoch_started(self, epoch: int, n_batches: int) -> None:
        self.heard.append(f"start {epoch}")

    def batches_finished(self, count: int, loss: float) -> None:
        self.batches += 1

    def epoch_finished(self, record: EpochRecord, state: TrainingState) -> None:
        self.heard.append(f"end {record.epoch}")

    def should_stop(self) -> bool:
        return self.stop_after is not None and self.batches >= self.stop_after


def build(
    folder: Path,
    *,
    values: list[float] | None = None,
    listener: Listener | None = None,
    model_options: dict[str, Any] | None = None,
    loss: dict[str, Any] | None = None,
    **training: Any,
) -> Trainer:
    """A small trainer; its validations return `values`, one after another."""
    config = TrainingConfig(**{"epochs": 4, "batch_size": 40, "patience": 10, "threads": 1, **training})
    make_repeatable(config.seed, torch.device("cpu"))
    small: dict[str, Any] = {"calibration": "full", "hidden_size": 16, "inner_size": 16}
    model = built(run_config(**small | (model_options or {})), DATA.n_items)
    assert isinstance(model, SequentialModel)
    listener = listener or Listener()
    queue = iter(values or range(1, 100))
    hooks = Hooks(
        validate=lambda: {"hit@10": float(next(queue))},
        save_best=lambda epoch: save_model(folder / "model.safetensors", model, epoch),
        save_checkpoint=lambda: save_checkpoint(folder / "checkpoint.safetensors", trainer),
        observer=listener,
        should_stop=listener.should_stop,
    )
    trainer = Trainer(
        model,
        config,
        TrainingBatches(DATA, max_length=50, batch_size=config.batch_size),
        prediction_loss(n_items=DATA.n_items, **(loss or {})),
        hooks,
        average=weight_average(model, config.ema),
    )
    return trainer


def parameters(trainer: Trainer) -> dict[str, torch.Tensor]:
    """The parameters of the model, and of its average if there is one."""
    both = torch.nn.ModuleDict({"model": trainer.model} | ({"average": trainer.average} if trainer.average else {}))
    return {name.removeprefix("model."): value.clone() for name, value in both.state_dict().items()}


def assert_identical(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> None:
    assert one.keys() == other.keys()
    for name in one:
        assert torch.equal(one[name], other[name]), name


def test_a_monitor_without_a_value_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(RunError, match="hit@10 has no value on validation"):
        build(tmp_path, values=[0.1, float("nan")]).fit()


def test_two_runs_with_one_seed_are_identical_and_other_seeds_differ(tmp_path: Path) -> None:
    runs = [build(tmp_path, seed=seed, epochs=2) for seed in (1, 1, 2)]
    results = []
    for seed, trainer in zip((1, 1, 2), runs, strict=True):
        make_repeatable(seed, torch.device("cpu"))
        trainer.fit()
        results.append(parameters(trainer))
    assert_identical(results[0], results[1])
    assert not torch.equal(results[0]["item_embedding.weight"], results[2]["item_embedding.weight"])


@pytest.mark.parametrize(
    "options",
    [
        {"model_options": {"combine": "annealing"}},
        {"model_options": {"calibration": "none"}},
        {"loss": {"name": "bpr"}, "gradient_clip": 0.5, "weight_decay": 0.01},
        {"ema": 0.9, "schedule": "cosine", "warmup": 0.5, "optimizer": "adamw", "weight_decay": 0.1},
    ],
    ids=["annealing", "plain", "bpr", "averaged"],
)
def test_going_on_equals_never_having_stopped(tmp_path: Path, options: dict[str, Any]) -> None:
    """A training stopped in the middle of epoch 3 and resumed in a new trainer is bit-identical."""
    straight = build(tmp_path, **options)
    straight.fit()
    epoch_batches = straight.batches.n_batches
    stopped = build(tmp_path, listener=Listener(stop_after=2 * epoch_batches + 2), **options)
    stopped.fit()
    assert stopped.state.epoch == 2
    torch.rand(17)  # random numbers drawn in between must not matter
    resumed = build(tmp_path, values=[3, 4], **options)
    torch.manual_seed(12345)
    load_checkpoint(tmp_path / "checkpoint.safetensors", resumed)
    assert (resumed.state.epoch, resumed.state.best_epoch) == (2, 2)
    resumed.fit()
    assert_identical(parameters(resumed), parameters(straight))
    losses = [[record.losses for record in trainer.state.history] for trainer in (resumed, straight)]
    assert losses[0] == losses[1]
    assert [record.metrics for record in resumed.state.history] == [{"hit@10": float(v)} for v in (1, 2, 3, 4)]


def test_the_best_epoch_is_saved_and_patience_counts_from_it(tmp_path: Path) -> None:
    listener = Listener()
    trainer = build(tmp_path, values=[0.2, 0.5, 0.5, 0.1, 0.9], epochs=9, patience=2, listener=listener)
    trainer.fit()
    assert listener.heard[-1] == "end 4"  # the second 0.5 is no improvement
    assert (trainer.state.best_epoch, trainer.state.best_value, trainer.finished) == (2, 0.5, True)
    assert load_model(tmp_path / "model.safetensors", trainer.model) == 2


def test_validation_every_so_many_epochs_and_at_the_end(tmp_path: Path) -> None:
    trainer = build(tmp_path, validate_every=2, epochs=3)
    trainer.fit()
    assert [bool(record.metrics) for record in trainer.state.history] == [False, True, True]


def test_the_loss_falls_and_both_objectives_are_recorded(tmp_path: Path) -> None:
    trainer = build(tmp_path, epochs=8, learning_rate=0.01, model_options={"hidden_dropout": 0.0})
    trainer.fit()
    history = trainer.state.history
    assert history[-1].losses["calibrated"] < 0.7 * history[0].losses["calibrated"]
    assert set(history[0].losses) == {"calibrated", "perturbed", "penalty"}


def test_bfloat16_products_train_float32_parameters(tmp_path: Path) -> None:
    trainer = build(tmp_path, epochs=3, precision="bf16", learning_rate=0.01)
    trainer.fit()
    assert trainer.model.item_vectors().dtype == torch.float32
    assert trainer.state.history[-1].losses["calibrated"] < trainer.state.history[0].losses["calibrated"]


@pytest.mark.parametrize(
    "loss",
    [
        {"name": "sampled", "negative_sampling": "uniform"},
        {"name": "sampled", "negative_sampling": "log-uniform"},
        {"name": "sampled", "negative_sampling": "in-batch"},
        {"name": "gbce"},
        {"name": "bce"},
    ],
    ids=str,
)
def test_sampled_losses_train_both_objectives(tmp_path: Path, loss: dict[str, Any]) -> None:
    options = {"hidden_dropout": 0.0, "attention_dropout": 0.0}
    trainer = build(tmp_path, model_options=options, loss={"negatives": 6, **loss}, learning_rate=0.01, epochs=8)
    before = parameters(trainer)
    trainer.fit()
    history = trainer.state.history
    assert history[-1].losses["calibrated"] < 0.95 * history[0].losses["calibrated"]
    assert not any(
        torch.equal(value, before[name]) for name, value in parameters(trainer).items() if "adversary" in name
    )


def test_gradient_clipping_bounds_each_objective(tmp_path: Path) -> None:
    trainer = build(tmp_path, gradient_clip=1e-6)
    batch = next(iter(trainer.batches.epoch(torch.Generator().manual_seed(0))))
    trainer._step(batch)
    split = trainer.objective.parameters
    for group in (split.predictor, split.adversary):
        norm = torch.stack([p.grad.norm() for p in group if p.grad is not None]).norm()
        assert norm.item() == pytest.approx(1e-6, rel=0.1)


def test_each_epoch_records_the_rate_of_its_last_step(tmp_path: Path) -> None:
    schedule: dict[str, Any] = {"learning_rate": 0.01, "schedule": "linear", "warmup": 1.0, "epochs": 3}
    schedule["batch_size"] = 10_000  # one step per epoch
    trainer = build(tmp_path, **schedule)
    assert trainer.batches.n_batches == 1
    trainer.fit()
    rates = [record.learning_rate for record in trainer.state.history]
    # the warm-up is half way up; the fall begins at the top, and is half way down to a hundredth
    assert rates == pytest.approx([0.005, 0.01, 0.01 * (1 - 0.99 / 2)])

    listener = Listener(stop_after=2)
    stopped = build(tmp_path, listener=listener, **schedule)
    stopped.fit()
    resumed = build(tmp_path, **schedule)
    load_checkpoint(tmp_path / "checkpoint.safetensors", resumed)
    assert [record.learning_rate for record in resumed.state.history] == rates[:1]
    resumed.fit()
    assert [record.learning_rate for record in resumed.state.history] == rates


def test_a_checkpoint_of_before_rates_were_recorded_can_go_on(tmp_path: Path) -> None:
    build(tmp_path, epochs=1).fit()
    tensors, metadata = load_tensors(tmp_path / "checkpoint.safetensors")
    state = json.loads(metadata["state"])
    del state["history"][0]["learning_rate"]
    save_tensors(tmp_path / "checkpoint.safetensors", tensors, {"state": json.dumps(state)})
    trainer = build(tmp_path, epochs=2)
    load_checkpoint(tmp_path / "checkpoint.safetensors", trainer)
    trainer.fit()
    assert [record.learning_rate for record in trainer.state.history] == [None, 1e-3]
    before, now = list(csv.DictReader(history_csv(trainer.state.history).splitlines()))
    assert (before["learning_rate"], now["learning_rate"]) == ("", "0.001")


def test_damaged_and_foreign_checkpoints_are_refused(tmp_path: Path) -> None:
    trainer = build(tmp_path)
    path = tmp_path / "checkpoint.safetensors"
    with pytest.raises(RunError, match="no file"):
        load_checkpoint(path, trainer)
    save_checkpoint(path, trainer)
    with pytest.raises(RunError, match="does not fit the model"):
        load_checkpoint(path, build(tmp_path, model_options={"hidden_size": 32}))
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(RunError, match="is damaged"):
        load_tensors(path)


def test_devices() -> None:
    assert choose_device("cpu").type == "cpu"
    assert choose_device("auto").type in ("cpu", "cuda", "mps")
    with pytest.raises(ConfigError, match="not available"):
        choose_device("cuda:99")
