"""Calibrated attention with the interface of `torch.nn.MultiheadAttention`, for any encoder."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from einops import rearrange
from torch import Tensor, nn

from actsr_cli.attention.calibrated import calibrated_self_attention
from actsr_cli.attention.objective import Losses, split_parameters
from actsr_cli.attention.stages import AttentionOutput


class CalibratedAttention(nn.Module):
    """Self-attention that replaces `torch.nn.MultiheadAttention` and calibrates its weights (AC-TSR).

    It is called like the original for self-attention, so it also works as the `self_attn` of a
    `torch.nn.TransformerEncoderLayer`. Train a model that contains it with `calibration_losses`.

    Args:
        embed_dim: width of input and output.
        num_heads: number of heads; divides `embed_dim`.
        dropout: dropout on attention weights and on the adversarial mask.
        batch_first: tensors are (batch, length, embed_dim) instead of (length, batch, embed_dim).
        device: device of the parameters.
        dtype: type of the parameters.
        max_length: maximum sequence length.
        **settings: which calibrators it has (both by default) and how they work, see `CalibrationSettings`.
    """

    in_proj_bias = None
    _qkv_same_embed_dim = False
    """`torch.nn.TransformerEncoderLayer` reads these two, and then does not use its fused path."""

    @property
    def in_proj_weight(self) -> Tensor:
        """Read by the fused path of a `torch.nn.TransformerEncoder` that was built with another attention."""
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
        **settings: Any,
    ) -> None:
        super().__init__()
        self.embed_dim, self.num_heads = embed_dim, num_heads
        self.batch_first = batch_first
        self.max_length = max_length
        self.attention = calibrated_self_attention(
            embed_dim, num_heads, max_length=max_length, dropout=dropout, **settings
        ).to(device=device, dtype=dtype)
        self._recording: _Recording | None = None

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
        """Compute calibrated self-attention.

        Args:
            query: (batch, length, embed_dim), or (length, batch, embed_dim) without `batch_first`.
            key: the same tensor as `query`.
            value: the same tensor as `query`.
            key_padding_mask: (batch, length), True or -inf at padding.
            need_weights: also return the calibrated attention weights.
            attn_mask: (length, length) or (batch × heads, length, length), True or -inf where attention is forbidden.
            average_attn_weights: return the mean over heads.
            is_causal: forbid later keys, with or without an `attn_mask` that does so.

        Returns:
            Attended values in the shape of `query`, and attention weights: (batch, length, length), or per head
            (batch, heads, length, length), or None.

        Raises:
            ValueError: this is not self-attention, or a sequence or mask has a wrong shape or value.
        """
        if key is not query or value is not query:
            raise ValueError("calibrated attention is self-attention: query, key and value must be one tensor")
        if query.dim() != 3:
            raise ValueError(f"query must have three dimensions, not {query.dim()}")
        hidden = query if self.batch_first else rearrange(query, "l b d -> b l d")
        length = hidden.shape[1]
        if length > self.max_length:
            raise ValueError(f"a sequence of {length} is longer than max_length {self.max_length}")
        allowed = self._allowed(hidden.shape[0], length, hidden.device, key_padding_mask, attn_mask, is_causal)
        recording = self._recording
        output: AttentionOutput = self.attention(
            hidden,
            allowed,
            perturb=recording is not None and recording.perturb,
            keep_stages=need_weights or (recording is not None and recording.keep_stages),
        )
        attended = output.attended if output.perturbed is None else output.perturbed
        if recording is not None:
            recording.add(output)
        if not self.batch_first:
            attended = rearrange(attended, "b l d -> l b d")
        if not need_weights or output.stages is None:
            return attended, None
        weights = output.stages.calibrated
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


class _Recording:
    """Options of the forward passes of one attention, and their outputs.

    Recordings nest: an option that an outer one has set stays on, and the outer one also gets the outputs.
    """

    def __init__(self, outer: _Recording | None, *, perturb: bool, keep_stages: bool) -> None:
        self.outer = outer
        self.perturb: bool = perturb or (outer is not None and outer.perturb)
        self.keep_stages: bool = keep_stages or (outer is not None and outer.keep_stages)
        self.outputs: list[AttentionOutput] = []

    def add(self, output: AttentionOutput) -> None:
        self.outputs.append(output)
        if self.outer is not None:
            self.outer.add(output)


@contextmanager
def recorded(
    model: nn.Module, *, perturb: bool = False, keep_stages: bool = False
) -> Iterator[Callable[[], list[AttentionOutput]]]:
    """Within this context, record the outputs of each `CalibratedAttention` of a model.

    Args:
        model: the model.
        perturb: let the last `CalibratedAttention` with an adversary (in the order of `model.modules()`) return its
            perturbed stream.
        keep_stages: keep every stage of the attention.

    Yields:
        A function that returns the recorded outputs, in the order of `model.modules()`.
    """
    attentions = [module for module in model.modules() if isinstance(module, CalibratedAttention)]
    adversaries = [index for index, module in enumerate(attentions) if module.attention.adversarial is not None]
    last = max(adversaries, default=None)
    recordings = [
        _Recording(attention._recording, perturb=perturb and index == last, keep_stages=keep_stages)
        for index, attention in enumerate(attentions)
    ]
    for attention, recording in zip(attentions, recordings, strict=True):
        attention._recording = recording
    try:
        yield lambda: [output for recording in recordings for output in recording.outputs]
    finally:
        for attention, recording in zip(attentions, recordings, strict=True):
            attention._recording = recording.outer


def calibration_losses(model: nn.Module, compute_loss: Callable[[], Tensor], *, mask_weight: float = 0.03) -> Losses:
    """Compute both objectives of a model that attends with `CalibratedAttention`.

    The model runs once as it is. If it has an adversary, it runs once more with the perturbed attention in the last
    layer that has one. The mask penalty counts every (query, key) entry of the batch.

    Args:
        model: the model.
        compute_loss: runs the model on a batch and returns its prediction loss, a scalar.
        mask_weight: the weight λ of the mask penalty.

    Returns:
        The losses; `split_parameters(model).backward(losses)` adds each gradient to its own parameters.

    Raises:
        ValueError: the model has an adversary, but no attention with one ran.
    """
    with recorded(model) as outputs:
        calibrated = compute_loss()
        masks = [output.mask for output in outputs() if output.mask is not None]
    if not split_parameters(model).adversary:
        return Losses(calibrated)
    if not masks:
        raise ValueError("compute_loss did not run an attention of this model that has an adversary")
    with recorded(model, perturb=True):
        perturbed = compute_loss()
    penalty = torch.stack([(1 - mask.float()).norm() for mask in masks]).mean()
    return Losses(calibrated, perturbed, penalty, mask_weight * penalty - perturbed)


def _forbidden(mask: Tensor) -> Tensor:
    """A mask as bool, True where attention is forbidden."""
    if mask.dtype == torch.bool:
        return mask
    forbidden = mask == -torch.inf
    if not bool((forbidden | (mask == 0)).all()):
        raise ValueError("a mask of numbers may only hold 0 and -inf: calibrated attention has no other biases")
    return forbidden
