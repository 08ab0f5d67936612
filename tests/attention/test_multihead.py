"""The drop-in replacement for `torch.nn.MultiheadAttention`, and the losses of a model that uses it."""

from __future__ import annotations

import pytest
import torch
from noise import given_noise
from torch import Tensor, nn

from actsr_cli.attention import CalibratedAttention, calibration_losses, recorded, split_parameters


def same_parameters(ours: CalibratedAttention, theirs: nn.MultiheadAttention) -> None:
    """Copy the parameters of an uncalibrated drop-in replacement to the original."""
    maps = [ours.attention.query, ours.attention.key, ours.attention.value]
    with torch.no_grad():
        theirs.in_proj_weight.copy_(torch.cat([each.weight for each in maps]))
        theirs.in_proj_bias.copy_(torch.cat([each.bias for each in maps]))
        theirs.out_proj.weight.copy_(ours.attention.output.weight)
        theirs.out_proj.bias.copy_(ours.attention.output.bias)


CAUSAL = torch.ones(6, 6, dtype=torch.bool).triu(1)
PADDING = torch.tensor([[False] * 6, [False] * 4 + [True] * 2])
MINUS_INF = torch.zeros(6, 6).masked_fill(CAUSAL, -torch.inf)


@pytest.mark.parametrize("batch_first", [True, False])
@pytest.mark.parametrize("average", [True, False])
@pytest.mark.parametrize(
    "masks",
    [
        {},
        {"key_padding_mask": PADDING},
        {"attn_mask": CAUSAL},
        {"attn_mask": CAUSAL, "is_causal": True},
        {"attn_mask": MINUS_INF, "key_padding_mask": torch.zeros(2, 6).masked_fill(PADDING, -torch.inf)},
        {"attn_mask": CAUSAL.expand(4, 6, 6), "key_padding_mask": PADDING},
    ],
    ids=lambda masks: ",".join(masks),
)
def test_uncalibrated_it_is_the_original(masks: dict[str, Tensor], average: bool, batch_first: bool) -> None:
    torch.manual_seed(1)
    ours = CalibratedAttention(8, 2, batch_first=batch_first, max_length=9, calibration="none")
    theirs = nn.MultiheadAttention(8, 2, batch_first=batch_first)
    same_parameters(ours, theirs)
    hidden = torch.randn((2, 6, 8) if batch_first else (6, 2, 8))
    attended, weights = ours(hidden, hidden, hidden, average_attn_weights=average, **masks)
    expected, expected_weights = theirs(hidden, hidden, hidden, average_attn_weights=average, **masks)
    torch.testing.assert_close(attended, expected)
    torch.testing.assert_close(weights, expected_weights)
    assert ours(hidden, hidden, hidden, need_weights=False, **masks)[1] is None


def test_is_causal_alone_makes_the_mask() -> None:
    attention = CalibratedAttention(8, 2, batch_first=True, max_length=6)
    hidden = torch.randn(2, 6, 8)
    by_name = attention(hidden, hidden, hidden, is_causal=True)
    by_mask = attention(hidden, hidden, hidden, attn_mask=CAUSAL)
    torch.testing.assert_close(by_name, by_mask)


@pytest.mark.parametrize("calibration", ["spatial", "adversarial", "full"])
def test_calibrated_weights_are_distributions_over_allowed_keys(calibration: str) -> None:
    attention = CalibratedAttention(8, 2, batch_first=True, max_length=6, calibration=calibration)
    hidden = torch.randn(2, 6, 8)
    _, weights = attention(hidden, hidden, hidden, key_padding_mask=PADDING, attn_mask=CAUSAL)
    torch.testing.assert_close(weights.sum(-1), torch.ones(2, 6))
    assert not weights[:, CAUSAL].any()
    assert not weights[1, :, 4:].any()


def test_what_it_does_not_do_is_said() -> None:
    attention = CalibratedAttention(8, 2, batch_first=True, max_length=4)
    hidden = torch.randn(2, 4, 8)
    with pytest.raises(ValueError, match="self-attention"):
        attention(hidden, hidden.clone(), hidden)
    with pytest.raises(ValueError, match="three dimensions, not 2"):
        attention(*[hidden[0]] * 3)
    longer = torch.randn(2, 5, 8)
    with pytest.raises(ValueError, match="a sequence of 5 is longer than max_length 4"):
        attention(longer, longer, longer)
    with pytest.raises(ValueError, match="0 and -inf"):
        attention(hidden, hidden, hidden, attn_mask=torch.full((4, 4), 0.5))


def test_an_unknown_setting_is_an_error() -> None:
    with pytest.raises(TypeError, match="combined"):
        CalibratedAttention(8, 2, max_length=4, combined="gate")


class TwoLayers(nn.Module):
    def __init__(self, *calibrations: str) -> None:
        super().__init__()
        self.embedding = nn.Embedding(20, 8)
        self.layers = nn.ModuleList(
            CalibratedAttention(8, 2, batch_first=True, max_length=6, calibration=calibration)
            for calibration in calibrations
        )

    def forward(self, items: Tensor) -> Tensor:
        hidden = self.embedding(items)
        for layer in self.layers:
            hidden = hidden + layer(hidden, hidden, hidden, is_causal=True, need_weights=False)[0]
        scores: Tensor = hidden @ self.embedding.weight.T
        return scores


ITEMS, TARGETS = torch.randint(1, 20, (2, 3, 6), generator=torch.Generator().manual_seed(0))


