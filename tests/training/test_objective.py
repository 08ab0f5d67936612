"""One trimmed pass shared by all prefixes gives the same numbers as the padded batch of all prefixes."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from flat import batch_of, packed, trained
from noise import no_noise
from samples import built, prediction_loss, run_config

from actsr_cli.attention import split_parameters
from actsr_cli.attention.objective import mask_penalty
from actsr_cli.batch import TrainingBatch
from actsr_cli.models.base import SequentialModel
from actsr_cli.models.encoder import Pass
from actsr_cli.training.losses import PredictionLoss
from actsr_cli.training.losses.cross_entropy import cross_entropy
from actsr_cli.training.losses.pairwise import bpr
from actsr_cli.training.objective import Objective

N_ITEMS, MAX_LENGTH = 23, 12
HISTORIES = [[3], [7, 2, 7, 9], [1, 2, 3, 4, 5, 6, 8], [11, 12, 11, 14, 15, 16, 17, 18, 19, 20, 21, 22]]
NEXT = [5, 6, 9, 23]


def tiny_model(**options: Any) -> SequentialModel:
    torch.manual_seed(3)
    config = run_config(
        **{
            "calibration": "full",
            "max_length": MAX_LENGTH,
            "hidden_size": 16,
            "inner_size": 24,
            "heads": 2,
            "hidden_dropout": 0.0,
            "attention_dropout": 0.0,
            "initializer_range": 0.5,
            **options,
        }
    )
    model = built(config, N_ITEMS)
    assert isinstance(model, SequentialModel)
    return model


def shared_batch() -> TrainingBatch:
    """One sequence per history, each of its positions trained."""
    following = [[*history[1:], after] for history, after in zip(HISTORIES, NEXT, strict=True)]
    return trained(batch_of(HISTORIES), following)


def prefix_batch() -> TrainingBatch:
    """One sequence per prefix, only its last position trained."""
    prefixes, targets = [], []
    for history, after in zip(HISTORIES, NEXT, strict=True):
        following = [*history[1:], after]
        for end in range(1, len(history) + 1):
            prefixes.append(history[:end])
            targets.append([0] * (end - 1) + [following[end - 1]])
    return trained(batch_of(prefixes), targets)


def losses_and_gradients(
    model: SequentialModel, loss: PredictionLoss, batch: TrainingBatch
) -> tuple[dict[str, float], dict[str, torch.Tensor]]:
    model.zero_grad(set_to_none=True)
    objective = Objective(model, loss)
    with no_noise(model):
        losses = objective.losses(batch)
    objective.backward(losses)
    values = {name: value.item() for name, value in vars(losses).items() if value is not None}
    return values, {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}


@pytest.mark.parametrize("loss", ["ce", "bpr"])
@pytest.mark.parametrize(
    "options",
    [
        {"calibration": "none"},
        {"calibration": "spatial"},
        {"calibration": "adversarial"},
        {"calibration": "full"},
        {"renorm": "softmax"},
        {"renorm": "none"},
        {"combine": "fixed"},
        {"combine": "annealing"},
        {"two_level": False},
        {"two_level": False, "rich_combine": "trainable"},
        {"position_embedding": True},
        {"use_order": False},
        {"use_distance": False, "layers": 3},
    ],
    ids=str,
)
def test_sharing_prefixes_changes_no_number(
    monkeypatch: pytest.MonkeyPatch, options: dict[str, Any], loss: str
) -> None:
    model, chosen = tiny_model(**options), prediction_loss(loss, N_ITEMS)
    if loss == "bpr":  # the same negatives in any order of targets
        monkeypatch.setattr(chosen, "draw", lambda targets: (targets * 7) % N_ITEMS + 1)
    shared, shared_gradients = losses_and_gradients(model, chosen, shared_batch())
    plain, plain_gradients = losses_and_gradients(model, chosen, prefix_batch())
    assert shared == pytest.approx(plain, rel=1e-5)
    assert shared_gradients.keys() == plain_gradients.keys()
    largest = max(gradient.abs().max().item() for gradient in plain_gradients.values())
    for name, gradient in plain_gradients.items():
        torch.testing.assert_close(shared_gradients[name], gradient, rtol=1e-4, atol=2e-6 * largest, msg=name)


def test_mask_penalty_is_the_norm_over_the_padded_batch() -> None:
    """Entry by entry: padding counts 1, and a real row counts once per prefix that contains it."""
    model = tiny_model()
    batch = prefix_batch()
    norms = []
    for layer in model.encode(batch, Pass(keep_stages=True)).layers:
        assert layer.stages is not None and layer.stages.mask is not None
        mask = layer.stages.mask
        squares = torch.ones(len(batch), mask.shape[1], MAX_LENGTH, MAX_LENGTH)
        for row, length in enumerate(batch.lengths):
            squares[row, :, :length, :length] = (1 - mask[row, :, :length, :length]).square()
        norms.append(squares.sum().sqrt())
    expected = torch.stack(norms).mean().item()
    penalty = Objective(model, prediction_loss(n_items=N_ITEMS)).losses(shared_batch()).penalty
    assert penalty is not None
    assert penalty.item() == pytest.approx(expected, rel=1e-6)


def test_mask_penalty_by_hand() -> None:
    """One head, two positions, M = [[1, 0], [1/4, 3/4]], both rows trained: two prefixes padded to three."""
    mask = torch.tensor([[1.0, 0.0], [0.25, 0.75]])
    counts = packed([2]).total_from_here(torch.tensor([1, 1]))
    assert counts.tolist() == [2, 1]
    # 18 entries: the first row of both prefixes loses 1 each, the second row has 9/16 + 1/16 + 1 instead of 3.
    expected = (18 - 2 * 1 - (3 - (9 / 16 + 1 / 16 + 1))) ** 0.5
    squares = ((mask * (mask - 2)).sum(1) * counts).sum().unsqueeze(0)
    assert mask_penalty(squares, n_sequences=2, heads=1, max_length=3).item() == pytest.approx(expected)


def test_a_mask_of_single_keys_has_no_penalty_and_no_gradient() -> None:
    """One key has the weight 1, so the norm is 0, where a root has no derivative."""
    squares = torch.tensor([-3.0, -3.0], requires_grad=True)
    penalty = mask_penalty(squares, n_sequences=3, heads=1, max_length=1)
    assert penalty.item() == pytest.approx(0, abs=1e-5)
    (gradient,) = torch.autograd.grad(penalty, squares)
    assert gradient.tolist() == [0, 0]


@pytest.mark.parametrize("threads", [1, 2])
def test_each_loss_trains_its_own_parameters(threads: int) -> None:
    """The adversary learns only from its own loss, everything else only from the calibrated one."""
    torch.set_num_threads(threads)
    model = tiny_model()
    objective = Objective(model, prediction_loss(n_items=N_ITEMS))
    batch = shared_batch()
    with no_noise(model):
        losses, again = objective.losses(batch), objective.losses(batch)
    objective.backward(losses)
    routed = {name: p.grad for name, p in model.named_parameters()}
    adversary = {id(p) for p in split_parameters(model).adversary}
    assert 0 < len(adversary) < len(routed)
    assert again.adversary is not None
    for name, parameter in model.named_parameters():
        loss = again.adversary if id(parameter) in adversary else again.calibrated
        (alone,) = torch.autograd.grad(loss, parameter, retain_graph=True)
        assert routed[name] is not None
        torch.testing.assert_close(routed[name], alone, msg=name)


def test_noise_never_reaches_the_calibrated_stream() -> None:
    model = tiny_model()
    batch = shared_batch()
    objective = Objective(model, prediction_loss(n_items=N_ITEMS))
    one, other = objective.losses(batch), objective.losses(batch)
    assert one.calibrated.item() == other.calibrated.item()
    assert one.perturbed is not None and other.perturbed is not None
    assert one.perturbed.item() != other.perturbed.item()


def test_losses_by_hand() -> None:
    hidden, items = torch.tensor([[1.0, 0.0]]), torch.tensor([[0.0, 0.0], [2.0, 0.0], [0.0, 5.0]])
    target, negative = torch.tensor([1]), torch.tensor([2])
    e = 2.718281828459045
    assert cross_entropy(hidden, items, target).item() == pytest.approx(-torch.log(torch.tensor(e**2 / (e**2 + 2))))
    assert bpr(hidden, items, target, negative).item() == pytest.approx(torch.log(torch.tensor(1 + e**-2)))


def test_last_positions_alone_score_the_same() -> None:
    """Scoring computes only one query in the last layer; its hidden state equals that of the full pass."""
    for options in ({"calibration": "none"}, {"calibration": "full"}, {"two_level": False}):
        model = tiny_model(**options).eval()
        batch = shared_batch()
        with torch.inference_mode():
            everywhere = model.encode(batch).hidden
            last = everywhere[batch.packing.last]
            torch.testing.assert_close(model.represent(batch), last, rtol=1e-5, atol=1e-5)
