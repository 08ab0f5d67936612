"""The chunked cross-entropy is compared with that of torch."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from actsr_cli.batch import PADDING
from actsr_cli.models.repeats import Repeats
from actsr_cli.training.losses import cross_entropy as module
from actsr_cli.training.losses import rows
from actsr_cli.training.losses.cross_entropy import cross_entropy


@pytest.mark.parametrize("scores_at_a_time", [1, 50, 10_000])
@pytest.mark.parametrize("items_at_a_time", [5, 1024])
@pytest.mark.parametrize("items_learn", [True, False])
@pytest.mark.parametrize("smoothing", [0.0, 0.3])
@pytest.mark.parametrize("largest_logit", [3.0, 400.0])  # the latter has no exponential
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize("bonus", [None, -2.0])
def test_chunks_give_the_loss_and_gradients_of_the_library(
    monkeypatch: pytest.MonkeyPatch,
    scores_at_a_time: int,
    items_at_a_time: int,
    items_learn: bool,
    smoothing: float,
    largest_logit: float,
    dtype: torch.dtype,
    bonus: float | None,
) -> None:
    monkeypatch.setattr(rows, "_SCORES_AT_A_TIME", {"cpu": scores_at_a_time})
    monkeypatch.setattr(rows, "_ROWS_AT_LEAST", 1)
    monkeypatch.setattr(module, "_ITEMS_AT_A_TIME", items_at_a_time)
    torch.manual_seed(0)
    hidden = torch.randn(23, 8, dtype=torch.float64)
    items = torch.randn(12, 8, dtype=torch.float64)
    hidden *= largest_logit / (hidden @ items.T).abs().max()
    targets = torch.randint(0, 12, (23,))
    seen = torch.stack([torch.randperm(11)[:4] + 1 for _ in range(23)]).tril(2)  # 0 to 2 of the 4 are nothing
    seen[::5, 0] = targets[::5]
    seen[::5, 1:] = PADDING
    exact = [values.clone().requires_grad_() for values in (hidden, items, torch.tensor(bonus or 0.0).double())]
    logits = exact[0] @ exact[1].T
    expected = F.cross_entropy(logits, targets, label_smoothing=smoothing)
    of_hidden, of_items = torch.autograd.grad(3 * expected, exact[:2], retain_graph=True)
    raised = logits.scatter_add(1, seen, exact[2] * (seen != PADDING))
    (of_bonus,) = torch.autograd.grad(3 * F.cross_entropy(raised, targets, label_smoothing=smoothing), exact[2])
    given = [values.detach().to(dtype).requires_grad_() for values in exact]
    repeats = None if bonus is None else Repeats(seen, given[2])
    ours = cross_entropy(given[0], given[1] if items_learn else given[1].detach(), targets, smoothing, repeats)
    torch.autograd.backward(3 * ours)
    tolerance = 1e-6 if dtype is torch.float64 else 1e-4
    assert ours.item() == pytest.approx(expected.item(), rel=tolerance)
    torch.testing.assert_close(given[0].grad, of_hidden.to(dtype), rtol=tolerance, atol=tolerance / 10)
    if bonus is not None:
        torch.testing.assert_close(given[2].grad, of_bonus.to(dtype), rtol=tolerance, atol=tolerance)
    if items_learn:
        torch.testing.assert_close(given[1].grad, of_items.to(dtype), rtol=tolerance, atol=largest_logit * tolerance)
    else:
        assert given[1].grad is None


@pytest.mark.parametrize("items_learn", [True, False])
def test_threads_share_the_rows(items_learn: bool) -> None:
    torch.manual_seed(0)
    hidden, items, targets = torch.randn(200, 8), torch.randn(3000, 8), torch.randint(0, 3000, (200,))
    seen, found = torch.randint(1, 3000, (200, 1)), []
    for threads in (1, 3):
        operands = [each.clone().requires_grad_() for each in (hidden, items, torch.tensor(-1.0))]
        torch.set_num_threads(threads)
        of_items = operands[1] if items_learn else operands[1].detach()
        loss = cross_entropy(operands[0], of_items, targets, 0.1, Repeats(seen, operands[2]))
        assert torch.get_num_threads() == threads
        torch.autograd.backward(loss)
        found.append([loss.detach(), *(each.grad for each in operands)])
    for one, several in zip(*found, strict=True):
        torch.testing.assert_close(one, several)


@pytest.mark.parametrize("largest_logit", [25.0, 400.0])  # the latter has no exponential
def test_the_bonus_has_a_gradient_where_a_seen_item_was_all_that_counted(largest_logit: float) -> None:
    """The sum without that item is lost in rounding, so its share is 1, not infinite."""
    items = torch.zeros(30, 1).index_fill_(0, torch.tensor([3]), 1.0).requires_grad_()
    hidden, seen = torch.full((4, 1), largest_logit), torch.full((4, 1), 3)
    bonus = torch.tensor(-40.0, requires_grad=True)
    torch.autograd.backward(cross_entropy(hidden, items, torch.full((4,), 5), 0.0, Repeats(seen, bonus)))
    assert bonus.grad is not None and 0 <= bonus.grad.item() <= 1


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