def loss_of(model: nn.Module) -> Tensor:
    return nn.functional.cross_entropy(model(ITEMS).flatten(0, 1), TARGETS.flatten())


def test_losses_of_a_model() -> None:
    torch.manual_seed(0)
    model = TwoLayers("full", "full")
    losses = calibration_losses(model, lambda: loss_of(model), mask_weight=0.5)
    torch.testing.assert_close(losses.calibrated, loss_of(model))
    with recorded(model, perturb=True) as outputs:
        model(ITEMS)
        first, last = outputs()
    assert first.perturbed is None and last.perturbed is not None
    assert first.mask is not None and last.mask is not None and not torch.equal(first.mask, last.mask)
    norms = [(1 - output.mask).norm() for output in (first, last) if output.mask is not None]
    assert losses.penalty is not None and losses.perturbed is not None and losses.adversary is not None
    torch.testing.assert_close(losses.penalty, torch.stack(norms).mean())
    torch.testing.assert_close(losses.adversary, 0.5 * losses.penalty - losses.perturbed)
    torch.testing.assert_close(loss_of(model), losses.calibrated)  # no switch is left on


@pytest.mark.parametrize(
    ("calibrations", "last"), [(("full", "full"), 1), (("full", "spatial"), 0), (("adversarial", "none"), 0)]
)
def test_the_perturbed_loss_is_that_of_the_last_adversary(calibrations: tuple[str, ...], last: int) -> None:
    model = TwoLayers(*calibrations)
    noise = [torch.randn(3, 2, 6, 6) for calibration in calibrations if calibration in ("adversarial", "full")]
    with given_noise(model, noise), recorded(model, perturb=True) as outputs:
        expected = loss_of(model)
        perturbed = [output.perturbed is not None for output in outputs()]
    assert perturbed == [index == last for index in range(2)]
    with given_noise(model, noise):
        losses = calibration_losses(model, lambda: loss_of(model))
    assert losses.perturbed is not None
    torch.testing.assert_close(losses.perturbed, expected)
    assert not torch.isclose(losses.perturbed, losses.calibrated, rtol=1e-4)


def test_an_attention_that_runs_twice_counts_twice() -> None:
    model = TwoLayers("full")
    with recorded(model) as outputs:
        model(ITEMS)
        model(ITEMS)
        assert len(outputs()) == 2


def test_recordings_nest() -> None:
    model = TwoLayers("full")
    with recorded(model, keep_stages=True) as outer:
        with recorded(model) as inner:
            model(ITEMS)
        model(ITEMS)
        assert (len(inner()), len(outer())) == (1, 2)
        assert all(output.stages is not None for output in outer())


def test_an_adversary_that_does_not_run_is_said() -> None:
    model = TwoLayers("full")
    with pytest.raises(ValueError, match="did not run an attention"):
        calibration_losses(model, lambda: model.embedding.weight.sum())


def test_an_encoder_that_wants_nested_tensors_is_told() -> None:
    encoder = nn.TransformerEncoder(nn.TransformerEncoderLayer(8, 2, batch_first=True), 1).eval()
    encoder.layers[0].self_attn = CalibratedAttention(8, 2, batch_first=True, max_length=6)
    hidden = torch.randn(2, 6, 8)
    with torch.no_grad(), pytest.raises(RuntimeError, match="enable_nested_tensor=False"):
        encoder(hidden, src_key_padding_mask=PADDING)


def test_each_gradient_goes_to_its_own_parameters() -> None:
    torch.manual_seed(0)
    model = TwoLayers("full", "full")
    split = split_parameters(model)
    assert len(split.adversary) == 8
    assert len(split.adversary) + len(split.predictor) == len(list(model.parameters()))
    losses = calibration_losses(model, lambda: loss_of(model))
    assert losses.adversary is not None
    expected = [
        *torch.autograd.grad(losses.adversary, split.adversary, retain_graph=True),
        *torch.autograd.grad(losses.calibrated, split.predictor, retain_graph=True),
    ]
    split.backward(losses)
    for parameter, gradient in zip([*split.adversary, *split.predictor], expected, strict=True):
        torch.testing.assert_close(parameter.grad, gradient)


def test_frozen_parameters_stay_out() -> None:
    model = TwoLayers("full", "full")
    model.embedding.weight.requires_grad_(False)
    assert not any(parameter is model.embedding.weight for parameter in split_parameters(model).predictor)
    for parameter in split_parameters(model).predictor:
        parameter.requires_grad_(False)
    split = split_parameters(model)
    split.backward(calibration_losses(model, lambda: loss_of(model)))
    assert all(parameter.grad is not None for parameter in split.adversary)


@pytest.mark.parametrize("calibration", ["none", "spatial"])
def test_without_an_adversary_there_is_one_loss(calibration: str) -> None:
    model = TwoLayers(calibration, calibration)
    losses = calibration_losses(model, lambda: loss_of(model))
    assert losses.adversary is None and losses.perturbed is None
    split_parameters(model).backward(losses)
    assert model.embedding.weight.grad is not None


def test_an_error_inside_a_recording_leaves_nothing_behind() -> None:
    model = TwoLayers("full", "full")
    with pytest.raises(RuntimeError, match="on the way"), recorded(model, perturb=True):
        raise RuntimeError("on the way")
    torch.testing.assert_close(model(ITEMS), model(ITEMS))  # a perturbed stream would draw new noise each time
