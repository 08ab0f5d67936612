"""Attention as data."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from samples import built, run_config, sequence_data
from torch import Tensor, nn
from tracing import HISTORIES, model

from actsr_cli.attention import AttentionStages, CalibratedAttention, attending_with
from actsr_cli.batch import PaddedBatch
from actsr_cli.config import CalibrationOptions, CustomOptions, NoCalibration
from actsr_cli.config.split import FileSplit
from actsr_cli.errors import RunError
from actsr_cli.inspection.trace import AttentionTrace, trace
from actsr_cli.inspection.views import random_users, rank_text, users_called
from actsr_cli.models.base import CustomModel

TRANSFORMERS = ("sasrec", "bert4rec", "sse-pt", "tisasrec")
STAGES = {
    "none": ("plain",),
    "spatial": ("plain", "spatial"),
    "adversarial": ("plain", "mask", "calibrated"),
    "full": ("plain", "spatial", "mask", "calibrated"),
}


@pytest.mark.parametrize("calibration", STAGES)
@pytest.mark.parametrize("name", TRANSFORMERS)
def test_every_stage_of_every_backbone(name: str, calibration: str) -> None:
    traced_model = model(name, calibration).train()
    traced = trace(traced_model, HISTORIES)
    assert traced_model.training
    assert traced.stages == STAGES[calibration]
    length = traced.item_ids.shape[1]
    for stage in traced.stages:
        for weights, rows in zip(traced.weights(stage), traced.last_rows(stage), strict=True):
            assert weights.shape == (3, 2, length, length)
            torch.testing.assert_close(rows.sum(dim=-1), torch.ones(3, 2))
            behind = torch.arange(length) >= traced.lengths.unsqueeze(1)
            assert not rows[behind.unsqueeze(1).expand_as(rows)].any()
    torch.testing.assert_close(traced.scores, traced_model.eval().score(HISTORIES))
    torch.testing.assert_close(traced.rollout(traced.stages[0]).sum(dim=-1), torch.ones(3))
    names = traced.tensors()
    assert ("layer2.order" in names) == (calibration in ("spatial", "full"))
    assert ("layer1.gate" in names) == (calibration in ("adversarial", "full"))


def test_calibrators_side_by_side_have_a_stage_more() -> None:
    traced = trace(model(two_level=False), HISTORIES)
    assert traced.stages == ("plain", "spatial", "mask", "adversarial", "calibrated")
    layer = traced.layers[0]
    assert layer.spatial is not None and layer.adversarial is not None
    torch.testing.assert_close(layer.calibrated, (layer.spatial + layer.adversarial) / 2)


def test_users_of_several_targets_are_shown_once_with_their_first() -> None:
    parts = np.array([0, 0, 2, 2, 2, 0, 0, 2, 0, 0, 0, 2, 2], dtype=np.uint8)
    data = sequence_data([[1, 2, 3, 4, 5], [6, 7, 8], [9, 1, 2, 3, 4]])
    data = replace(data, split=FileSplit(), parts=parts)
    assert len(data.held_out("test")) == 6
    shown = random_users(data, "test", 9, seed=0)
    assert [(each.label, each.case.target) for each in shown] == [("u0", 3), ("u1", 8), ("u2", 3)]
    named = users_called(data, "test", ["u2", "u0"])
    assert [(each.label, each.case.target) for each in named] == [("u2", 3), ("u0", 3)]


def test_rollout_by_hand() -> None:
    first = torch.tensor([[1.0, 0.0], [0.5, 0.5]])
    second = torch.tensor([[1.0, 0.0], [0.2, 0.8]])
    layers = tuple(_plain_stages(weights) for weights in (first, second))
    traced = AttentionTrace(torch.tensor([[1, 2]]), torch.tensor([2]), layers, torch.zeros(1, 3))
    # (A + I) / 2 has the last row (0.1, 0.9) in the second layer and (0.25, 0.75) in the first
    torch.testing.assert_close(traced.rollout("plain"), torch.tensor([[0.1 * 1 + 0.9 * 0.25, 0.9 * 0.75]]))
    with pytest.raises(ValueError, match="stage 'mask' is not in every layer"):
        traced.weights("mask")


def test_with_plain_attention_a_model_is_its_backbone() -> None:
    calibrated = model(position_embedding=True).eval()
    backbone = model(calibration="none", position_embedding=True).eval()
    missing, _ = backbone.load_state_dict(calibrated.state_dict(), strict=False)
    assert not missing
    with attending_with(calibrated, "plain"):
        torch.testing.assert_close(calibrated.score(HISTORIES), backbone.score(HISTORIES))
        assert trace(calibrated, HISTORIES).stages == ("plain", "spatial", "mask", "adversarial")
    assert (calibrated.score(HISTORIES) - backbone.score(HISTORIES)).abs().max() > 1e-4
    spatial = model(calibration="spatial", position_embedding=True).eval()
    spatial.load_state_dict(calibrated.state_dict(), strict=False)
    with attending_with(calibrated, "spatial"):
        torch.testing.assert_close(calibrated.score(HISTORIES), spatial.score(HISTORIES))


def test_a_model_of_ones_own() -> None:
    own = _Own(CustomOptions(name="own:Own", max_length=6), NoCalibration(), n_items=10)
    traced = trace(own, HISTORIES)
    assert [layer.calibrated.shape[1] for layer in traced.layers] == [2, 4]
    assert traced.stages == ("plain", "spatial", "mask", "calibrated")
    torch.testing.assert_close(traced.scores, own.eval().score(HISTORIES))


@pytest.mark.parametrize("name", ["gru4rec", "item-knn"])
def test_models_without_attention_say_so(name: str) -> None:
    with pytest.raises(RunError, match="attention"):
        trace(built(run_config(name), n_items=10), HISTORIES)


def test_ranks_for_people() -> None:
    assert [rank_text(rank) for rank in (1.0, 2.5, 12101.0)] == ["1", "2.5", "12,101"]


def test_the_library_as_its_page_shows_it() -> None:
    page = (Path(__file__).parents[2] / "docs" / "inspect.md").read_text(encoding="utf-8")
    (code,) = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    names = {"model": model(), "batch": HISTORIES}
    exec(code, names)  # noqa: S102 (the page's own code)
    traced = names["traced"]
    assert isinstance(traced, AttentionTrace) and traced.stages == ("plain", "spatial", "mask", "calibrated")


def _plain_stages(weights: Tensor) -> AttentionStages:
    shaped = weights[None, None]
    return AttentionStages(shaped, None, None, None, None, calibrated=shaped)


class _Own(CustomModel):
    def __init__(self, options: CustomOptions, calibration: CalibrationOptions, n_items: int, n_users: int = 0) -> None:
        super().__init__(options, calibration, n_items, n_users)
        self.items = nn.Embedding(n_items + 1, 8, padding_idx=0)
        self.attentions = nn.ModuleList(
            CalibratedAttention(8, heads, batch_first=True, max_length=options.max_length) for heads in (2, 4)
        )

    def forward(self, batch: PaddedBatch) -> Tensor:
        hidden: Tensor = self.items(batch.item_ids)
        for attention in self.attentions:
            attended, _ = attention(
                hidden, hidden, hidden, key_padding_mask=batch.item_ids == 0, is_causal=True, need_weights=False
            )
            hidden = hidden + attended
        return hidden

    def item_vectors(self) -> Tensor:
        return self.items.weight
