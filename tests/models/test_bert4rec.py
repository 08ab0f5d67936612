"""BERT4Rec's cloze training and scoring."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from flat import batch_of, per_history, targets_of, trained
from hypothesis import given, settings
from hypothesis import strategies as st
from samples import built, prediction_loss, run_config, sequence_data

from actsr_cli.batch import TrainingBatch
from actsr_cli.data.batches import TrainingBatches
from actsr_cli.models.bert4rec import BERT4Rec
from actsr_cli.models.encoder import Pass
from actsr_cli.training.objective import Objective

N_ITEMS = 30


def tiny(**options: Any) -> BERT4Rec:
    torch.manual_seed(0)
    small = {"max_length": 8, "hidden_size": 8, "inner_size": 8, "initializer_range": 0.5}
    model = built(run_config("bert4rec", **small | options), N_ITEMS)
    assert isinstance(model, BERT4Rec)
    return model


def batches(users: list[list[int]], **options: Any) -> list[TrainingBatch]:
    made = TrainingBatches(
        sequence_data(users, n_items=N_ITEMS), **{"max_length": 8, "batch_size": 1000, "stride": 8, **options}
    )
    return [batch for batch in made.epoch(torch.Generator().manual_seed(0)) if batch is not None]


USERS = [list(range(1, length + 1)) for length in range(4, 24)]


@settings(max_examples=40)
@given(seed=st.integers(0, 1000), ratio=st.floats(0.01, 0.99))
def test_masks_hide_their_targets_and_nothing_else(seed: int, ratio: float) -> None:
    model = tiny(mask_ratio=ratio)
    torch.manual_seed(seed)
    for batch in batches(USERS):
        inputs = model.training_inputs(batch)
        masked = inputs.item_ids == model.mask_id
        assert torch.equal(masked.nonzero().squeeze(1), inputs.rows)
        assert all(map(any, per_history(inputs, masked))), "a sequence without a mask teaches nothing"
        whole = inputs.item_ids.masked_scatter(masked, inputs.targets)
        for sequence, items in zip(per_history(inputs, whole), per_history(batch, batch.item_ids), strict=True):
            assert sequence[:-1] == items
            assert sequence[-1] == sequence[-2] + 1, "the last target closes the sequence"


def test_every_place_is_masked_about_as_often_as_asked() -> None:
    model = tiny(mask_ratio=0.3)
    parts = batches([list(range(1, 11))] * 2000, batch_size=10**6)
    share = (
        (torch.tensor([row for part in parts for row in targets_of(model.training_inputs(part))]) != 0).float().mean(0)
    )
    assert share.shape == (8,)  # ten items, two of them held out
    # At ratio .3, eight positions get no mask with probability .7⁸; then one of them, drawn uniformly, is masked.
    expected = 0.3 + 0.7**8 / 8
    assert share == pytest.approx([expected] * 8, abs=0.04)


def test_the_last_place_alone() -> None:
    inputs = tiny(mask_last=1.0).training_inputs(batches(USERS)[0])
    assert torch.equal(inputs.rows, inputs.packing.last)
    some = tiny(mask_last=0.5, mask_ratio=0.9).training_inputs(batches([list(range(1, 11))] * 400)[0])
    counts = torch.bincount(some.packing.sequences[some.rows])
    assert 0.35 < (counts == 1).float().mean() < 0.65


def test_a_first_place_is_trained_too() -> None:
    """The published code does not train the first position, because its lists are padded with position 0."""
    model = tiny(hidden_dropout=0.0, attention_dropout=0.0)
    batch = trained(batch_of([[model.mask_id, 2, 3]]), [[7, 0, 0]])
    loss = Objective(model, prediction_loss(n_items=N_ITEMS)).losses(batch).calibrated
    expected = torch.nn.functional.cross_entropy(
        model.encode(batch).hidden[:1] @ model.item_vectors().T, torch.tensor([7])
    )
    torch.testing.assert_close(loss, expected)


def test_negatives_are_drawn_for_the_masked_items(monkeypatch: pytest.MonkeyPatch) -> None:
    model, loss = tiny(), prediction_loss("bpr", N_ITEMS)
    batch, *_ = batches(USERS, batch_size=10**6)
    inputs = model.training_inputs(batch)
    asked: list[torch.Tensor] = []
    draw = loss.draw

    def overheard(targets: torch.Tensor) -> torch.Tensor | None:
        asked.append(targets)
        return draw(targets)

    monkeypatch.setattr(loss, "draw", overheard)
    assert torch.isfinite(Objective(model, loss).losses(inputs).calibrated)
    assert torch.equal(asked[0], inputs.targets)


def test_the_mask_is_appended_for_scoring() -> None:
    model = tiny(calibration="full")
    inputs = model.scoring_inputs(batch_of([[4, 5, 6], [1, 2, 3, 4]]))
    mask = model.mask_id
    assert per_history(inputs, inputs.item_ids) == [[4, 5, 6, mask], [1, 2, 3, 4, mask]]


def test_a_full_length_history_has_a_place_for_the_mask() -> None:
    """The published AC-BERT4Rec crashes on this: a history of maximum length, followed by the mask."""
    model = tiny(calibration="full", position_embedding=True).eval()
    scores = model.score(batch_of([range(1, 9)]))
    assert scores.shape == (1, N_ITEMS + 1)
    assert torch.isfinite(scores).all()


def test_mask_penalty_counts_each_sequence_once() -> None:
    """A sequence of 3, padded to 9 (full history plus target): real rows give (1 - M)², all other entries give 1."""
    model = tiny(calibration="adversarial", hidden_dropout=0.0, attention_dropout=0.0, layers=1)
    batch = trained(batch_of([[1, model.mask_id, 3]]), [[0, 2, 0]])
    losses = Objective(model, prediction_loss(n_items=N_ITEMS)).losses(batch)
    (layer,) = model.encode(batch, Pass(keep_stages=True)).layers
    assert layer.stages is not None and layer.stages.mask is not None
    mask = layer.stages.mask
    expected = ((1 - mask).square().sum() + 2 * (9 * 9 - 3 * 3)).sqrt()
    assert losses.penalty is not None
    torch.testing.assert_close(losses.penalty, expected)
