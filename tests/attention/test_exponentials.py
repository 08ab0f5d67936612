"""The compiled exponentials and their sums are compared with those of torch."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from actsr_cli.attention.kernels.exponentials import add_exponentials


@given(rows=st.integers(1, 9), columns=st.integers(1, 300), largest=st.sampled_from([1.0, 20.0, 80.0]))
def test_exponentials_and_their_sums(rows: int, columns: int, largest: float) -> None:
    logits = (2 * torch.rand(rows, columns, generator=torch.Generator().manual_seed(columns)) - 1) * largest
    exact = logits.double().exp()
    sums = torch.ones(rows)
    add_exponentials(logits, sums)
    torch.testing.assert_close(logits.double(), exact, rtol=3e-6, atol=0)
    torch.testing.assert_close(sums.double(), 1 + exact.sum(dim=1), rtol=1e-5, atol=0)


@pytest.mark.parametrize("threads", [1, 3])
def test_rows_are_shared_among_threads(threads: int) -> None:
    torch.set_num_threads(threads)
    logits, sums = torch.arange(7.0).unsqueeze(1).expand(7, 3_000) / 10, torch.zeros(7)
    add_exponentials(logits.contiguous(), sums)
    torch.testing.assert_close(sums, 3_000 * (torch.arange(7.0) / 10).exp(), rtol=1e-5, atol=0)


def test_what_is_no_number_stays_so() -> None:
    logits, sums = torch.zeros(2, 20), torch.zeros(2)
    logits[1, 7] = torch.nan
    add_exponentials(logits, sums)
    assert torch.equal(sums.isnan(), torch.tensor([False, True]))


def test_other_types_are_left_to_torch() -> None:
    logits, sums = torch.tensor([[0.0, 1.0]], dtype=torch.bfloat16), torch.zeros(1)
    add_exponentials(logits, sums)
    torch.testing.assert_close(sums, torch.tensor([3.718]), rtol=5e-3, atol=0)
