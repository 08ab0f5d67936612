"""Filters beside attention: their formulas on each sequence alone, what they may read, and their share."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from flat import batch_of
from samples import built, run_config
from torch import Tensor

from actsr_cli.config.models import SASRecOptions
from actsr_cli.models.base import EncoderModel
from actsr_cli.models.filters import FILTERS, Convolution, Dilated, Dynamic, SequenceFilter
from actsr_cli.packing import Packing

LENGTHS = [5, 1, 3]
PACKING = Packing(np.array(LENGTHS), torch.device("cpu"))
WIDTH = 4


def made(kind: str, *, causal: bool = True, kernel: int = 3) -> SequenceFilter:
    """A filter with random weights."""
    torch.manual_seed(0)
    options = SASRecOptions.model_validate({"hidden_size": WIDTH, "heads": 2, "filter": kind, "filter_kernel": kernel})
    module = FILTERS[kind](options, causal=causal)
    for parameter in module.parameters():
        torch.nn.init.normal_(parameter)
    return module


def tokens() -> Tensor:
    return torch.randn(sum(LENGTHS), WIDTH, generator=torch.Generator().manual_seed(1))


def high_pass(module: Convolution | Dynamic, hidden: Tensor, low: Tensor) -> Tensor:
    return low + module.root_of_high**2 * (hidden - low)


@pytest.mark.parametrize("causal", [True, False])
def test_a_convolution_is_that_of_the_library_on_each_sequence(causal: bool) -> None:
    module, hidden = made("conv", causal=causal), tokens()
    assert isinstance(module, Convolution)
    filtered = module(hidden, PACKING)
    for sequence, found in zip(torch.split(hidden, LENGTHS), torch.split(filtered, LENGTHS), strict=True):
        padded = F.pad(sequence.T, (2, 0) if causal else (2, 2))
        low = F.conv1d(padded, module.kernel.flip(0).T.unsqueeze(1), groups=WIDTH).T
        torch.testing.assert_close(found, high_pass(module, sequence, low))


def test_a_dilated_kernel_skips_tokens() -> None:
    module = made("dilated", kernel=4)
    assert isinstance(module, Dilated)
    assert module.lags == [0, 1, 2, 4]
    assert made("dilated", causal=False, kernel=4).lags == [-4, -2, -1, 0, 1, 2, 4]
    hidden = tokens()
    low = sum(module.kernel[place] * hidden[4 - lag] for place, lag in enumerate(module.lags))
    assert isinstance(low, Tensor)
    torch.testing.assert_close(module(hidden, PACKING)[4], high_pass(module, hidden[4], low))


def test_a_dynamic_kernel_is_a_distribution_of_each_head() -> None:
    module, hidden = made("dynamic"), tokens()
    assert isinstance(module, Dynamic)
    weights = module.weights(hidden[2]).view(2, 3).softmax(dim=1)  # (heads, lags)
    of_heads = [weights[head] @ hidden[[2, 1, 0]][:, 2 * head : 2 * head + 2] for head in (0, 1)]
    torch.testing.assert_close(module(hidden, PACKING)[2], high_pass(module, hidden[2], torch.cat(of_heads)))


@pytest.mark.parametrize("causal", [True, False])
@pytest.mark.parametrize("kind", FILTERS)
def test_a_filter_reads_its_own_sequence_and_nothing_later(kind: str, causal: bool) -> None:
    module, hidden = made(kind, causal=causal), tokens().requires_grad_()
    filtered = module(hidden, PACKING)
    sequences = torch.arange(3).repeat_interleave(torch.tensor(LENGTHS))
    for token in range(len(hidden)):
        (slope,) = torch.autograd.grad(filtered[token].sum(), hidden, retain_graph=True)
        read = slope.abs().sum(dim=1) > 0
        forbidden = sequences != sequences[token]
        if causal:
            forbidden |= torch.arange(len(hidden)) > token
        assert read[token]
        assert not (read & forbidden).any()
    assert causal or torch.autograd.grad(filtered[0].sum(), hidden)[0][1].abs().sum() > 0


def test_the_share_starts_as_set_and_is_learned() -> None:
    options = SASRecOptions.model_validate({"hidden_size": WIDTH, "filter": "conv", "filter_share": 0.3})
    module = FILTERS["conv"](options, causal=True)
    mixed = module.mix(torch.zeros(2, WIDTH), torch.ones(2, WIDTH))
    torch.testing.assert_close(mixed, torch.full((2, WIDTH), 0.3))
    torch.autograd.backward(mixed.sum())
    assert module.share_logit.grad is not None and module.share_logit.grad != 0


@pytest.mark.parametrize("kind", FILTERS)
def test_histories_of_a_batch_do_not_meet(kind: str) -> None:
    torch.manual_seed(0)
    config = run_config("sasrec", "full", hidden_size=8, inner_size=8, max_length=6, initializer_range=0.5, filter=kind)
    model = built(config, n_items=9).eval()
    assert isinstance(model, EncoderModel)
    together = model.score(batch_of([[1, 2, 3, 4], [5], [6, 7]]))
    alone = [model.score(batch_of([history])) for history in ([1, 2, 3, 4], [5], [6, 7])]
    torch.testing.assert_close(together, torch.cat(alone))


def test_the_published_code_is_reproduced_without_a_filter() -> None:
    with pytest.raises(ValueError, match="filter conv cannot be used with reproduce_published_faults"):
        run_config("sasrec", "full", filter="conv", reproduce_published_faults=True)
