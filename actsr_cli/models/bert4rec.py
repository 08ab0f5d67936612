"""BERT4Rec (Sun et al., CIKM 2019): a bidirectional transformer that predicts masked items; calibrated: AC-BERT4Rec."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor, nn

from actsr_cli.attention import Dropout
from actsr_cli.batch import PADDING, Batch, TrainingBatch
from actsr_cli.config import CalibrationOptions
from actsr_cli.config.models import BERT4RecOptions
from actsr_cli.models.base import Embedded, EncoderModel
from actsr_cli.models.encoder import Encoder
from actsr_cli.models.layers import initialise, position_table
from actsr_cli.packing import Packing


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
        self.encoder = Encoder(options, calibration, positions=places, causal=self.causal)
        initialise(self, options.initializer_range)

    def training_inputs(self, batch: TrainingBatch) -> TrainingBatch:
        """The whole sequences, including the last target, with some positions masked (the cloze task, section 3.6).

        Each position is masked with probability `mask_ratio`. If none is drawn in a sequence, one position is chosen
        uniformly and masked. In the share `mask_last` of the sequences only the last position is masked.
        """
        items, packing = _appended(batch, _last_targets(batch))
        masked = self._draw_masked(packing.to(torch.device("cpu")))  # the host must know how many, without waiting
        rows = masked.nonzero().squeeze(1).to(items.device, non_blocking=True)
        return TrainingBatch(
            item_ids=items.index_fill(0, rows, self.mask_id),
            packing=packing,
            user_ids=batch.user_ids,
            rows=rows,
            targets=items[rows],
        )

    def _draw_masked(self, packing: Packing) -> Tensor:
        """(tokens,) which positions of the sequences are masked; where the packing is."""
        chance = torch.rand(packing.n_tokens, device=packing.device)
        lowest = chance == packing.least(chance)[packing.sequences]
        masked = (chance < self.config.mask_ratio) | lowest
        if self.config.mask_last:
            last_only = torch.rand(len(packing), device=packing.device) < self.config.mask_last
            is_last = packing.positions == packing.lengths[packing.sequences] - 1
            masked = torch.where(last_only[packing.sequences], is_last, masked)
        return masked

    def scoring_inputs(self, batch: Batch) -> Batch:
        """The histories with a mask after each."""
        masks = torch.full_like(batch.packing.last, self.mask_id)
        items, packing = _appended(batch, masks)
        return Batch(items, packing, batch.user_ids)

    def item_vectors(self) -> Tensor:
        return self.item_embedding.weight[:-1]

    def embed(self, batch: Batch) -> Embedded:
        embedded = self.item_embedding(batch.item_ids)
        if self.position_embedding is not None:
            embedded = embedded + self.position_embedding(batch.packing.positions)
        return Embedded(self.dropout(self.norm(embedded)), batch.packing)


def _appended(batch: Batch, items: Tensor) -> tuple[Tensor, Packing]:
    """(tokens + histories,) the items of each history and one more, (histories,); and where they lie."""
    longer = batch.packing.extended(1)
    appended = batch.item_ids.new_zeros(longer.n_tokens)
    moved = torch.arange(batch.packing.n_tokens, device=items.device) + batch.packing.sequences
    appended[moved] = batch.item_ids
    appended[longer.last] = items
    return appended, longer


def _last_targets(batch: TrainingBatch) -> Tensor:
    """(histories,) the item after each history: the target of its last token, which is always trained."""
    of_token = torch.zeros_like(batch.item_ids).index_copy(0, batch.rows, batch.targets)
    return of_token[batch.packing.last]
