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
def test_chunks_give_the_loss_and_gradients_of_the_library(
    monkeypatch: pytest.MonkeyPatch, logits_at_a_time: int, items_at_a_time: int, items_learn: bool, smoothing: float
) -> None:
    monkeypatch.setattr(module, "_LOGITS_AT_A_TIME", {"cpu": logits_at_a_time})
    monkeypatch.setattr(module, "_ROWS_AT_LEAST", 1)
    monkeypatch.setattr(module, "_ITEMS_AT_A_TIME", items_at_a_time)
    torch.manual_seed(0)
    hidden = torch.randn(23, 8, dtype=torch.float64, requires_grad=True)
    items = torch.randn(12, 8, dtype=torch.float64, requires_grad=True)
    targets = torch.randint(0, 12, (23,))
    expected = F.cross_entropy(hidden @ items.T, targets, label_smoothing=smoothing)
    ours = cross_entropy(hidden, items if items_learn else items.detach(), targets, smoothing)
    assert ours.item() == pytest.approx(expected.item(), rel=1e-6)
    of_hidden, of_items = torch.autograd.grad(3 * expected, (hidden, items))
    torch.autograd.backward(3 * ours)
    torch.testing.assert_close(hidden.grad, of_hidden, rtol=1e-5, atol=1e-8)
    if items_learn:
        torch.testing.assert_close(items.grad, of_items, rtol=1e-5, atol=1e-8)
    else:
        assert items.grad is None


def test_huge_logits_do_not_overflow() -> None:
    hidden, items = torch.tensor([[1e4]]), torch.tensor([[1.0], [-1.0], [0.5]])
    assert cross_entropy(hidden, items, torch.tensor([2])).item() == pytest.approx(5e3)


def test_no_gradient_is_computed_for_nobody() -> None:
    hidden, items = torch.randn(4, 3), torch.randn(5, 3)
    loss = cross_entropy(hidden, items, torch.tensor([0, 1, 2, 3]))
    assert not loss.requires_grad
