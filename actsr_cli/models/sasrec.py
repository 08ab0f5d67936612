"""SASRec (Kang and McAuley, ICDM 2018): a causal transformer over item embeddings; calibrated: AC-SASRec."""

from __future__ import annotations

from torch import nn

from actsr_cli.attention import Dropout
from actsr_cli.batch import PADDING, Batch
from actsr_cli.config import CalibrationOptions
from actsr_cli.config.models import SASRecOptions
from actsr_cli.models.base import Embedded, EncoderModel
from actsr_cli.models.encoder import Encoder
from actsr_cli.models.layers import initialise, position_table, shared_items


class SASRec(EncoderModel):
    """Item embeddings, optional learned positions and a causal encoder; items are scored by their embeddings."""

    config: SASRecOptions

    def __init__(self, options: SASRecOptions, calibration: CalibrationOptions, n_items: int, n_users: int = 0) -> None:
        super().__init__(options, calibration, n_items, n_users)
        self.item_embedding = nn.Embedding(n_items + 1, options.hidden_size, padding_idx=PADDING)
        self.position_embedding = position_table(options, calibration, options.max_length)
        self.norm = nn.LayerNorm(options.hidden_size, eps=options.layer_norm_eps)
        self.dropout = Dropout(options.hidden_dropout)
        self.encoder = Encoder(options, calibration, positions=options.max_length, causal=self.causal)
        initialise(self, options.initializer_range)

    def embed(self, batch: Batch) -> Embedded:
        chance = self.config.item_replacement if self.training else 0.0
        embedded = self.item_embedding(shared_items(batch.item_ids, self.n_items, chance))
        if self.position_embedding is not None:
            embedded = embedded + self.position_embedding(batch.packing.positions)
        return Embedded(self.dropout(self.norm(embedded)), batch.packing)
