"""Calibrated attention with the interface of `torch.nn.MultiheadAttention`, for anybody's encoder."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from einops import rearrange
from torch import Tensor, nn

from actsr_cli.attention.calibrated import AttentionOutput, Calibration, calibrated_self_attention
from actsr_cli.attention.objective import Losses, split_parameters


class CalibratedAttention(nn.Module):
    """Self-attention that takes the place of `torch.nn.MultiheadAttention` and calibrates its weights (AC-TSR).

    It is called like the original for self-attention, so that it also fits into `torch.nn.TransformerEncoderLayer` as
    its `self_attn`. A model with it is trained by `calibration_losses`.

    Args:
        embed_dim: width of input and output.
        num_heads: number of heads; divides `embed_dim`.
        dropout: dropout on attention weights and on the adversarial mask.
        batch_first: tensors are (batch, length, embed_dim) in place of (length, batch, embed_dim).
        device: where the parameters lie.
        dtype: their type.
        max_length: longest sequence that it can see.
        calibration: `none`, `spatial`, `adversarial`, or `full` for both calibrators.
        **options: the calibrators' other settings, see `calibrated_self_attention`.
    """

    in_proj_bias = None
    _qkv_same_embed_dim = False
    """`torch.nn.TransformerEncoderLayer` reads these two, and then leaves its fused path alone."""

    @property
    def in_proj_weight(self) -> Tensor:
        """Asked for by the fused path of a `torch.nn.TransformerEncoder` that was built around another attention."""
        raise RuntimeError("a TransformerEncoder over CalibratedAttention needs enable_nested_tensor=False")

    def __init__(
        self,
        embed_dim: int,
        num_heads: int,
        dropout: float = 0.0,
        *,
        batch_first: bool = False,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
        max_length: int,
        calibration: Calibration = "full",
        **options: Any,
    ) -> None:
        super().__init__()
        self.embed_dim, self.num_heads = embed_dim, num_heads
        self.batch_first = batch_first
        self.max_length = max_length
        self.attention = calibrated_self_attention(
            embed_dim, num_heads, max_length=max_length, calibration=calibration, dropout=dropout, **options
        ).to(device=device, dtype=dtype)
        self._pass: _Pass | None = None

    def forward(
        self,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        key_padding_mask: Tensor | None = None,
        need_weights: bool = True,
        attn_mask: Tensor | None = None,
        average_attn_weights: bool = True,
        is_causal: bool = False,
    ) -> tuple[Tensor, Tensor | None]:
        """Attend.

        Args:
            query: (batch, length, embed_dim), or (length, batch, embed_dim) without `batch_first`.
            key: the same tensor as `query`.
            value: the same tensor as `query`.
            key_padding_mask: (batch, length), True or -inf at padding.
            need_weights: also return the combined attention weights.
            attn_mask: (length, length) or (batch × heads, length, length), True or -inf where attention is forbidden.
            average_attn_weights: return the mean over heads.
            is_causal: no query sees a later key, with or without an `attn_mask` that says so.

        Returns:
            Attended values in the shape of `query`; attention weights (batch, length, length), by head
            (batch, heads, length, length), or None.

        Raises:
            ValueError: this is no self-attention, or a sequence or mask has a shape that does not fit.
        """
        if key is not query or value is not query:
            raise ValueError("calibrated attention is self-attention: query, key and value must be one tensor")
        if query.dim() != 3:
            raise ValueError(f"query must have three dimensions, not {query.dim()}")
        hidden = query if self.batch_first else rearrange(query, "l b d -> b l d")
        length = hidden.shape[1]
        if length > self.max_length:
            raise ValueError(f"a sequence of {length} is longer than max_length {self.max_length}")
        allowed = self._allowed(len(hidden), length, hidden.device, key_padding_mask, attn_mask, is_causal)
        kept = self._pass
        output: AttentionOutput = self.attention(
            hidden,
            allowed,
            torch.arange(length, device=hidden.device).unsqueeze(0),
            perturb=kept is not None and kept.perturb,
            noise=None if kept is None else kept.noise,
            keep_stages=need_weights or (kept is not None and kept.keep_stages),
        )
        attended = output.combined if output.perturbed is None else output.perturbed
        if kept is not None:
            kept.add(output)
        if not self.batch_first:
            attended = rearrange(attended, "b l d -> l b d")
        if not need_weights or output.stages is None:
            return attended, None
        weights = output.stages.combined
        return attended, weights.mean(dim=1) if average_attn_weights else weights

    def _allowed(
        self,
        batch: int,
        length: int,
        device: torch.device,
        key_padding_mask: Tensor | None,
        attn_mask: Tensor | None,
        is_causal: bool,
    ) -> Tensor:
        """(batch, 1 or heads, length, length) bool."""
        allowed = torch.ones(batch, 1, length, length, dtype=torch.bool, device=device)
        if is_causal:
            allowed = allowed.tril()
        if key_padding_mask is not None:
            allowed = allowed & ~rearrange(_forbidden(key_padding_mask), "b k -> b 1 1 k")
        if attn_mask is None:
            return allowed
        forbidden = _forbidden(attn_mask)
        if forbidden.dim() == 2:
            return allowed & ~forbidden
        return allowed & ~rearrange(forbidden, "(b h) q k -> b h q k", h=self.num_heads)


class _Pass:
    """What forward passes shall do in an attention, and what they left there.

    Inside another, that one's wishes hold, too, and it also hears of the outputs.
    """

    def __init__(
        self, outer: _Pass | None, *, perturb: bool, keep_stages: bool = False, noise: Tensor | None = None
    ) -> None:
        self.outer = outer
        self.perturb: bool = perturb or (outer is not None and outer.perturb)
        self.keep_stages: bool = keep_stages or (outer is not None and outer.keep_stages)
        self.noise: Tensor | None = outer.noise if noise is None and outer is not None else noise
        self.outputs: list[AttentionOutput] = []

    def add(self, output: AttentionOutput) -> None:
        self.outputs.append(output)
        if self.outer is not None:
            self.outer.add(output)


@contextmanager
def recorded(
    model: nn.Module, *, perturb: bool = False, keep_stages: bool = False, noise: Sequence[Tensor] | None = None
) -> Iterator[Callable[[], list[AttentionOutput]]]:
    """Within this context a forward pass keeps what each `CalibratedAttention` of a model computes.

    Args:
        model: the model.
        perturb: let the last `CalibratedAttention` with an adversary (in the order of `model.modules()`) pass its
            perturbed stream on.
        keep_stages: keep every stage of the attention.
        noise: noise of each attention's perturbation; drawn where it is None.

    Yields:
        A function that returns what the attentions have put out, in the order of `model.modules()`.
    """
    attentions = [module for module in model.modules() if isinstance(module, CalibratedAttention)]
    adversaries = [index for index, module in enumerate(attentions) if module.attention.adversarial is not None]
    passes = [
        _Pass(
            attention._pass,
            perturb=perturb and index == max(adversaries, default=None),
            keep_stages=keep_stages,
            noise=None if noise is None else noise[index],
        )
        for index, attention in enumerate(attentions)
    ]
    for attention, kept in zip(attentions, passes, strict=True):
        attention._pass = kept
    try:
        yield lambda: [output for kept in passes for output in kept.outputs]
    finally:
        for attention, kept in zip(attentions, passes, strict=True):
            attention._pass = kept.outer


def calibration_losses(model: nn.Module, compute_loss: Callable[[], Tensor], *, mask_weight: float = 0.03) -> Losses:
    """Both objectives of a model that attends with `CalibratedAttention`; send them back by `split_parameters`.

    The model runs once as it is and, where it has an adversary, once more with the perturbed attention in the last
    layer that has one. The mask penalty counts every (query, key) entry of the batch.

    Args:
        model: the model.
        compute_loss: runs the model on a batch and returns its prediction loss, a scalar.
        mask_weight: the weight λ of the mask penalty.

    Returns:
        The losses; `split_parameters(model).backward(losses)` adds each gradient where it belongs.

    Raises:
        ValueError: no attention with an adversary ran.
    """
    with recorded(model) as outputs:
        combined = compute_loss()
        masks = [output.mask for output in outputs() if output.mask is not None]
    if not split_parameters(model).adversary:
        return Losses(combined)
    if not masks:
        raise ValueError("compute_loss did not run an attention of this model that has an adversary")
    with recorded(model, perturb=True):
        perturbed = compute_loss()
    penalty = torch.stack([(1 - mask.float()).norm() for mask in masks]).mean()
    return Losses(combined, perturbed, penalty, mask_weight * penalty - perturbed)


def _forbidden(mask: Tensor) -> Tensor:
    """A mask as bool, True where attention is forbidden."""
    if mask.dtype == torch.bool:
        return mask
    forbidden = mask == -torch.inf
    if not bool((forbidden | (mask == 0)).all()):
        raise ValueError("a mask of numbers may only hold 0 and -inf: calibrated attention has no other biases")
    return forbidden
