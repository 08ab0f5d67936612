"""Updating only touched rows: the numbers of updating all, by steps that read and write no other row."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from pydantic import ValidationError
from samples import built, prediction_loss, run_config, sequence_data
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from trainings import at, poison, small_config, train_short

from actsr_cli.batch import PaddedBatch
from actsr_cli.config import LOSSES, CustomLoss, RunConfig, TrainingConfig
from actsr_cli.data.batches import TrainingBatches
from actsr_cli.distributed import ALONE
from actsr_cli.errors import ConfigError, RunError
from actsr_cli.models.base import CustomModel, SequentialModel
from actsr_cli.tensors import load_tensors, save_tensors
from actsr_cli.training.averaging import weight_average
from actsr_cli.training.checkpoint import load_checkpoint, save_checkpoint
from actsr_cli.training.losses import PredictionLoss
from actsr_cli.training.touched import TouchedTables
from actsr_cli.training.trainer import Hooks, Trainer

DATA = sequence_data([[1 + (user * 7 + step * step) % 97 for step in range(4 + user % 9)] for user in range(60)])
ITEMS = "item_embedding.weight"


def model_of(n_items: int = 9, **options: Any) -> SequentialModel:
    torch.manual_seed(0)
    heads = {} if options.get("name") == "gru4rec" else {"heads": 1}
    model = built(
        run_config(**{"hidden_size": 4, "inner_size": 4, "layers": 1, **heads} | options), n_items, DATA.n_users
    )
    assert isinstance(model, SequentialModel)
    return model.double().train()


class Dense:
    """All rows of a table updated in each step, by torch."""

    def __init__(self, table: Tensor, config: TrainingConfig) -> None:
        self.holder = nn.ParameterList([table.detach().clone()])
        self.average = weight_average(self.holder, config.ema)  # type: ignore[arg-type]
        kind = {"adam": torch.optim.Adam, "adamw": torch.optim.AdamW}[config.optimizer]
        self.optimizer = kind(self.holder.parameters(), weight_decay=config.weight_decay, fused=True)

    def step(self, rows: Sequence[int], gradient: Tensor, rate: float) -> None:
        self.optimizer.param_groups[0]["lr"] = rate
        self.holder[0].grad = torch.zeros_like(self.holder[0]).index_copy_(0, torch.tensor(rows), gradient)
        self.optimizer.step()
        if self.average is not None:
            self.average.update_parameters(self.holder)

    @property
    def table(self) -> Tensor:
        table: Tensor = self.holder[0].detach()
        return table


def step(touched: TouchedTables, model: SequentialModel, rows: Sequence[int], gradient: Tensor, rate: float) -> None:
    weight = model.tables()[0].weight
    weight.grad = torch.sparse_coo_tensor(torch.tensor([rows]), gradient, weight.shape, check_invariants=True)
    touched.share_gradients(ALONE)
    touched.step(rate)


def test_three_steps_by_hand() -> None:
    """Row 1 is touched in each step, row 2 in the first and the third, row 3 in the first, row 4 never."""
    model = model_of()
    weight = model.tables()[0].weight
    before = weight.detach().clone()
    config = TrainingConfig(item_updates="touched")
    touched, dense = TouchedTables(model, config, prediction_loss("bpr"), None), Dense(weight, config)
    for rows, rate in (([1, 2, 3], 0.1), ([1], 0.2), ([1, 2], 0.3)):
        gradient = torch.full((len(rows), 4), 0.5 * rate, dtype=torch.float64)
        step(touched, model, rows, gradient, rate)
        dense.step(rows, gradient, rate)
        assert torch.equal(weight[1], dense.table[1])  # the same operations
    assert torch.equal(weight[4:], before[4:])
    first, second = touched.by_name[ITEMS].moments
    # as after the third step: 0.1 · 0.05 · 0.9² + 0.1 · 0.15, and with squares 0.001 and 0.999²
    assert first[2].tolist() == pytest.approx([0.1 * 0.05 * 0.81 + 0.1 * 0.15] * 4)
    assert second[2].tolist() == pytest.approx([0.001 * 0.0025 * 0.998001 + 0.001 * 0.0225] * 4)
    assert first[3].tolist() == pytest.approx([0.1 * 0.05] * 4)  # as after the first step: not read since
    moved = 0.1 * (0.005 / 0.1) / (math.sqrt(2.5e-6 / 0.001) + 1e-8)
    assert weight[3].tolist() == pytest.approx((before[3] - moved).tolist())
    touched.catch_up()
    for count, rate in ((2, 0.2), (3, 0.3)):  # what the two steps that it has missed have changed
        mean, square = 0.005 * 0.9 ** (count - 1), 2.5e-6 * 0.999 ** (count - 1)
        moved += rate * (mean / (1 - 0.9**count)) / (math.sqrt(square / (1 - 0.999**count)) + 1e-8)
    assert weight[3].tolist() == pytest.approx((before[3] - moved).tolist(), rel=1e-12)
    torch.testing.assert_close(weight.detach(), dense.table, rtol=1e-12, atol=1e-14)


@settings(max_examples=12)
@example([{1, 2}, {3, 4}, {1, 3}], [0, 0, 400], [0.1, 0.01, 0.1], {"optimizer": "adamw", "ema": 0.99}, {1})
@given(
    touches=st.lists(st.sets(st.integers(1, 5), min_size=1), min_size=1, max_size=8),
    pauses=st.lists(st.sampled_from([0, 1, 7]), min_size=8, max_size=8),
    rates=st.lists(st.floats(1e-4, 0.1), min_size=8, max_size=8),
    training=st.fixed_dictionaries(
        {
            "optimizer": st.just("adamw"),
            "weight_decay": st.sampled_from([0.0, 0.1]),
            "ema": st.sampled_from([0.0, 0.5, 0.999]),
        }
    ),
    ends=st.sets(st.integers(0, 7)),
)
def test_it_equals_updating_all_rows(
    touches: list[set[int]],
    pauses: list[int],
    rates: list[float],
    training: dict[str, Any],
    ends: set[int],
) -> None:
    """After each pause, in which other rows are touched, and with epochs that end in between."""
    model = model_of()
    config = TrainingConfig(item_updates="touched", **training)
    average = weight_average(model, config.ema)
    weight = model.tables()[0].weight
    touched, dense = TouchedTables(model, config, prediction_loss("bpr"), average), Dense(weight, config)
    chance = torch.Generator().manual_seed(1)
    for place, rows in enumerate(touches):
        for touch in [{7}] * pauses[place] + [rows]:
            gradient = torch.randn(len(touch), 4, generator=chance, dtype=torch.float64)
            step(touched, model, sorted(touch), gradient, rates[place])
            dense.step(sorted(touch), gradient, rates[place])
            if average is not None:
                average.update_parameters(model)
        if place in ends:
            touched.catch_up()
    touched.catch_up()
    torch.testing.assert_close(weight.detach(), dense.table, rtol=1e-7, atol=1e-7)
    if average is not None:
        assert dense.average is not None
        averaged, expected = dict(average.module.named_parameters())[ITEMS], next(dense.average.module.parameters())
        torch.testing.assert_close(averaged.detach(), expected.detach(), rtol=1e-7, atol=1e-7)


@pytest.mark.parametrize(("size", "error"), [(1e-4, 1e-7), (1e-6, 1e-3), (1e-8, 0.15)])
def test_only_gradients_as_small_as_epsilon_drift_a_little_differently(size: float, error: float) -> None:
    model = model_of()
    config = TrainingConfig(item_updates="touched")
    weight = model.tables()[0].weight
    touched, dense = TouchedTables(model, config, prediction_loss("bpr"), None), Dense(weight, config)
    for touch in ([1, 2], *[[2]] * 300):
        gradient = torch.full((len(touch), 4), size, dtype=torch.float64)
        step(touched, model, touch, gradient, 0.01)
        dense.step(touch, gradient, 0.01)
    shown = weight[1].detach().clone()
    touched.catch_up()
    assert (weight[1] - shown).abs().min() > 0.1 * size / (size + 1e-8) * 0.01
    torch.testing.assert_close(weight[1] - shown, dense.table[1] - shown, rtol=error, atol=0)


def trained(updates: str, loss: str, model: dict[str, Any], training: dict[str, Any]) -> tuple[Trainer, list[Tensor]]:
    """A trainer after two epochs, and the losses of its first step with the norm of its gradient."""
    config = TrainingConfig(
        item_updates=updates, **{"epochs": 2, "batch_size": 40, "threads": 1, "device": "cpu", **training}
    )
    made = model_of(DATA.n_items, max_length=8, **model)
    options = {} if loss == "bpr" else {"negatives": 7}
    trainer = Trainer(
        made,
        config,
        TrainingBatches(DATA, max_length=8, batch_size=config.batch_size),
        prediction_loss(loss, n_items=DATA.n_items, **options),
        Hooks(),
        average=weight_average(made, config.ema),
    )
    first: list[Tensor] = []
    take = trainer._step

    def noted(batch: Any) -> list[Tensor]:
        found = take(batch)
        first.extend(found if not first else [])
        return found

    trainer._step = noted  # type: ignore[method-assign]
    trainer.fit()
    return trainer, first


FULL = {"calibration": "full"}
CASES: list[tuple[str, dict[str, Any], dict[str, Any]]] = [
    ("sampled", {"item_replacement": 0.2, **FULL}, {"schedule": "cosine", "warmup": 0.5, "ema": 0.9}),
    ("sampled", {"similarity": "cosine"}, {"optimizer": "adamw", "weight_decay": 0.1, "ema": 0.9}),
    ("gbce", {"name": "bert4rec", **FULL}, {"gradient_clip": 0.01}),
    ("bce", {"name": "sse-pt", "user_replacement": 0.2, "calibration": "adversarial"}, {"gradient_clip": 0.01}),
    ("bpr", {"name": "gru4rec"}, {}),
]


@pytest.mark.parametrize(("loss", "model", "training"), CASES, ids=[case[0] for case in CASES])
def test_every_backbone_learns_the_same(loss: str, model: dict[str, Any], training: dict[str, Any]) -> None:
    (one, first), (other, other_first) = (trained(updates, loss, model, training) for updates in ("all", "touched"))
    assert torch.equal(torch.stack(first[:-1]), torch.stack(other_first[:-1]))
    torch.testing.assert_close(first[-1], other_first[-1], rtol=1e-12, atol=0)  # the norm of the whole gradient
    names = dict(other.model.named_parameters()).keys() & other.touched.by_name.keys()
    assert names == ({ITEMS, "user_embedding.weight"} if model.get("name") == "sse-pt" else {ITEMS})
    for mine, theirs in ((one.model, other.model), (one.average, other.average)):
        if mine is not None and theirs is not None:
            for (name, value), found in zip(mine.state_dict().items(), theirs.state_dict().values(), strict=True):
                torch.testing.assert_close(found, value, rtol=1e-4, atol=1e-4, msg=name)
    for record, found in zip(one.state.history, other.state.history, strict=True):
        assert found.losses == pytest.approx(record.losses, rel=1e-6)


class Reads(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Notes the operations that get or make a dense tensor with as many numbers as a table has rows."""

    def __init__(self, rows: int) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.rows = rows
        self.names: set[str] = set()

    def __torch_dispatch__(self, function: Any, types: Any, arguments: Any = (), named: Any = None) -> Any:
        found = function(*arguments, **(named or {}))
        tensors = [each for each in tree_leaves((arguments, named, found)) if isinstance(each, Tensor)]
        if any(not each.is_sparse and each.numel() >= self.rows for each in tensors):
            self.names.add(function.overloadpacket.__name__)
        return found


