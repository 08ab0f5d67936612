"""The chunked cross-entropy is compared with that of torch."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from actsr_cli.training.losses import cross_entropy as module
from actsr_cli.training.losses.cross_entropy import cross_entropy


@pytest.mark.parametrize("logits_at_a_time", [1, 50, 10_000])
@pytest.mark.parametrize("items_at_a_time", [5, 1024])
@pytest.mark.parametrize("items_learn", [True, False])
@pytest.mark.parametrize("smoothing", [0.0, 0.3])
@pytest.mark.parametrize("largest_logit", [3.0, 400.0])  # the latter has no exponential
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_chunks_give_the_loss_and_gradients_of_the_library(
    monkeypatch: pytest.MonkeyPatch,
    logits_at_a_time: int,
    items_at_a_time: int,
    items_learn: bool,
    smoothing: float,
    largest_logit: float,
    dtype: torch.dtype,
) -> None:
    monkeypatch.setattr(module, "_LOGITS_AT_A_TIME", {"cpu": logits_at_a_time})
    monkeypatch.setattr(module, "_ROWS_AT_LEAST", 1)
    monkeypatch.setattr(module, "_ITEMS_AT_A_TIME", items_at_a_time)
    torch.manual_seed(0)
    hidden = torch.randn(23, 8, dtype=torch.float64)
    items = torch.randn(12, 8, dtype=torch.float64)
    hidden *= largest_logit / (hidden @ items.T).abs().max()
    targets = torch.randint(0, 12, (23,))
    exact = [values.clone().requires_grad_() for values in (hidden, items)]
    expected = F.cross_entropy(exact[0] @ exact[1].T, targets, label_smoothing=smoothing)
    of_hidden, of_items = torch.autograd.grad(3 * expected, exact)
    given = [values.to(dtype).requires_grad_() for values in (hidden, items)]
    ours = cross_entropy(given[0], given[1] if items_learn else given[1].detach(), targets, smoothing)
    torch.autograd.backward(3 * ours)
    tolerance = 1e-6 if dtype is torch.float64 else 1e-4
    assert ours.item() == pytest.approx(expected.item(), rel=tolerance)
    torch.testing.assert_close(given[0].grad, of_hidden.to(dtype), rtol=tolerance, atol=tolerance / 10)
    if items_learn:
        torch.testing.assert_close(given[1].grad, of_items.to(dtype), rtol=tolerance, atol=largest_logit * tolerance)
    else:
        assert given[1].grad is None


def test_one_large_row_costs_no_other_row_its_exactness() -> None:
    torch.manual_seed(0)
    hidden, items, targets = torch.randn(40, 8), torch.randn(30, 8), torch.randint(0, 30, (40,))
    hidden[3] *= 1e3
    hidden[7] *= -1e3
    expected = F.cross_entropy(hidden.double() @ items.double().T, targets)
    assert cross_entropy(hidden, items, targets).item() == pytest.approx(expected.item(), rel=1e-5)


def test_bfloat16_is_exact_enough_where_a_model_is_sure() -> None:
    """The difference of a probability near 1 and 1 is made of one number, not of two that were rounded differently."""
    torch.manual_seed(0)
    items, targets = F.normalize(torch.randn(50, 16)) * 4, torch.arange(20)
    hidden = (items[targets] + torch.randn(20, 16) / 10).requires_grad_()
    expected = F.cross_entropy(hidden @ items.T, targets)
    (exact,) = torch.autograd.grad(expected, hidden)
    with torch.autocast("cpu", torch.bfloat16):
        ours = cross_entropy(hidden, items, targets)
    (found,) = torch.autograd.grad(ours, hidden)
    assert 0 <= ours.item() == pytest.approx(expected.item(), abs=0.01)
    assert (found - exact).norm() < 0.3 * exact.norm() + 1e-4


def test_what_is_no_number_is_a_loss_that_is_none() -> None:
    hidden = torch.randn(4, 3)
    hidden[1, 1] = torch.nan
    assert cross_entropy(hidden, torch.randn(5, 3), torch.arange(4)).isnan()


def test_huge_logits_do_not_overflow() -> None:
    hidden, items = torch.tensor([[1e4]]), torch.tensor([[1.0], [-1.0], [0.5]])
    assert cross_entropy(hidden, items, torch.tensor([2])).item() == pytest.approx(5e3)


def test_no_gradient_is_computed_for_nobody() -> None:
    hidden, items = torch.randn(4, 3), torch.randn(5, 3)
    loss = cross_entropy(hidden, items, torch.tensor([0, 1, 2, 3]))
    assert not loss.requires_grad
