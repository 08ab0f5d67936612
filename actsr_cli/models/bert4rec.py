"""BERT4Rec (Sun et al., CIKM 2019): a bidirectional transformer that predicts masked items; calibrated: AC-BERT4Rec."""

from __future__ import annotations

from typing import ClassVar

import torch
import torch.nn.functional as F
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
        self.output_layer = OutputLayer(options, n_items) if options.output_layer else None
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

    @property
    def unread_items(self) -> int:
        return int(self.config.without_oldest)

    def scoring_inputs(self, batch: Batch) -> Batch:
        """The histories with a mask after each, perhaps without their oldest items."""
        if self.unread_items:  # each item moves to the place before it, and the mask takes the last place
            items = batch.item_ids.roll(-1).index_fill(0, batch.packing.last, self.mask_id)
            return Batch(items, batch.packing, batch.user_ids)
        masks = torch.full_like(batch.packing.last, self.mask_id)
        items, packing = _appended(batch, masks)
        return Batch(items, packing, batch.user_ids)

    def item_vectors(self) -> Tensor:
        vectors = self.item_embedding.weight[:-1]
        if self.output_layer is None:
            return vectors
        return torch.cat([vectors, self.output_layer.bias.unsqueeze(1)], dim=1)

    def item_part(self, hidden: Tensor) -> Tensor:
        return hidden if self.output_layer is None else self.output_layer(hidden)

    def item_similarities(self, items: Tensor) -> Tensor:
        vectors = F.normalize(self.item_embedding.weight[:-1], dim=-1)  # a bias says nothing about similarity
        return vectors[items] @ vectors.T

    def embed(self, batch: Batch) -> Embedded:
        embedded = self.item_embedding(batch.item_ids)
        if self.position_embedding is not None:
            embedded = embedded + self.position_embedding(batch.packing.positions)
        return Embedded(self.dropout(self.norm(embedded)), batch.packing)


class OutputLayer(nn.Module):
    """What stands between hidden states and the scores of items (Sun et al., section 3.5, and the authors' code).

    Scores are dot products: hidden states get a last component of 1, and item vectors have their bias there.
    """

    def __init__(self, options: BERT4RecOptions, n_items: int) -> None:
        super().__init__()
        self.affine = nn.Linear(options.hidden_size, options.hidden_size)
        self.norm = nn.LayerNorm(options.hidden_size, eps=options.layer_norm_eps)
        self.bias = nn.Parameter(torch.zeros(n_items + 1))

    def forward(self, hidden: Tensor) -> Tensor:
        """(..., hidden) to (..., hidden + 1)."""
        changed: Tensor = self.norm(F.gelu(self.affine(hidden)))
        return F.pad(changed, (0, 1), value=1.0)


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
