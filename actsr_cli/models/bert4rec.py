"""BERT4Rec (Sun et al., CIKM 2019): a bidirectional transformer that predicts masked items; calibrated: AC-BERT4Rec."""

from __future__ import annotations

from dataclasses import replace
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from actsr_cli.attention import Dropout, allowed_pairs
from actsr_cli.batch import PADDING, Batch, TrainingBatch
from actsr_cli.config import CalibrationOptions
from actsr_cli.config.models import BERT4RecOptions
from actsr_cli.models.base import Embedded, EncoderModel
from actsr_cli.models.encoder import Encoder
from actsr_cli.models.layers import initialise, position_table, positions_of


class BERT4Rec(EncoderModel):
    """Predicts masked items from both sides; a mask after the history stands for the next item.

    A sequence has up to `max_length` + 1 positions: a history of full length and the mask.
    """

    config: BERT4RecOptions
    causal: ClassVar[bool] = False

    def __init__(
        self, options: BERT4RecOptions, calibration: CalibrationOptions, n_items: int, n_users: int = 0
    ) -> None:
        super().__init__(options, calibration, n_items, n_users)
        self.mask_id = n_items + 1
        places = options.max_length + 1
        self.item_embedding = nn.Embedding(n_items + 2, options.hidden_size, padding_idx=PADDING)
        self.position_embedding = position_table(options, calibration, places)
        self.norm = nn.LayerNorm(options.hidden_size, eps=options.layer_norm_eps)
        self.dropout = Dropout(options.hidden_dropout)
        self.encoder = Encoder(options, calibration, positions=places)
        initialise(self, options.initializer_range)

    def training_inputs(self, batch: TrainingBatch) -> TrainingBatch:
        """The whole sequences, including the last target, with some positions masked (the cloze task, section 3.6).

        Each position is masked with probability `mask_ratio`. If none is drawn in a sequence, one position is chosen
        uniformly and masked. In the share `mask_last` of the sequences only the last position is masked.
        """
        items, lengths = _with_last_target(batch)
        places = torch.arange(items.shape[1], device=items.device)
        real, last = places < lengths.unsqueeze(1), places == lengths.unsqueeze(1) - 1
        chance = torch.rand(items.shape, device=items.device).where(real, torch.inf)
        lowest = chance == chance.amin(dim=1, keepdim=True)
        masked = (chance < self.config.mask_ratio) | lowest
        if self.config.mask_last:
            last_only = torch.rand(len(lengths), 1, device=items.device) < self.config.mask_last
            masked = torch.where(last_only, last, masked)
        targets = items.where(masked, PADDING)
        return replace(
            batch,
            item_ids=items.masked_fill(masked, self.mask_id),
            lengths=lengths,
            targets=targets,
            n_targets=None,
            first_trained=0,
            timestamps=None,
        )

    def scoring_inputs(self, batch: Batch) -> Batch:
        """The histories with a mask after each."""
        items = F.pad(batch.item_ids, (0, 1), value=PADDING)
        items = items.scatter(1, batch.lengths.unsqueeze(1), self.mask_id)
        return replace(batch, item_ids=items, lengths=batch.lengths + 1, timestamps=None)

    def item_vectors(self) -> Tensor:
        return self.item_embedding.weight[:-1]

    def embed(self, batch: Batch) -> Embedded:
        positions = positions_of(batch)
        embedded = self.item_embedding(batch.item_ids)
        if self.position_embedding is not None:
            embedded = embedded + self.position_embedding(positions)
        allowed = allowed_pairs(batch.lengths, positions, positions.shape[1], causal=False)
        return Embedded(self.dropout(self.norm(embedded)), allowed)


def _with_last_target(batch: TrainingBatch) -> tuple[Tensor, Tensor]:
    """Each sequence with its last target appended: (batch, length + 1) items and (batch,) lengths."""
    last = batch.lengths.unsqueeze(1)
    items = F.pad(batch.item_ids, (0, 1), value=PADDING)
    return items.scatter(1, last, batch.targets.gather(1, last - 1)), batch.lengths + 1
