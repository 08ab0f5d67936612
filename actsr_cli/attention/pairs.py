"""The (query, key) pairs of packed sequences that attention may use."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from actsr_cli.packing import Packing


@dataclass(frozen=True)
class Pairs:
    """Every query with its keys: all tokens of its sequence, or in a causal model those up to itself.

    Numbers per pair and head lie in one flat tensor, (entries,): queries in ascending order, for each its heads, for
    each the keys.

    Attributes:
        packing: the sequences.
        causal: forbid keys after the query.
        rows: (attending,) the tokens whose attention is wanted, in ascending order. None means all.
        only_rows: no other token is a query. Otherwise all tokens are, because the penalty counts the mask of each.
        real_lengths: (sequences,) tokens of each sequence that are no padding; only the padded form reads it. None if
            none is padding.
    """

    packing: Packing
    causal: bool
    rows: Tensor | None = None
    only_rows: bool = False
    real_lengths: Tensor | None = None

    @cached_property
    def queries(self) -> Tensor:
        """(queries,) int64 the token of each query."""
        if self.rows is not None and self.only_rows:
            return self.rows
        return torch.arange(self.packing.n_tokens, device=self.packing.device)

    @cached_property
    def positions(self) -> Tensor:
        """(queries,) int64 the position of each query in its sequence."""
        return self.packing.positions[self.queries]

    @cached_property
    def query_offsets(self) -> Tensor:
        """(sequences + 1,) int64 the first query of each sequence, and the number of queries."""
        if self.rows is None or not self.only_rows:
            return self.packing.offsets
        return torch.searchsorted(self.rows, self.packing.offsets)

    @cached_property
    def attending(self) -> Tensor:
        """(attending,) int64 the tokens whose attention is wanted."""
        return self.queries if self.rows is None else self.rows

    @cached_property
    def outputs(self) -> Tensor:
        """(queries,) int64 the place of each query in `attending`; -1 if only its mask is wanted."""
        if self.rows is None or self.only_rows:
            return torch.arange(len(self.queries), device=self.packing.device)
        places = torch.full_like(self.queries, -1)
        return places.index_copy(0, self.rows, torch.arange(len(self.rows), device=places.device))

    @cached_property
    def n_keys(self) -> Tensor:
        """(queries,) int64 number of keys of each query; these are the first ones of its sequence."""
        packing = self.packing
        keys = packing.positions + 1 if self.causal else packing.lengths[packing.sequences]
        return keys[self.queries]

    @cached_property
    def starts(self) -> Tensor:
        """(queries,) int64 the first pair of each query."""
        return self.n_keys.cumsum(0) - self.n_keys

    @cached_property
    def host_query_offsets(self) -> NDArray[np.int64]:
        """`query_offsets` on the host."""
        if self.rows is None or not self.only_rows:
            return self.packing.host_offsets
        return np.searchsorted(self.rows.cpu().numpy(), self.packing.host_offsets)

    @cached_property
    def host_costs(self) -> NDArray[np.int64]:
        """(sequences,) number of pairs of one head in each sequence."""
        lengths = self.packing.host_lengths
        if self.rows is not None and self.only_rows:  # reads the device; training never does this
            pairs = np.concatenate([[0], self.n_keys.cumsum(0).cpu().numpy()])
            return np.diff(pairs[self.host_query_offsets])
        return lengths * (lengths + 1) // 2 if self.causal else lengths**2

    @property
    def n_pairs(self) -> int:
        """Number of pairs of one head."""
        return int(self.host_costs.sum())

    @cached_property
    def query_of(self) -> Tensor:
        """(pairs,) int64 the query of each pair, an index into `queries`."""
        places = torch.arange(len(self.queries), device=self.packing.device)
        return places.repeat_interleave(self.n_keys, output_size=self.n_pairs)

    @cached_property
    def key_positions(self) -> Tensor:
        """(pairs,) int64 the position of each pair's key in its sequence."""
        return torch.arange(self.n_pairs, device=self.packing.device) - self.starts[self.query_of]

    @cached_property
    def places(self) -> tuple[Tensor, Tensor, Tensor]:
        """Sequence, position of the query and position of the key of each pair, (pairs,) int64 each."""
        tokens = self.queries[self.query_of]
        return self.packing.sequences[tokens], self.packing.positions[tokens], self.key_positions

    def pad_entries(self, entries: Tensor, heads: int) -> Tensor:
        """Numbers per pair and head, (entries,), as (sequences, heads, queries, keys), 0 at forbidden pairs."""
        n_keys = self.n_keys[self.query_of]
        first = heads * self.starts[self.query_of] + self.key_positions
        index = first.unsqueeze(1) + n_keys.unsqueeze(1) * torch.arange(heads, device=entries.device)  # (pairs, heads)
        longest = self.packing.longest
        padded = entries.new_zeros(len(self.packing), longest, longest, heads)
        return padded.index_put(self.places, entries[index]).permute(0, 3, 1, 2)
