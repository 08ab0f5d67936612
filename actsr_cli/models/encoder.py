"""The transformer encoder of every backbone with attention: calibrated layers with post-normalisation."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from actsr_cli.attention import (
    AttentionStages,
    CalibratedSelfAttention,
    Dropout,
    Pairs,
    Relations,
    attend_packed,
    calibrated_self_attention,
    reads_padding,
)
from actsr_cli.config import CalibrationOptions
from actsr_cli.config.models import EncoderOptions
from actsr_cli.models.filters import sequence_filter
from actsr_cli.packing import Packing

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
        hidden: (attending, hidden) hidden states under the calibrated attention: the next layer's input.
        perturbed: (attending, hidden) hidden states under the perturbed attention, or None.
        squares: (queries,) sum of M² - 2M of the adversarial mask, see `PackedOutput`, or None.
        stages: every stage of the attention, padded, if stages are kept.
    """

    hidden: Tensor
    perturbed: Tensor | None
    squares: Tensor | None
    stages: AttentionStages | None


@dataclass(frozen=True)
class Pass:
    """What one pass over a batch returns.

    Attributes:
        rows: (rows,) int64 the tokens whose hidden states are returned, in ascending order. None means all.
        train: also return the perturbed stream and the squares of all masks, which train the adversary if there is one.
            Without it, the last layer computes nothing but `rows`.
        keep_stages: also return every layer's hidden states and the stages of its attention.
    """

    rows: Tensor | None = None
    train: bool = False
    keep_stages: bool = False


HIDDEN_STATES = Pass()
"""Hidden states of every token, and nothing else."""


@dataclass(frozen=True)
class Encoded:
    """What an encoder returns.

    Attributes:
        hidden: (rows, hidden) the stream that predictions are made from.
        perturbed: (rows, hidden) the last layer's perturbed stream, or None.
        squares: one (tokens,) sum of M² - 2M per layer, see `PackedOutput`; empty unless the pass trains an adversary.
        layers: every layer's output with its stages, if stages are kept.
    """

    hidden: Tensor
    perturbed: Tensor | None = None
    squares: tuple[Tensor, ...] = ()
    layers: tuple[LayerOutput, ...] = ()


class FeedForward(nn.Module):
    """Two affine maps with an activation between them, residual connection and layer normalisation."""

    def __init__(self, config: EncoderOptions) -> None:
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


class SwiGLU(nn.Module):
    """A feed-forward block with a gate between its affine maps (Shazeer, GLU Variants Improve Transformer, 2020)."""

    def __init__(self, config: EncoderOptions) -> None:
        super().__init__()
        self.gate = nn.Linear(config.hidden_size, config.inner_size)
        self.inner = nn.Linear(config.hidden_size, config.inner_size)
        self.outer = nn.Linear(config.inner_size, config.hidden_size)

    def forward(self, hidden: Tensor) -> Tensor:
        """(..., hidden) to (..., hidden)."""
        changed: Tensor = self.outer(F.silu(self.gate(hidden)) * self.inner(hidden))
        return changed


class EncoderLayer(nn.Module):
    """Calibrated attention and a feed-forward block, each with residual connection and normalisation."""

    def __init__(
        self, config: EncoderOptions, calibration: CalibrationOptions, positions: int, *, causal: bool
    ) -> None:
        super().__init__()
        self.attention = calibrated_self_attention(
            config.hidden_size,
            config.heads,
            max_length=positions,
            dropout=config.attention_dropout,
            published_faults=config.reproduce_published_faults,
            **calibration.attention_arguments(),
        )
        self.filter = sequence_filter(config, causal=causal)
        self.norm = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps)
        self.dropout = Dropout(config.hidden_dropout)
        self.feed_forward: nn.Module = FeedForward(config)

    def forward(
        self, hidden: Tensor, pairs: Pairs, *, relations: Relations | None = None, wanted: Pass = HIDDEN_STATES
    ) -> LayerOutput:
        """Run the layer.

        Args:
            hidden: (tokens, hidden).
            pairs: the pairs that attention may use, and the tokens that are wanted.
            relations: positions and time intervals of the pairs, if the model uses them.
            wanted: what to return; its rows are those of `pairs`.
        """
        source = self._source(hidden)
        output = attend_packed(
            self.attention, source, pairs, relations=relations, perturb=wanted.train, keep_stages=wanted.keep_stages
        )
        rows = slice(None) if pairs.rows is None else pairs.rows
        filtered = None if self.filter is None else self.filter(source, pairs.packing)[rows]
        residual = hidden[rows]
        return LayerOutput(
            hidden=self._finish(residual, output.attended, filtered),
            perturbed=None if output.perturbed is None else self._finish(residual, output.perturbed, filtered),
            squares=output.squares,
            stages=output.stages,
        )

    def _source(self, hidden: Tensor) -> Tensor:
        """What attention and filter read, (tokens, hidden)."""
        return hidden

    def _finish(self, residual: Tensor, attended: Tensor, filtered: Tensor | None = None) -> Tensor:
        """From the layer's input and the attended values to its output, (attending, hidden) each."""
        if self.filter is not None and filtered is not None:
            attended = self.filter.mix(attended, filtered)
        return self._add(residual, attended)

    def _add(self, residual: Tensor, attended: Tensor) -> Tensor:
        hidden: Tensor = self.feed_forward(self.norm(residual + self.dropout(attended)))
        return hidden


