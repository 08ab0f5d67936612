"""SSE-PT (Wu et al., RecSys 2020): SASRec with a user vector beside each item vector; calibrated: AC-SSE-PT."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor, nn

from actsr_cli.attention import Dropout
from actsr_cli.batch import PADDING, Batch
from actsr_cli.config import CalibrationOptions
from actsr_cli.config.models import SSEPTOptions
from actsr_cli.errors import ConfigError
from actsr_cli.models.base import Embedded, EncoderModel
from actsr_cli.models.encoder import Encoder
from actsr_cli.models.layers import initialise, position_table, shared_items


class SSEPT(EncoderModel):
    """Concatenates item and user embeddings; the item part of a hidden state scores items.

    The paper multiplies hidden states with [item; user]. The user's share is the same for all items. It changes neither
    the softmax nor a ranking, and is left out.
    """

    config: SSEPTOptions
    needs_users: ClassVar[bool] = True

    def __init__(self, options: SSEPTOptions, calibration: CalibrationOptions, n_items: int, n_users: int = 0) -> None:
        super().__init__(options, calibration, n_items, n_users)
        user_size = options.hidden_size // 2 if options.user_size is None else options.user_size
        self.item_size = options.hidden_size - user_size
        if self.item_size < 1 or user_size < 1:
            raise ConfigError(
                f"model.user_size {user_size} must be at least 1 and less than model.hidden_size {options.hidden_size}"
            )
        self.item_embedding = nn.Embedding(n_items + 1, self.item_size, padding_idx=PADDING)
        self.user_embedding = nn.Embedding(n_users + 1, user_size, padding_idx=0)  # user u has row u + 1
        self.position_embedding = position_table(options, calibration, options.max_length)
        self.norm = nn.LayerNorm(options.hidden_size, eps=options.layer_norm_eps)
        self.dropout = Dropout(options.hidden_dropout)
        self.encoder = Encoder(options, calibration, positions=options.max_length, causal=self.causal)
        self.trained_users: Tensor
        self.register_buffer("trained_users", torch.zeros(n_users + 1, dtype=torch.bool))
        initialise(self, options.initializer_range)

    def tables(self) -> list[nn.Embedding]:
        return [self.item_embedding, self.user_embedding]

    def item_part(self, hidden: Tensor) -> Tensor:
        return hidden[..., : self.item_size]

    def embed(self, batch: Batch) -> Embedded:
        packing = batch.packing
        chance = self.config.item_replacement if self.training else 0.0
        items = self.item_embedding(shared_items(batch.item_ids, self.n_items, chance))
        users = self._user_vectors(batch)[packing.sequences]
        embedded = torch.cat([items, users], dim=-1)
        if self.position_embedding is not None:
            embedded = embedded + self.position_embedding(packing.positions)
        return Embedded(self.dropout(self.norm(embedded)), packing)

    def _user_vectors(self, batch: Batch) -> Tensor:
        """(batch, user_size): users that were not trained get the mean of those that were."""
        if self.training:
            if batch.user_ids is None:
                raise ValueError("SSE-PT needs training batches with user_ids")
            rows = batch.user_ids + 1
            self.trained_users[rows] = True
            vectors: Tensor = self.user_embedding(self._shared_users(rows))
            return vectors
        rows = torch.zeros_like(batch.lengths) if batch.user_ids is None else batch.user_ids + 1
        known = self.trained_users | ~self.trained_users.any()  # no mark (loaded parameters): all count as trained
        known[0] = False
        weights = known.to(self.user_embedding.weight.dtype)
        mean = weights @ self.user_embedding.weight / weights.sum().clamp_min(1.0)
        return torch.where(known[rows].unsqueeze(1), self.user_embedding(rows), mean)

    def _shared_users(self, rows: Tensor) -> Tensor:
        """Stochastic shared embeddings of users; see `shared_items`."""
        if not self.config.user_replacement:
            return rows
        replaced = torch.rand(rows.shape, device=rows.device) < self.config.user_replacement
        return torch.randint_like(rows, 1, self.n_users + 1).where(replaced, rows)
