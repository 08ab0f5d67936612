"""Filters of sequences beside attention: each token becomes a weighted sum of its neighbours, channel by channel.

Filters that look at a whole padded history (BSARec, WEARec, TV-Rec) need a pass of their own for each prefix. Those
here read a few earlier tokens only, so that one pass still serves all prefixes.
"""

from __future__ import annotations

from abc import ABC, abstractmethod

import torch
from torch import Tensor, nn

from actsr_cli.config.models import EncoderOptions
from actsr_cli.packing import Packing


class SequenceFilter(nn.Module, ABC):
    """A low-pass filter, what it takes away as high-pass, and the learned share of both in what a layer attends to.

    filtered = low + β² · (hidden - low), with a learned β per channel (Shin et al., An Attentive Inductive Bias for
    Sequential Recommendation beyond the Self-Attention, AAAI 2024, equation 5).

    Args:
        options: the model's settings.
        causal: read no later tokens.

    Attributes:
        lags: how many tokens back each weight of the kernel looks; negative ones look ahead.
    """

    def __init__(self, options: EncoderOptions, *, causal: bool) -> None:
        super().__init__()
        self.width = options.hidden_size
        self.lags = self.reach(options.filter_kernel, causal=causal)
        self.share_logit = nn.Parameter(torch.logit(torch.tensor(options.filter_share)))
        self.root_of_high = nn.Parameter(torch.ones(self.width))

    @staticmethod
    def reach(kernel: int, *, causal: bool) -> list[int]:
        """The lags of a kernel: itself and the `kernel` - 1 tokens before it, or on both sides."""
        return list(range(kernel)) if causal else list(range(1 - kernel, kernel))

    @property
    def share(self) -> Tensor:
        """() the share of the filter; attention has the rest."""
        return torch.sigmoid(self.share_logit)

    def mix(self, attended: Tensor, filtered: Tensor) -> Tensor:
        """Attended and filtered values together, (..., hidden)."""
        return torch.lerp(attended, filtered, self.share)

    def forward(self, hidden: Tensor, packing: Packing) -> Tensor:
        """Filter the hidden states of packed sequences, (tokens, hidden)."""
        low = self.low(hidden, packing)
        return low + self.root_of_high.square() * (hidden - low)

    @abstractmethod
    def low(self, hidden: Tensor, packing: Packing) -> Tensor:
        """The low-pass, (tokens, hidden)."""


class Convolution(SequenceFilter):
    """A depthwise convolution, which starts as a mean, in place of BSARec's Fourier transform of the whole history."""

    def __init__(self, options: EncoderOptions, *, causal: bool) -> None:
        super().__init__(options, causal=causal)
        self.kernel = nn.Parameter(torch.full((len(self.lags), self.width), 1 / len(self.lags)))

    def low(self, hidden: Tensor, packing: Packing) -> Tensor:
        total = torch.zeros_like(hidden)
        for weights, lag in zip(self.kernel, self.lags, strict=True):
            total = torch.addcmul(total, shifted(hidden, lag, packing), weights)
        return total


class Dilated(Convolution):
    """A convolution whose reach doubles with each weight: itself and 1, 2, 4, … tokens before it."""

    @staticmethod
    def reach(kernel: int, *, causal: bool) -> list[int]:
        before = [0, *(2**power for power in range(kernel - 1))]
        return before if causal else [*(-lag for lag in before[:0:-1]), *before]


class Dynamic(SequenceFilter):
    """A convolution with a kernel of its own for each token and head (Wu et al., Pay Less Attention, ICLR 2019)."""

    def __init__(self, options: EncoderOptions, *, causal: bool) -> None:
        super().__init__(options, causal=causal)
        self.heads = options.heads
        self.weights = nn.Linear(self.width, self.heads * len(self.lags))

    def low(self, hidden: Tensor, packing: Packing) -> Tensor:
        weights = self.weights(hidden).unflatten(1, (self.heads, len(self.lags))).softmax(dim=-1)
        total = torch.zeros_like(hidden)
        for place, lag in enumerate(self.lags):
            weight = weights[:, :, place].repeat_interleave(self.width // self.heads, dim=1)
            total = total + weight * shifted(hidden, lag, packing)
        return total


FILTERS: dict[str, type[SequenceFilter]] = {"conv": Convolution, "dilated": Dilated, "dynamic": Dynamic}


def sequence_filter(options: EncoderOptions, *, causal: bool) -> SequenceFilter | None:
    """The filter that the settings ask for, or None."""
    return None if options.filter == "none" else FILTERS[options.filter](options, causal=causal)


def shifted(hidden: Tensor, lag: int, packing: Packing) -> Tensor:
    """(tokens, hidden) the hidden state `lag` tokens back in the same sequence (ahead, if negative), else 0."""
    if lag == 0:
        return hidden
    within = packing.positions >= lag if lag > 0 else packing.positions - lag < packing.lengths[packing.sequences]
    return hidden.roll(lag, dims=0) * within.unsqueeze(1)