class GatedLayer(EncoderLayer):
    """A layer that normalises what its blocks read, and gates what they add.

    x + σ(affine map of x) · block(norm(x)), with `SwiGLU` as the feed-forward block (LiGR: Borisyuk et al., From
    Features to Transformers, 2025, section 3.2; Tikhonovich et al., eSASRec, RecSys 2025).
    """

    def __init__(
        self, config: EncoderOptions, calibration: CalibrationOptions, positions: int, *, causal: bool
    ) -> None:
        super().__init__(config, calibration, positions, causal=causal)
        self.feed_forward = SwiGLU(config)
        self.feed_norm = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps)
        self.attention_gate = nn.Linear(config.hidden_size, config.hidden_size)
        self.feed_gate = nn.Linear(config.hidden_size, config.hidden_size)

    def _source(self, hidden: Tensor) -> Tensor:
        normed: Tensor = self.norm(hidden)
        return normed

    def _add(self, residual: Tensor, attended: Tensor) -> Tensor:
        hidden: Tensor = residual + torch.sigmoid(self.attention_gate(residual)) * self.dropout(attended)
        fed: Tensor = self.dropout(self.feed_forward(self.feed_norm(hidden)))
        output: Tensor = hidden + torch.sigmoid(self.feed_gate(hidden)) * fed
        return output


class Encoder(nn.Module):
    """A stack of calibrated layers.

    Args:
        config: the model's settings.
        calibration: how the attention of its layers is calibrated.
        positions: maximum sequence length.
        causal: no token reads later ones.
    """

    def __init__(
        self, config: EncoderOptions, calibration: CalibrationOptions, positions: int, *, causal: bool
    ) -> None:
        super().__init__()
        self.causal = causal
        gated = config.residual == "gated"
        layer = GatedLayer if gated else EncoderLayer
        self.layers = nn.ModuleList(layer(config, calibration, positions, causal=causal) for _ in range(config.layers))
        # A gated layer leaves its output as it is.
        self.norm = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps) if gated else nn.Identity()

    def reads_padding(self, wanted: Pass) -> bool:
        """Whether a layer attends to padding, see `actsr_cli.attention.reads_padding`."""
        attentions = [module for module in self.modules() if isinstance(module, CalibratedSelfAttention)]
        return any(reads_padding(each, perturb=wanted.train) for each in attentions)

    def forward(
        self,
        hidden: Tensor,
        packing: Packing,
        *,
        relations: Relations | None = None,
        real_lengths: Tensor | None = None,
        wanted: Pass = HIDDEN_STATES,
    ) -> Encoded:
        """Encode a batch.

        Args:
            hidden: (tokens, hidden) embedded items.
            packing: the sequences.
            relations: positions and time intervals of the pairs, if the model uses them.
            real_lengths: see `Pairs`.
            wanted: what to return. Only the last layer has a perturbed stream, unless stages are kept: then every layer
                has its own.
        """
        all_pairs = last_pairs = Pairs(packing, self.causal, real_lengths=real_lengths)
        if wanted.rows is not None and not packing.is_all(wanted.rows):
            last_pairs = replace(all_pairs, rows=wanted.rows, only_rows=not wanted.train)
        below = replace(wanted, train=wanted.train and wanted.keep_stages)  # no loss uses perturbed streams there
        outputs: list[LayerOutput] = []
        for layer in self.layers:
            is_last = len(outputs) == len(self.layers) - 1
            pairs = last_pairs if is_last else all_pairs
            output: LayerOutput = layer(hidden, pairs, relations=relations, wanted=wanted if is_last else below)
            outputs.append(output)
            hidden = output.hidden
        perturbed = outputs[-1].perturbed
        return Encoded(
            hidden=self.norm(hidden),
            perturbed=None if perturbed is None else self.norm(perturbed),
            squares=tuple(output.squares for output in outputs if output.squares is not None) if wanted.train else (),
            layers=tuple(outputs) if wanted.keep_stages else (),
        )
