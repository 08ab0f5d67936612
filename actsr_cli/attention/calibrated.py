"""Multi-head attention with one calibrator, both or none."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any, Literal

import torch
from einops import rearrange
from torch import Tensor, nn

from actsr_cli.attention.adversarial import AdversarialCalibrator, Combine
from actsr_cli.attention.draws import Draws
from actsr_cli.attention.dropout import dropout
from actsr_cli.attention.intervals import Relations
from actsr_cli.attention.masks import Renorm, masked_softmax
from actsr_cli.attention.spatial import SpatialCalibrator
from actsr_cli.attention.stages import AttentionOutput, AttentionStages, Stage

Calibration = Literal["none", "spatial", "adversarial", "full"]
RichCombine = Literal["fixed", "trainable"]


class CalibratedSelfAttention(nn.Module):
    """Multi-head self-attention with an optional spatial and an optional adversarial calibrator.

    Args:
        hidden_size: width of input and output.
        heads: number of heads; divides `hidden_size`.
        spatial: the spatial calibrator, or None.
        adversarial: the adversarial calibrator, or None.
        dropout: dropout on attention weights and on the adversarial mask.
        two_level: apply the adversarial calibrator to the spatially calibrated attention. If off, apply it to the plain
            attention and mix the result with the spatially calibrated one. Used only if there are both calibrators.
        rich_combine: the adversarial side's share in that mixture: one half (`fixed`) or learned (`trainable`).

    Attributes:
        attends_with: the stage that the layer attends with; see `attending_with`.
    """

    def __init__(
        self,
        hidden_size: int,
        heads: int,
        *,
        spatial: SpatialCalibrator | None = None,
        adversarial: AdversarialCalibrator | None = None,
        dropout: float = 0.0,
        two_level: bool = True,
        rich_combine: RichCombine = "fixed",
    ) -> None:
        super().__init__()
        if hidden_size % heads:
            raise ValueError(f"hidden_size {hidden_size} is not a multiple of heads {heads}")
        self.heads = heads
        self.scale = (hidden_size // heads) ** -0.5
        self.dropout = dropout
        self.query = nn.Linear(hidden_size, hidden_size)
        self.key = nn.Linear(hidden_size, hidden_size)
        self.value = nn.Linear(hidden_size, hidden_size)
        self.output = nn.Linear(hidden_size, hidden_size)
        self.spatial = spatial
        self.adversarial = adversarial
        self.side_by_side = not two_level and spatial is not None and adversarial is not None
        learned = self.side_by_side and rich_combine == "trainable"
        self.adversarial_share = nn.Parameter(torch.tensor([0.5])) if learned else None
        self.attends_with: Stage = "calibrated"

    def forward(
        self,
        hidden: Tensor,
        allowed: Tensor,
        *,
        relations: Relations | None = None,
        perturb: bool = False,
        keep_stages: bool = False,
        draws: Draws | None = None,
    ) -> AttentionOutput:
        """Compute attention from every position to all allowed ones.

        Args:
            hidden: (batch, length, hidden_size) hidden states.
            allowed: (batch, 1 or heads, length, length) bool, see `allowed_pairs`.
            relations: positions and time intervals of the pairs, if the model uses them.
            perturb: also return the perturbed stream.
            keep_stages: also return every stage of the attention.
            draws: random numbers, (batch, heads, length, length) each; drawn here if None.

        Returns:
            The attended streams, before residual connection and normalisation.
        """
        queries, keys = self.query(hidden), self.key(hidden)
        draws = Draws() if draws is None else draws
        mask = None
        if self.adversarial is not None:
            mask = self._drop(self.adversarial.mask(queries, keys, allowed), draws.mask)
        values = self.value(hidden) if relations is None else self.value(hidden) + relations.value_positions
        values = self._split_heads(values)
        scores = self._scores(queries, keys, relations)
        keep_plain = keep_stages or self.attends_with == "plain"
        plain, spatial, target = self._calibrate_in_space(scores, queries, keys, allowed, draws, keep_plain=keep_plain)
        weights = AttentionStages(plain, spatial, None, None, None, calibrated=target)
        if self.adversarial is not None and mask is not None:
            perturbed = self.adversarial.perturb(target, mask, allowed, draws.noise) if perturb else None
            adversarial = self.adversarial.calibrate(target, mask, queries, allowed)
            calibrated = self._mix(adversarial, spatial) if self.side_by_side and spatial is not None else adversarial
            weights = AttentionStages(plain, spatial, mask, perturbed, adversarial, calibrated)
        weights = self._attending(weights)
        if keep_stages:
            weights = self._with_readings(weights, queries, keys)
        return AttentionOutput(
            attended=self._attend(weights.calibrated, values, relations),
            perturbed=None if weights.perturbed is None else self._attend(weights.perturbed, values, relations),
            mask=mask,
            stages=weights if keep_stages else None,
        )

    def _scores(self, queries: Tensor, keys: Tensor, relations: Relations | None) -> Tensor:
        """(batch, heads, queries, keys) products q·k / √d, relations included."""
        if relations is not None:
            keys = keys + relations.key_positions
        queries, keys = self._split_heads(queries * self.scale), self._split_heads(keys)
        scores = queries @ rearrange(keys, "b h k d -> b h d k")
        return scores if relations is None else scores + relations.scores(queries)

    def _attending(self, stages: AttentionStages) -> AttentionStages:
        """The stages with `calibrated` set to the stage that `attends_with` names, or to an earlier one without it."""
        if self.attends_with == "calibrated":
            return stages
        earlier = stages.plain if self.attends_with == "plain" or stages.spatial is None else stages.spatial
        return stages if earlier is None else replace(stages, calibrated=earlier)

    def _with_readings(self, stages: AttentionStages, queries: Tensor, keys: Tensor) -> AttentionStages:
        """The stages with the calibrators' readings of queries and keys, which are both (batch, positions, hidden)."""
        order = distance = gate = None
        if self.spatial is not None:
            order, distance = self.spatial.readings(self._split_heads(queries), self._split_heads(keys))
        if self.adversarial is not None and self.adversarial.gate is not None:
            gate = self.adversarial.gate_shares(queries, keys.shape[1])
        return replace(stages, order=order, distance=distance, gate=gate)

    def _calibrate_in_space(
        self, scores: Tensor, queries: Tensor, keys: Tensor, allowed: Tensor, draws: Draws, *, keep_plain: bool
    ) -> tuple[Tensor | None, Tensor | None, Tensor]:
        """Plain attention, spatially calibrated attention, and the one that the adversarial calibrator works on."""
        queries, keys = self._split_heads(queries), self._split_heads(keys)
        if self.spatial is None:
            plain = self._drop(masked_softmax(scores, allowed), draws.attention)
            return plain, None, plain
        calibrated_scores = self.spatial(scores, queries, keys, self.scale)
        spatial = self._drop(masked_softmax(calibrated_scores, allowed), draws.attention)
        if not (self.side_by_side or keep_plain):
            return None, spatial, spatial
        plain = self._drop(masked_softmax(scores, allowed), draws.plain)
        return plain, spatial, plain if self.side_by_side else spatial

    def _split_heads(self, hidden: Tensor) -> Tensor:
        return rearrange(hidden, "b l (h d) -> b h l d", h=self.heads)

    def _attend(self, attention: Tensor, values: Tensor, relations: Relations | None) -> Tensor:
        attended = attention @ values
        if relations is not None:
            attended = attended + relations.values(attention)
        output: Tensor = self.output(rearrange(attended, "b h q d -> b q (h d)"))
        return output

    def _drop(self, weights: Tensor, factors: Tensor | None) -> Tensor:
        if factors is not None:
            return weights * factors.to(weights.dtype)
        return dropout(weights, self.dropout, self.training)

    def _mix(self, adversarial: Tensor, spatial: Tensor) -> Tensor:
        share = 0.5 if self.adversarial_share is None else self.adversarial_share
        return share * adversarial + (1 - share) * spatial


