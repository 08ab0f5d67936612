"""The transformer encoder of every backbone with attention: calibrated layers with post-normalisation."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from actsr_cli.attention import AttentionStages, Dropout, Relations, calibrated_self_attention
from actsr_cli.config import CalibrationOptions, TransformerOptions

Activation = Callable[[Tensor], Tensor]
ACTIVATIONS: dict[str, Activation] = {
    "gelu": F.gelu,
    "relu": F.relu,
    "swish": F.silu,
    "tanh": torch.tanh,
    "sigmoid": torch.sigmoid,
}


@dataclass(frozen=True)
class LayerOutput:
    """What a layer returns.

    Attributes:
        hidden: (batch, queries, hidden) hidden states under the calibrated attention: the next layer's input.
        perturbed: (batch, queries, hidden) hidden states under the perturbed attention, or None.
        mask: (batch, heads, queries, length) adversarial mask, or None.
        stages: every stage of the attention, if stages are kept.
    """

    hidden: Tensor
    perturbed: Tensor | None
    mask: Tensor | None
    stages: AttentionStages | None


@dataclass(frozen=True)
class Pass:
    """What one pass over a batch returns besides hidden states.

    Attributes:
        first_row: the first position whose hidden state is returned.
        perturb: also return the perturbed stream that the adversary is trained on.
        keep_stages: also return every layer's hidden states and the stages of its attention.
    """

    first_row: int = 0
    perturb: bool = False
    keep_stages: bool = False


HIDDEN_STATES = Pass()
"""Hidden states of every position, and nothing else."""


@dataclass(frozen=True)
class Encoded:
    """What an encoder returns.

    Attributes:
        hidden: (batch, rows, hidden) the stream that predictions are made from.
        perturbed: (batch, rows, hidden) the last layer's perturbed stream, or None.
        masks: one adversarial mask (batch, heads, length, length) per layer; empty without the adversarial calibrator.
        layers: every layer's output with its stages, if stages are kept.
    """

    hidden: Tensor
    perturbed: Tensor | None = None
    masks: tuple[Tensor, ...] = ()
    layers: tuple[LayerOutput, ...] = ()


class FeedForward(nn.Module):
    """Two affine maps with an activation between them, residual connection and layer normalisation."""

    def __init__(self, config: TransformerOptions) -> None:
        super().__init__()
        self.inner = nn.Linear(config.hidden_size, config.inner_size)
        self.outer = nn.Linear(config.inner_size, config.hidden_size)
        self.norm = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps)
        self.dropout = Dropout(config.hidden_dropout)
        self.activation = ACTIVATIONS[config.activation]

    def forward(self, hidden: Tensor) -> Tensor:
        """(..., hidden) to (..., hidden)."""
        changed: Tensor = self.norm(hidden + self.dropout(self.outer(self.activation(self.inner(hidden)))))
        return changed


class EncoderLayer(nn.Module):
    """Calibrated attention and a feed-forward block, each with residual connection and normalisation."""

    def __init__(self, config: TransformerOptions, calibration: CalibrationOptions, positions: int) -> None:
        super().__init__()
        self.attention = calibrated_self_attention(
            config.hidden_size,
            config.heads,
            max_length=positions,
            dropout=config.attention_dropout,
            published_faults=config.reproduce_published_faults,
            **calibration.attention_arguments(),
        )
        self.norm = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps)
        self.dropout = Dropout(config.hidden_dropout)
        self.feed_forward = FeedForward(config)

    def forward(
        self,
        hidden: Tensor,
        allowed: Tensor,
        positions: Tensor,
        *,
        rows: Tensor | None = None,
        relations: Relations | None = None,
        wanted: Pass = HIDDEN_STATES,
    ) -> LayerOutput:
        """Run the layer.

        Args:
            hidden: (batch, length, hidden).
            allowed: (batch, 1, queries, length) bool.
            positions: (batch or 1, queries) position of each query.
            rows: (batch, queries, hidden) hidden states of the queries; None means all of `hidden`.
            relations: positions and time intervals of the pairs, if the model uses them.
            wanted: what to return; the adversarial mask also covers the rows before `first_row`.
        """
        output = self.attention(
            hidden,
            allowed,
            positions,
            query_hidden=rows,
            first_query=wanted.first_row,
            relations=relations,
            perturb=wanted.perturb,
            keep_stages=wanted.keep_stages,
        )
        residual = hidden[:, wanted.first_row :] if rows is None else rows
        return LayerOutput(
            hidden=self._finish(residual, output.attended),
            perturbed=None if output.perturbed is None else self._finish(residual, output.perturbed),
            mask=output.mask,
            stages=output.stages,
        )

    def _finish(self, residual: Tensor, attended: Tensor) -> Tensor:
        hidden: Tensor = self.feed_forward(self.norm(residual + self.dropout(attended)))
        return hidden


class Encoder(nn.Module):
    """A stack of calibrated layers.

    Args:
        config: the model's settings.
        calibration: how the attention of its layers is calibrated.
        positions: maximum sequence length.
    """

    def __init__(self, config: TransformerOptions, calibration: CalibrationOptions, positions: int) -> None:
        super().__init__()
        self.layers = nn.ModuleList(EncoderLayer(config, calibration, positions) for _ in range(config.layers))

    def forward(
        self,
        hidden: Tensor,
        allowed: Tensor,
        *,
        relations: Relations | None = None,
        wanted: Pass = HIDDEN_STATES,
    ) -> Encoded:
        """Encode every position.

        Args:
            hidden: (batch, length, hidden) embedded items.
            allowed: (batch, 1, length, length) bool.
            relations: positions and time intervals of the pairs, if the model uses them.
            wanted: what to return. Only the last layer leaves out the rows before `first_row`: it returns
                (batch, length - first_row, hidden). Only the last layer has a perturbed stream, unless stages are kept:
                then every layer has its own.
        """
        positions = torch.arange(hidden.shape[1], device=hidden.device).unsqueeze(0)
        # No loss uses the perturbed streams of the layers below the last.
        below = replace(wanted, first_row=0, perturb=wanted.perturb and wanted.keep_stages)
        outputs: list[LayerOutput] = []
        for layer in self.layers:
            is_last = len(outputs) == len(self.layers) - 1
            output: LayerOutput = layer(
                hidden, allowed, positions, relations=relations, wanted=wanted if is_last else below
            )
            outputs.append(output)
            hidden = output.hidden
        return Encoded(
            hidden=hidden,
            perturbed=outputs[-1].perturbed,
            masks=tuple(output.mask for output in outputs if output.mask is not None),
            layers=tuple(outputs) if wanted.keep_stages else (),
        )

    def encode_last(
        self, hidden: Tensor, allowed: Tensor, last: Tensor, *, relations: Relations | None = None
    ) -> Tensor:
        """Hidden state of one position per sequence; the last layer computes nothing else.

        Args:
            hidden: (batch, length, hidden) embedded items.
            allowed: (batch, 1, length, length) bool.
            last: (batch,) the position to return.
            relations: positions and time intervals of the pairs, if the model uses them.

        Returns:
            (batch, hidden).
        """
        positions = torch.arange(hidden.shape[1], device=hidden.device).unsqueeze(0)
        for layer in self.layers[:-1]:
            hidden = layer(hidden, allowed, positions, relations=relations).hidden
        batch = torch.arange(len(hidden), device=hidden.device)
        rows = hidden[batch, last].unsqueeze(1)  # (batch, 1, hidden)
        allowed_last = allowed[batch, :, last].unsqueeze(2)  # (batch, 1, 1, length)
        last_relations = None if relations is None else relations.rows(last)
        output: LayerOutput = self.layers[-1](
            hidden, allowed_last, last.unsqueeze(1), rows=rows, relations=last_relations
        )
        return output.hidden[:, 0]
