"""GRU4Rec (Hidasi et al., ICLR 2016): a recurrent network over item embeddings."""

from __future__ import annotations

from typing import ClassVar

from torch import Tensor, nn

from actsr_cli.attention import Dropout
from actsr_cli.batch import PADDING, Batch
from actsr_cli.config import CalibrationOptions
from actsr_cli.config.models import GRU4RecOptions
from actsr_cli.models.base import SequentialModel
from actsr_cli.models.encoder import HIDDEN_STATES, Encoded, Pass


class GRU4Rec(SequentialModel):
    """Item embeddings of `hidden_size`, gated recurrent layers of `inner_size`, and a map back to items.

    Row i depends on the items up to i only, so one pass trains all prefixes, as with causal attention.
    """

    config: GRU4RecOptions
    calibrated: ClassVar[bool] = False

    def __init__(
        self, options: GRU4RecOptions, calibration: CalibrationOptions, n_items: int, n_users: int = 0
    ) -> None:
        super().__init__(options, calibration, n_items, n_users)
        self.item_embedding = nn.Embedding(n_items + 1, options.hidden_size, padding_idx=PADDING)
        self.dropout = Dropout(options.hidden_dropout)
        self.recurrent = nn.GRU(options.hidden_size, options.inner_size, options.layers, bias=False, batch_first=True)
        self.output = nn.Linear(options.inner_size, options.hidden_size)
        nn.init.xavier_normal_(self.item_embedding.weight)
        nn.init.zeros_(self.item_embedding.weight[PADDING])
        for name, weight in self.recurrent.named_parameters():
            (nn.init.orthogonal_ if "weight_hh" in name else nn.init.xavier_uniform_)(weight)

    def encode(self, batch: Batch, wanted: Pass = HIDDEN_STATES) -> Encoded:
        packing = batch.packing
        states, _ = self.recurrent(packing.pad(self.dropout(self.item_embedding(batch.item_ids))))
        hidden = packing.pack(states)
        return Encoded(hidden=self.output(hidden if wanted.rows is None else hidden[wanted.rows]))

    def item_vectors(self) -> Tensor:
        return self.item_embedding.weight