@contextmanager
def attending_with(model: nn.Module, stage: Stage) -> Iterator[None]:
    """Within this context, let every calibrated attention of a model attend with an earlier stage of its weights.

    `plain` shows what the model would predict without its calibrators, with all other parameters unchanged.

    Args:
        model: any model; nothing changes if none of its attentions is calibrated.
        stage: `plain`, `spatial` (plain in a layer without a spatial calibrator), or `calibrated`, the default.
    """
    attentions = [module for module in model.modules() if isinstance(module, CalibratedSelfAttention)]
    before = [attention.attends_with for attention in attentions]
    for attention in attentions:
        attention.attends_with = stage
    try:
        yield
    finally:
        for attention, earlier in zip(attentions, before, strict=True):
            attention.attends_with = earlier


@dataclass(frozen=True)
class CalibrationSettings:
    """Which calibrators an attention has, and how they work.

    Attributes:
        calibration: `none`, `spatial`, `adversarial`, or `full` for both.
        use_order, use_distance: see `SpatialCalibrator`.
        combine, annealing_steps, renorm: see `AdversarialCalibrator`.
        two_level, rich_combine: see `CalibratedSelfAttention`.
        published_faults: reproduce the published code including its faults.
    """

    calibration: Calibration = "full"
    use_order: bool = True
    use_distance: bool = True
    combine: Combine = "gate"
    annealing_steps: int = 100_000
    renorm: Renorm = "sum"
    two_level: bool = True
    rich_combine: RichCombine = "fixed"
    published_faults: bool = False


def calibrated_self_attention(
    hidden_size: int, heads: int, *, max_length: int, dropout: float = 0.0, **settings: Any
) -> CalibratedSelfAttention:
    """Build an attention with the calibrators that the settings name.

    Args:
        hidden_size: width of input and output.
        heads: number of heads; divides `hidden_size`.
        max_length: maximum sequence length.
        dropout: see `CalibratedSelfAttention`.
        **settings: see `CalibrationSettings`.
    """
    chosen = CalibrationSettings(**settings)
    spatial = adversarial = None
    if chosen.calibration in ("spatial", "full"):
        spatial = SpatialCalibrator(
            hidden_size // heads,
            use_order=chosen.use_order,
            use_distance=chosen.use_distance,
            saturating=chosen.published_faults,
        )
    if chosen.calibration in ("adversarial", "full"):
        adversarial = AdversarialCalibrator(
            hidden_size,
            heads,
            max_length,
            combine=chosen.combine,
            annealing_steps=chosen.annealing_steps,
            renorm=chosen.renorm,
            published_faults=chosen.published_faults,
        )
    return CalibratedSelfAttention(
        hidden_size,
        heads,
        spatial=spatial,
        adversarial=adversarial,
        dropout=dropout,
        two_level=chosen.two_level,
        rich_combine=chosen.rich_combine,
    )
