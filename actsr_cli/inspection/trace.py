"""The attention of a model as data: every stage of every layer."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from einops import reduce
from torch import Tensor, nn

from actsr_cli.attention import READINGS, STAGES, AttentionStages
from actsr_cli.batch import Batch
from actsr_cli.errors import RunError
from actsr_cli.models.base import Model, SequentialModel
from actsr_cli.models.encoder import Pass


@dataclass(frozen=True)
class AttentionTrace:
    """The attention with which a model ranks the next item of some histories.

    Attributes:
        item_ids: (batch, length) int64 what was encoded, right-padded with 0; a cloze model has the id of its mask
            behind each history.
        lengths: (batch,) int64 encoded places of each row. The last of them makes the prediction.
        layers: per layer the stages of its attention, (batch, heads, length, length) each: row i is the query, column j
            the key. Weights of padded keys are 0; rows of padded queries mean nothing.
        scores: (batch, n_items + 1) score of every item as the next one; column 0 is padding.
    """

    item_ids: Tensor
    lengths: Tensor
    layers: tuple[AttentionStages, ...]
    scores: Tensor

    @property
    def stages(self) -> tuple[str, ...]:
        """The stages that every layer has, in the order in which they are computed, none of them twice."""
        repeated = self._repeated
        return tuple(
            stage
            for stage in STAGES
            if stage not in repeated and all(getattr(layer, stage) is not None for layer in self.layers)
        )

    @property
    def _repeated(self) -> set[str]:
        """Stages that are another one in every layer: no calibrator comes between the two."""
        repeated = set()
        if all(layer.calibrated is layer.adversarial for layer in self.layers):
            repeated.add("adversarial")
        if all(layer.calibrated is layer.plain or layer.calibrated is layer.spatial for layer in self.layers):
            repeated.add("calibrated")
        return repeated

    def weights(self, stage: str) -> tuple[Tensor, ...]:
        """The weights of one of `stages`, (batch, heads, length, length) per layer."""
        if stage not in self.stages:
            raise ValueError(f"there is no stage '{stage}' in every layer, but {', '.join(self.stages)}")
        return tuple(getattr(layer, stage) for layer in self.layers)

    def last_rows(self, stage: str) -> tuple[Tensor, ...]:
        """What the prediction's own query sees at a stage: (batch, heads, length) per layer."""
        rows = torch.arange(len(self.lengths), device=self.lengths.device)
        return tuple(weights[rows, :, self.lengths - 1] for weights in self.weights(stage))

    def prediction_rows(self, layer: int, head: int | None = None) -> dict[str, Tensor]:
        """What the prediction's own query sees in one layer at each stage, (batch, length); of no head: their mean."""
        rows = {stage: self.last_rows(stage)[layer] for stage in self.stages}
        return {
            stage: reduce(row, "b h k -> b k", "mean") if head is None else row[:, head] for stage, row in rows.items()
        }

    def rollout(self, stage: str) -> Tensor:
        """(batch, length): how much of each place reaches the prediction through all layers and their residuals.

        Attention rollout (Abnar and Zuidema, ACL 2020): the product over layers of (A + I) / 2, A being the mean over
        heads, rows summing to 1.
        """
        reached = torch.eye(self.item_ids.shape[1], device=self.item_ids.device)
        for weights in self.weights(stage):
            attention = reduce(weights, "b h q k -> b q k", "mean")
            attention = attention / attention.sum(dim=-1, keepdim=True).clamp_min(1e-9)
            reached = (attention + torch.eye(attention.shape[-1], device=attention.device)) / 2 @ reached
        return reached[torch.arange(len(self.lengths), device=self.lengths.device), self.lengths - 1]

    def tensors(self) -> dict[str, Tensor]:
        """Every tensor of the trace under a name such as `layer1.plain`; of `stages`, and readings where there are."""
        named = {
            f"layer{number}.{name}": getattr(layer, name)
            for number, layer in enumerate(self.layers, 1)
            for name in (*STAGES, *READINGS)
            if name not in self._repeated
        }
        return {"item_ids": self.item_ids, "lengths": self.lengths, "scores": self.scores} | {
            name: tensor for name, tensor in named.items() if tensor is not None
        }


def trace(model: Model, batch: Batch) -> AttentionTrace:
    """Rank the next item of each history and keep the attention that does it.

    Args:
        model: any model whose attention is `CalibratedSelfAttention` or `CalibratedAttention`, plain or calibrated.
            Dropout is off while it is traced.
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
            raise RunError(f"{type(model).__name__} has no calibrated or plain attention of ours to inspect")
        rows = torch.arange(len(inputs.lengths), device=inputs.lengths.device)
        scores = model.item_scores(encoded.hidden[rows, inputs.lengths - 1])
    return AttentionTrace(inputs.item_ids, inputs.lengths, layers, scores)


@contextmanager
def in_evaluation(model: nn.Module) -> Iterator[None]:
    """Within this context a model is in evaluation mode."""
    was_training = model.training
    model.eval()
    try:
        yield
    finally:
        model.train(was_training)
