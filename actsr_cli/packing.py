"""Sequences of different lengths, one after another in a flat tensor of tokens: no position is padding."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor


@dataclass(frozen=True)
class Packing:
    """Where each sequence lies among the tokens.

    Attributes:
        host_lengths: (sequences,) int64 tokens of each sequence, at least 1, on the host: sizes are known without
            waiting for the device.
        device: where the tensors are.
    """

    host_lengths: NDArray[np.int64]
    device: torch.device

    @cached_property
    def host_offsets(self) -> NDArray[np.int64]:
        """(sequences + 1,) first token of each sequence, and the number of tokens."""
        return np.concatenate([[0], np.cumsum(self.host_lengths)])

    @property
    def n_tokens(self) -> int:
        """Number of tokens of all sequences."""
        return int(self.host_offsets[-1])

    @cached_property
    def longest(self) -> int:
        """Length of the longest sequence."""
        return int(self.host_lengths.max(initial=0))

    @cached_property
    def lengths(self) -> Tensor:
        """(sequences,) int64."""
        return self._to_device(self.host_lengths)

    @cached_property
    def offsets(self) -> Tensor:
        """(sequences + 1,) int64 `host_offsets` on the device."""
        return self._to_device(self.host_offsets)

    @cached_property
    def first(self) -> Tensor:
        """(sequences,) int64 the first token of each sequence."""
        return self._to_device(self.host_offsets[:-1])

    @cached_property
    def last(self) -> Tensor:
        """(sequences,) int64 the last token of each sequence."""
        return self._to_device(self.host_offsets[1:] - 1)

    @cached_property
    def sequences(self) -> Tensor:
        """(tokens,) int64 the sequence of each token."""
        return self._to_device(np.repeat(np.arange(len(self.host_lengths)), self.host_lengths))

    @cached_property
    def positions(self) -> Tensor:
        """(tokens,) int64 the position of each token in its sequence, from 0."""
        return self._to_device(np.arange(self.n_tokens) - np.repeat(self.host_offsets[:-1], self.host_lengths))

    def __len__(self) -> int:
        return len(self.host_lengths)

    def to(self, device: torch.device) -> Self:
        """The same sequences on another device."""
        return self if device == self.device else type(self)(self.host_lengths, device)

    def extended(self, n: int) -> Packing:
        """Every sequence with room for `n` more tokens."""
        return Packing(self.host_lengths + n, self.device)

    def latest(self, kept: Packing) -> Tensor:
        """(kept tokens,) int64 the last tokens of each sequence, as many as `kept` has of it."""
        return kept.positions + (self.last + 1 - kept.lengths)[kept.sequences]

    def pad(self, values: Tensor) -> Tensor:
        """Flat values, (tokens, …), with a row per sequence: (sequences, longest, …), 0 behind its end."""
        padded = values.new_zeros(len(self), self.longest, *values.shape[1:])
        return padded.index_put((self.sequences, self.positions), values)

    def pack(self, padded: Tensor) -> Tensor:
        """The inverse of `pad`: (sequences, longest or more, …) to (tokens, …)."""
        return padded[self.sequences, self.positions]

    def least(self, values: Tensor) -> Tensor:
        """(sequences,) the smallest of the values, (tokens,), of each sequence."""
        return values.new_zeros(len(self)).scatter_reduce(0, self.sequences, values, "amin", include_self=False)

    def total_from_here(self, values: Tensor) -> Tensor:
        """(tokens,) the sum of whole numbers, (tokens,), from each token to the end of its sequence."""
        until_here = values.cumsum(0)
        return until_here[self.last][self.sequences] - until_here + values

    def _to_device(self, values: NDArray[np.int64]) -> Tensor:
        return torch.from_numpy(values).to(self.device, non_blocking=True)  # a copy that waits, waits for all before it
