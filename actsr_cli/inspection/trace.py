"""Records the attention of a model: every stage of every layer."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from html import escape

import pandas as pd
import torch
from einops import reduce
from torch import Tensor, nn

from actsr_cli.attention import READINGS, STAGES, AttentionStages
from actsr_cli.batch import Batch
from actsr_cli.errors import RunError
from actsr_cli.models.base import Model, SequentialModel
from actsr_cli.models.encoder import Pass
from actsr_cli.pages.tables import table_html
from actsr_cli.words import counted

_SHOWN = 3
"""Number of histories that a notebook shows."""


@dataclass(frozen=True, repr=False)
class AttentionTrace:
    """The attention with which a model ranks the next item of some histories.

    Attributes:
        item_ids: (batch, length) int64 encoded item ids, right-padded with 0; a cloze model appends the id of its mask
            to each history.
        lengths: (batch,) int64 number of encoded positions per row. The last position makes the prediction.
        layers: the attention stages of each layer, (batch, heads, length, length) each: row i is the query, column j
            the key. Weights of padded keys are 0; rows of padded queries are undefined.
        scores: (batch, n_items + 1) score of every item as the next item; column 0 is padding.
    """

    item_ids: Tensor
    lengths: Tensor
    layers: tuple[AttentionStages, ...]
    scores: Tensor

    def __repr__(self) -> str:
        heads, said = self.layers[0].calibrated.shape[1], ", ".join(self.stages)
        sizes = f"{counted(len(self.lengths), 'history', 'histories')}, {counted(len(self.layers), 'layer')}"
        return f"AttentionTrace({sizes}, {counted(heads, 'head')}; {said})"

    def _repr_html_(self) -> str:
        below = "The attention of the prediction in the last layer, mean over heads. Items are ids of the model."
        tables = [table_html("", self.to_frame(row), self.stages) for row in range(min(len(self.lengths), _SHOWN))]
        return f"<h4>{escape(repr(self))}</h4>{''.join(tables)}<p>{below}</p>"

    def to_frame(self, row: int = 0, layer: int = -1, head: int | None = None) -> pd.DataFrame:
        """One row per position of a history: item id, and the prediction's attention on it at each stage.

        Args:
            row: number of the history, from 0.
            layer: number of the layer, from 0; the last by default.
            head: number of the head, from 0; None takes the mean over heads.
        """
        length = int(self.lengths[row])
        of_stages = {name: rows[row, :length].tolist() for name, rows in self.prediction_rows(layer, head).items()}
        return pd.DataFrame({"item": self.item_ids[row, :length].tolist(), **of_stages})

    @property
    def stages(self) -> tuple[str, ...]:
        """The distinct stages that every layer has, in the order in which they are computed."""
        repeated = self._repeated
        return tuple(
            stage
            for stage in STAGES
            if stage not in repeated and all(getattr(layer, stage) is not None for layer in self.layers)
        )

    @property
    def _repeated(self) -> set[str]:
        """Stages that equal an earlier stage in every layer, because no calibrator comes between the two."""
        repeated = set()
        if all(layer.calibrated is layer.adversarial for layer in self.layers):
            repeated.add("adversarial")
        if all(layer.calibrated is layer.plain or layer.calibrated is layer.spatial for layer in self.layers):
            repeated.add("calibrated")
        return repeated

    def weights(self, stage: str) -> tuple[Tensor, ...]:
        """The attention weights of one of `stages`, (batch, heads, length, length) per layer."""
        if stage not in self.stages:
            raise ValueError(f"stage '{stage}' is not in every layer; choose one of {', '.join(self.stages)}")
        return tuple(getattr(layer, stage) for layer in self.layers)

    def last_rows(self, stage: str) -> tuple[Tensor, ...]:
        """The attention row of the predicting position at a stage, (batch, heads, length) per layer."""
        rows = torch.arange(len(self.lengths), device=self.lengths.device)
        return tuple(weights[rows, :, self.lengths - 1] for weights in self.weights(stage))

    def prediction_rows(self, layer: int, head: int | None = None) -> dict[str, Tensor]:
        """The attention row of the predicting position in one layer at each stage, (batch, length), as shares.

        Without `head`, the mean over heads.
        """
        rows = {stage: self.last_rows(stage)[layer] for stage in self.stages}
        return {
            stage: reduce(shares(row), "b h k -> b k", "mean") if head is None else shares(row[:, head])
            for stage, row in rows.items()
        }

    def rollout(self, stage: str) -> Tensor:
        """Attention rollout (Abnar and Zuidema, ACL 2020): weight of each position in the prediction, (batch, length).

        The product over layers of (A + I) / 2, where A is the mean over heads with rows normalised to sum 1.
        """
        reached = torch.eye(self.item_ids.shape[1], device=self.item_ids.device)
        for weights in self.weights(stage):
            attention = shares(reduce(weights, "b h q k -> b q k", "mean"))
            reached = (attention + torch.eye(attention.shape[-1], device=attention.device)) / 2 @ reached
        return reached[torch.arange(len(self.lengths), device=self.lengths.device), self.lengths - 1]

    def tensors(self) -> dict[str, Tensor]:
        """All tensors of the trace by name, such as `layer1.plain`: distinct stages, and readings if there are any."""
        named = {
            f"layer{number}.{name}": getattr(layer, name)
            for number, layer in enumerate(self.layers, 1)
            for name in (*STAGES, *READINGS)
            if name not in self._repeated
        }
        return {"item_ids": self.item_ids, "lengths": self.lengths, "scores": self.scores} | {
            name: tensor for name, tensor in named.items() if tensor is not None
        }


def shares(weights: Tensor) -> Tensor:
    """Attention weights of keys, (…, keys), divided by their sum, which is not 1 with `renorm: none`."""
    return weights / weights.sum(dim=-1, keepdim=True).clamp_min(1e-9)


def trace(model: Model, batch: Batch) -> AttentionTrace:
    """Score the next item of each history and record the attention.

    Args:
        model: any model whose attention is `CalibratedSelfAttention` or `CalibratedAttention`, plain or calibrated.
            Tracing turns dropout off.
        batch: histories of any length; the latest `model.config.max_length` items are read.

    Raises:
        RunError: the model has no such attention.
    """
    if not isinstance(model, SequentialModel):
        raise RunError(f"{type(model).__name__} has no attention to inspect")
    with in_evaluation(model), torch.no_grad():
        inputs = model.scoring_inputs(batch.latest(model.config.max_length))
        encoded = model.encode(inputs, Pass(keep_stages=True))
        layers = tuple(layer.stages for layer in encoded.layers if layer.stages is not None)
        if not layers:
            made = model.config.made_by  # of models that have attention of their own
            raise RunError(
                f"{type(model).__name__} has no calibrated or plain attention of actsr to inspect",
                hint="Inspect the runs that it is made of, one by one." if made else None,
            )
        scores = model.scores_after(inputs, encoded.hidden[inputs.packing.last])
    return AttentionTrace(inputs.padded().item_ids, inputs.lengths, layers, scores)


@contextmanager
def in_evaluation(model: nn.Module) -> Iterator[None]:
    """Put a model into evaluation mode within this context."""
    was_training = model.training
    model.eval()
    try:
        yield
    finally:
        model.train(was_training)
