"""TiSASRec (Li et al., WSDM 2020): a causal transformer that uses the time between items; calibrated: AC-TiSASRec."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor, nn

from actsr_cli.attention import Dropout, Relations, time_intervals
from actsr_cli.batch import PADDING, Batch
from actsr_cli.config import CalibrationOptions
from actsr_cli.config.models import TiSASRecOptions
from actsr_cli.models.base import Embedded, EncoderModel
from actsr_cli.models.encoder import Encoder
from actsr_cli.models.layers import initialise


class TiSASRec(EncoderModel):
    """Adds absolute positions and clipped time intervals to keys and values; all layers share their vectors.

    Dropout on intervals drops entries of the two tables. Dropping entries per pair would need a vector per pair.
    """

    config: TiSASRecOptions
    needs_timestamps: ClassVar[bool] = True

    def __init__(
        self, options: TiSASRecOptions, calibration: CalibrationOptions, n_items: int, n_users: int = 0
    ) -> None:
        super().__init__(options, calibration, n_items, n_users)
        width, n_intervals = options.hidden_size, options.time_span + 1
        # The published code leaves the first position and the interval 0 untrained, as if they were padding.
        first = 0 if options.reproduce_published_faults else None
        self.item_embedding = nn.Embedding(n_items + 1, width, padding_idx=PADDING)
        self.key_positions = nn.Embedding(options.max_length, width, padding_idx=first)
        self.value_positions = nn.Embedding(options.max_length, width, padding_idx=first)
        self.key_intervals = nn.Embedding(n_intervals, width, padding_idx=first)
        self.value_intervals = nn.Embedding(n_intervals, width, padding_idx=first)
        self.norm = nn.LayerNorm(width, eps=options.layer_norm_eps)
        self.dropout = Dropout(options.hidden_dropout)
        self.encoder = Encoder(options, calibration, positions=options.max_length, causal=self.causal)
        initialise(self, options.initializer_range)

    def embed(self, batch: Batch) -> Embedded:
        if batch.timestamps is None:
            raise ValueError("TiSASRec needs batches with timestamps")
        packing = batch.packing
        positions = torch.arange(packing.longest, device=packing.device)
        times = packing.pad(batch.timestamps)
        relations = Relations(
            key_positions=self.dropout(self.key_positions(positions)),
            value_positions=self.dropout(self.value_positions(positions)),
            key_intervals=self.dropout(_table(self.key_intervals)),
            value_intervals=self.dropout(_table(self.value_intervals)),
            intervals=time_intervals(times, self.config.time_span, self.config.interval_scale),
        )
        return Embedded(self.dropout(self.norm(self.item_embedding(batch.item_ids))), packing, relations)


def _table(embedding: nn.Embedding) -> Tensor:
    """All rows of a table. Looking them up leaves a padding row without a gradient."""
    rows = torch.arange(embedding.num_embeddings, device=embedding.weight.device)
    table: Tensor = embedding(rows)
    return table
