"""The transformer encoder behind every attentive backbone: calibrated layers, post-normalised."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

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
        combined: (batch, queries, hidden) hidden states under the combined attention: the next layer's input.
        perturbed: (batch, queries, hidden) hidden states under the perturbed attention, or None.
        mask: (batch, heads, queries, length) adversarial mask, or None.
        stages: every stage of the attention where a trace was asked for.
    """

    combined: Tensor
    perturbed: Tensor | None
    mask: Tensor | None
    stages: AttentionStages | None


@dataclass(frozen=True)
class Encoded:
    """What an encoder returns.

    Attributes:
        hidden: (batch, rows, hidden) the stream that predictions are made from.
        perturbed: (batch, rows, hidden) the last layer's perturbed stream, or None.
        masks: one adversarial mask (batch, heads, length, length) per layer; empty without that calibrator.
        trace: every layer's output with its stages, where a trace was asked for.
    """

    hidden: Tensor
    perturbed: Tensor | None = None
    masks: tuple[Tensor, ...] = ()
    trace: tuple[LayerOutput, ...] = ()


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
        first_row: int = 0,
        relations: Relations | None = None,
        perturb: bool = False,
        noise: Tensor | None = None,
        trace: bool = False,
    ) -> LayerOutput:
        """One layer.

        Args:
            hidden: (batch, length, hidden).
            allowed: (batch, 1, queries, length) bool.
            positions: (batch or 1, queries) position of each query.
            rows: (batch, queries, hidden) hidden states of the queries; None means all of `hidden`.
            first_row: rows before it are not wanted; their adversarial mask is computed all the same.
            relations: positions and time intervals of the pairs, where the model has them.
            perturb: also return the perturbed stream.
            noise: noise for the perturbation; drawn where it is None.
            trace: also return the stages of the attention.
        """
        attended = self.attention(
            hidden,
            allowed,
            positions,
            query_hidden=rows,
            first_query=first_row,
            relations=relations,
            perturb=perturb,
            noise=noise,
            keep_stages=trace,
        )
        residual = hidden[:, first_row:] if rows is None else rows
        return LayerOutput(
            combined=self._finish(residual, attended.combined),
            perturbed=None if attended.perturbed is None else self._finish(residual, attended.perturbed),
            mask=attended.mask,
            stages=attended.stages,
        )

    def _finish(self, residual: Tensor, attended: Tensor) -> Tensor:
        hidden: Tensor = self.feed_forward(self.norm(residual + self.dropout(attended)))
        return hidden


class Encoder(nn.Module):
    """A stack of calibrated layers.

    Args:
        config: the model's settings.
        calibration: how the attention of its layers is calibrated.
        positions: longest sequence that the encoder can see.
    """

    def __init__(self, config: TransformerOptions, calibration: CalibrationOptions, positions: int) -> None:
        super().__init__()
        self.layers = nn.ModuleList(EncoderLayer(config, calibration, positions) for _ in range(config.layers))

    def forward(
        self,
        hidden: Tensor,
        allowed: Tensor,
        *,
        first_row: int = 0,
        relations: Relations | None = None,
        perturb: bool = False,
        noise: Sequence[Tensor] | None = None,
        trace: bool = False,
    ) -> Encoded:
        """Encode every position.

        Args:
            hidden: (batch, length, hidden) embedded items.
            allowed: (batch, 1, length, length) bool.
            first_row: rows before it are only context: the last layer returns (batch, length - first_row, hidden).
            relations: positions and time intervals of the pairs, where the model has them.
            perturb: also return the last layer's perturbed stream (a trace has every layer's).
            noise: one (batch, heads, length, length) noise per layer; drawn where it is None.
            trace: keep every layer's attention stages and hidden states.
        """
        positions = torch.arange(hidden.shape[1], device=hidden.device).unsqueeze(0)
        outputs: list[LayerOutput] = []
        for index, layer in enumerate(self.layers):
            is_last = index == len(self.layers) - 1
            output: LayerOutput = layer(
                hidden,
                allowed,
                positions,
                first_row=first_row if is_last else 0,
                relations=relations,
                perturb=perturb and (trace or is_last),  # the others' perturbed streams lead nowhere
                noise=None if noise is None else noise[index],
                trace=trace,
            )
            outputs.append(output)
            hidden = output.combined
        return Encoded(
            hidden=hidden,
            perturbed=outputs[-1].perturbed,
            masks=tuple(output.mask for output in outputs if output.mask is not None),
            trace=tuple(outputs) if trace else (),
        )

    def encode_last(
        self, hidden: Tensor, allowed: Tensor, last: Tensor, *, relations: Relations | None = None
    ) -> Tensor:
        """Hidden state of one position per sequence; the last layer computes nothing else.

        Args:
            hidden: (batch, length, hidden) embedded items.
            allowed: (batch, 1, length, length) bool.
            last: (batch,) the position that is wanted.
            relations: positions and time intervals of the pairs, where the model has them.

        Returns:
            (batch, hidden).
        """
        positions = torch.arange(hidden.shape[1], device=hidden.device).unsqueeze(0)
        for layer in self.layers[:-1]:
            hidden = layer(hidden, allowed, positions, relations=relations).combined
        batch = torch.arange(len(hidden), device=hidden.device)
        rows = hidden[batch, last].unsqueeze(1)  # (batch, 1, hidden)
        allowed_last = allowed[batch, :, last].unsqueeze(2)  # (batch, 1, 1, length)
        last_relations = None if relations is None else relations.rows(last)
        output: LayerOutput = self.layers[-1](
            hidden, allowed_last, last.unsqueeze(1), rows=rows, relations=last_relations
        )
        return output.combined[:, 0]
