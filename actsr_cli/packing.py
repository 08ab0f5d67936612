"""Sequences of different lengths, one after another in a flat tensor of tokens: no position is padding."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Self

import numpy as np
import torch
from einops import repeat
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

    def is_all(self, rows: Tensor) -> bool:
        """Whether some of the tokens, (rows,) without repetition, are all of them."""
        return len(rows) == self.n_tokens

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


class Grid(Packing):
    """Sequences in rows of equal length; tokens after the end of a sequence are padding, and mean nothing.

    All sizes come from tensors, so that a graph of PyTorch or ONNX that is traced with it runs for any number of
    sequences and any length. The host knows no length.

    Args:
        lengths: (sequences,) int64 tokens of each sequence that are no padding, at least 1.
        columns: length of the rows.
    """

    def __init__(self, lengths: Tensor, columns: int) -> None:
        # In place of what others compute from the lengths on the host, which a grid does not have.
        vars(self).update(device=lengths.device, lengths=lengths, longest=columns)

    def __len__(self) -> int:
        raise TypeError("while a graph is traced, len() cannot tell how many histories there are: use lengths.shape[0]")

    @property
    def n_tokens(self) -> int:
        """Number of tokens, padding included."""
        return self.lengths.shape[0] * self.longest

    @cached_property
    def first(self) -> Tensor:
        return torch.arange(self.lengths.shape[0], device=self.device) * self.longest

    @cached_property
    def last(self) -> Tensor:
        return self.first + self.lengths - 1

    @cached_property
    def sequences(self) -> Tensor:
        rows = torch.arange(self.lengths.shape[0], device=self.device)
        return repeat(rows, "s -> (s c)", c=self.longest)

    @cached_property
    def positions(self) -> Tensor:
        columns = torch.arange(self.longest, device=self.device)
        return repeat(columns, "c -> (s c)", s=self.lengths.shape[0])

    def is_all(self, rows: Tensor) -> bool:
        return False  # while a graph is traced, nobody may ask how many there are

    def extended(self, n: int) -> Grid:
        return Grid(self.lengths + n, self.longest + n)

    def pad(self, values: Tensor) -> Tensor:
        return values.reshape(self.lengths.shape[0], self.longest, *values.shape[1:])

    def pack(self, padded: Tensor) -> Tensor:
        return padded.flatten(0, 1)