def test_a_step_reads_and_writes_no_other_rows() -> None:
    trainer, _ = trained("touched", "sampled", {"similarity": "cosine", **FULL}, {"ema": 0.9, "epochs": 1})
    batch = next(iter(trainer.batches.epoch(torch.Generator().manual_seed(0))))
    for updates in ("all", "touched"):
        large = model_of(50_000, max_length=8, similarity="cosine", **FULL)
        config = TrainingConfig(item_updates=updates, ema=0.9)
        loss, average = prediction_loss("sampled", n_items=50_000, negatives=7), weight_average(large, 0.9)
        trainer = Trainer(large, config, trainer.batches, loss, Hooks(), average=average)
        trainer._step(batch)  # the first copies the model to its average
        before = large.item_vectors().detach().clone()
        with Reads(50_000) as reads:
            trainer._step(batch)
        rows = (large.item_vectors() != before).any(dim=1).sum()
        looks_up = {"embedding", "index", "index_copy_", "index_put_", "detach", "alias", "view"}
        if updates == "touched":
            assert reads.names <= looks_up and {"embedding", "index_copy_"} <= reads.names
            assert 0 < rows < 200
        else:
            assert not reads.names <= looks_up


TOUCHED = {"item_updates": "touched"}


def test_backing_off_returns_to_the_state_of_the_rows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The rate falls, and the steps that rows have missed before keep theirs."""
    poison(monkeypatch, at(2, 3, above=0.006))
    runs = [
        train_short(
            tmp_path,
            small_config(
                {"name": "sasrec"},
                loss={"name": "sampled", "negatives": 3},
                training={"on_nan": "backoff", "learning_rate": 0.01, "ema": 0.8, "item_updates": updates},
            ),
            updates,
        )
        for updates in ("all", "touched")
    ]
    (one, _), (other, _) = (load_tensors(run.checkpoint_file) for run in runs)
    assert runs[1].record.backoffs == ["epoch 2, batch 3: the prediction loss is nan"]
    for name in (f"model.{ITEMS}", f"average.module.{ITEMS}"):
        torch.testing.assert_close(other[name], one[name], rtol=1e-4, atol=1e-6)


def refused(model: SequentialModel, loss: PredictionLoss) -> str:
    """The message with which a training of one epoch is refused."""
    config = TrainingConfig(item_updates="touched", epochs=1, device="cpu")
    with pytest.raises(ConfigError) as caught:
        Trainer(model, config, TrainingBatches(DATA, max_length=8, batch_size=40), loss, Hooks()).fit()
    return caught.value.message


class Tiny(CustomModel):
    """A model of its own, which scores with another tensor than it embeds, or embeds in its own way."""

    way = "scores"

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self.items = nn.Embedding(self.n_items + 1, 4)

    def forward(self, batch: PaddedBatch) -> Tensor:
        return self.items(batch.item_ids) if self.way == "scores" else self.items.weight[batch.item_ids]

    def item_vectors(self) -> Tensor:
        return self.items.weight * 2 if self.way == "scores" else self.items.weight


class Other(Tiny):
    way = "embeds"


class ReadsAll(PredictionLoss):
    def draw(self, targets: Tensor) -> Tensor:
        return targets

    def __call__(self, hidden: Tensor, items: Tensor, targets: Tensor, negatives: Tensor | None) -> Tensor:
        return (hidden @ items.T).mean()


class ReadsAllInAList(ReadsAll):
    def __call__(self, hidden: Tensor, items: Tensor, targets: Tensor, negatives: Tensor | None) -> Tensor:
        return torch.cat([items, hidden]).mean()


class ReadsFew(ReadsAll):
    def __call__(self, hidden: Tensor, items: Tensor, targets: Tensor, negatives: Tensor | None) -> Tensor:
        return (hidden * items[targets]).mean()


class DrawsNone(ReadsAll):
    draw = PredictionLoss.draw  # type: ignore[assignment]


def test_what_cannot_work_with_it_is_refused_by_name() -> None:
    counts = torch.ones(DATA.n_items + 1, dtype=torch.int64)
    reads_all, reads_few, draws_none = (
        kind(CustomLoss(name=f"own:{kind.__name__}"), DATA.n_items, counts) for kind in (ReadsAll, ReadsFew, DrawsNone)
    )
    model = model_of(DATA.n_items, max_length=8)
    assert refused(model, reads_all) == (
        "training.item_updates: touched cannot be used with loss own:ReadsAll: it reads all item vectors, not only "
        "those of targets and negatives"
    )
    in_a_list = ReadsAllInAList(CustomLoss(name="own:ReadsAllInAList"), DATA.n_items, counts)
    assert "it reads all item vectors" in refused(model, in_a_list)
    assert refused(model, draws_none).endswith("needs a loss that draws negatives: own:DrawsNone draws none")
    settings = run_config()
    scores, embeds = (kind(settings.model, settings.calibration, DATA.n_items) for kind in (Tiny, Other))
    assert "the item_vectors of sasrec are no nn.Embedding's weight" in refused(scores, reads_few)
    assert "it uses its item table in another way" in refused(embeds, reads_few)


@pytest.mark.parametrize(
    ("loss", "training", "problem"),
    [
        ("ce", {}, r"needs a loss that draws negatives \(sampled, gbce, bce, bpr\): loss ce compares"),
        ("bpr", {"weight_decay": 0.1}, "training.weight_decay of optimizer adam"),
        ("bpr", {"weight_decay": 10.0, "learning_rate": 0.1, "optimizer": "adamw"}, "below 1"),
    ],
)
def test_settings_that_cannot_work_with_it(loss: str, training: dict[str, Any], problem: str) -> None:
    with pytest.raises(ValidationError, match=problem):
        RunConfig.model_validate({"loss": loss, "training": TOUCHED | training})
    RunConfig.model_validate({"loss": loss, "training": training})


def test_the_losses_that_draw_are_those_that_say_so() -> None:
    for name in LOSSES.by_name:
        assert (type(prediction_loss(name)).draw is not PredictionLoss.draw) is LOSSES.find(name).draws


def test_models_that_are_not_trained_ignore_it() -> None:
    RunConfig.model_validate({"model": "popularity", "training": TOUCHED})


@pytest.mark.parametrize(
    ("name", "forge", "problem"),
    [
        (f"seen.{ITEMS}", lambda values: values[1:], r"seen\.item_embedding\.weight of touched rows has the shape"),
        (f"exp_avg_sq.{ITEMS}", lambda values: values * torch.nan, "no finite numbers"),
        (f"applied.{ITEMS}", lambda values: values + 10_000, "do not follow one another"),
        (f"applied.{ITEMS}", torch.zeros_like, "do not follow one another"),
        ("step", lambda values: values - 10_000, "do not follow one another"),
        ("rates", lambda values: values.float(), "rates of touched rows has the shape"),
        ("step", None, "it lacks 1 tensor, such as step of touched rows"),
    ],
)
def test_forged_checkpoints(tmp_path: Path, name: str, forge: Callable[[Tensor], Tensor] | None, problem: str) -> None:
    trainer, _ = trained("touched", "bpr", {}, {"epochs": 1})
    save_checkpoint(tmp_path / "checkpoint", trainer)
    load_checkpoint(tmp_path / "checkpoint", trainer)
    tensors, metadata = load_tensors(tmp_path / "checkpoint")
    value = tensors.pop(f"touched.{name}")
    more = {} if forge is None else {f"touched.{name}": forge(value).contiguous()}
    save_tensors(tmp_path / "checkpoint", tensors | more, metadata)
    with pytest.raises(RunError, match=problem):
        load_checkpoint(tmp_path / "checkpoint", trainer)


def test_a_checkpoint_of_the_other_way_is_refused(tmp_path: Path) -> None:
    for updates, others in (("all", "touched"), ("touched", "all")):
        save_checkpoint(tmp_path / "checkpoint", trained(updates, "bpr", {}, {"epochs": 1})[0])
        with pytest.raises(RunError, match="does not fit the model of this run"):
            load_checkpoint(tmp_path / "checkpoint", trained(others, "bpr", {}, {"epochs": 1})[0])
