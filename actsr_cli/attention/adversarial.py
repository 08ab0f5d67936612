"""The adversarial calibrator of AC-TSR: an adversary learns a mask, which shows the attention weights that matter."""

from __future__ import annotations

from typing import Literal

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn

from actsr_cli.attention.masks import Renorm, masked_softmax, renormalise

Combine = Literal["gate", "fixed", "annealing"]


class AdversarialCalibrator(nn.Module):
    """Learns a mask M over (query, key) pairs, and calibrates attention A with it.

    M = softmax(Q'K'ᵀ/√d), where Q' and K' are linear maps of the projected queries and keys. These maps are the
    adversary. They learn to raise the prediction loss under the perturbed attention A·M + ε(1 - M) while ‖1 - M‖ stays
    small, so M is small where attention matters. The reweighted attention C = renorm(A·exp(1 - M)) gives these pairs
    more weight.

    Args:
        hidden_size: width of all heads together.
        heads: number of heads.
        max_length: number of key positions; the gate has one slot for each.
        combine: how A and C are combined: `gate` is g·A + (1 - g)·C with a learned g, `fixed` is softmax(A + C/2), and
            in `annealing` the share of A decays as exp(-step / annealing_steps).
        annealing_steps: optimiser steps until the share of A has decayed to 1/e.
        renorm: how each result becomes a distribution again, see `renormalise`.
        published_faults: include forbidden keys where the published code does: in the first softmax of `fixed`, and
            with `renorm: none` in the perturbed attention, which then has noise at later keys and at padding.
    """

    def __init__(
        self,
        hidden_size: int,
        heads: int,
        max_length: int,
        *,
        combine: Combine = "gate",
        annealing_steps: int = 100_000,
        renorm: Renorm = "sum",
        published_faults: bool = False,
    ) -> None:
        super().__init__()
        self.heads = heads
        self.combine_by = combine
        self.renorm: Renorm = renorm
        self.annealing_steps = annealing_steps
        self.published_faults = published_faults
        self.adversary = nn.ModuleDict(
            {"query": nn.Linear(hidden_size, hidden_size), "key": nn.Linear(hidden_size, hidden_size)}
        )
        self.gate = nn.Linear(hidden_size, max_length) if combine == "gate" else None
        self.step: Tensor
        self.register_buffer("step", torch.zeros((), dtype=torch.int64), persistent=combine == "annealing")

    def mask(self, queries: Tensor, keys: Tensor, allowed: Tensor) -> Tensor:
        """The adversarial mask M.

        Args:
            queries: (batch, queries, hidden) projected queries, all heads side by side.
            keys: (batch, keys, hidden) projected keys.
            allowed: (batch, 1, queries, keys) bool.

        Returns:
            (batch, heads, queries, keys), rows summing to 1, 0 at forbidden keys.
        """
        scale = (queries.shape[-1] // self.heads) ** -0.5
        attack_queries = rearrange(self.adversary["query"](queries) * scale, "b q (h d) -> b h q d", h=self.heads)
        attack_keys = rearrange(self.adversary["key"](keys), "b k (h d) -> b h d k", h=self.heads)
        return masked_softmax(attack_queries @ attack_keys, allowed)

    def draw_noise(self, attention: Tensor) -> Tensor:
        """ε: standard normal noise for each entry of the attention, (batch, heads, queries, keys)."""
        return torch.randn_like(attention)

    def perturb(self, attention: Tensor, mask: Tensor, allowed: Tensor, noise: Tensor | None = None) -> Tensor:
        """Perturbed attention renorm(A·M + ε(1 - M)). All are (batch, heads, queries, keys); `allowed` has one head.

        The noise ε is drawn if it is not given.
        """
        mask = mask.to(attention.dtype)  # their types may differ under autocast
        noise = self.draw_noise(attention) if noise is None else noise.to(attention.dtype)
        return self._renormalise(torch.lerp(noise, attention, mask), allowed, noisy=True)

    def calibrate(self, attention: Tensor, mask: Tensor, queries: Tensor, allowed: Tensor) -> Tensor:
        """The calibrated attention: A combined with C = renorm(A·exp(1 - M)).

        Args:
            attention: (batch, heads, queries, keys) the attention A.
            mask: (batch, heads, queries, keys) the adversarial mask M.
            queries: (batch, queries, hidden) projected queries, read by the gate.
            allowed: (batch, 1, queries, keys) bool.

        Returns:
            (batch, heads, queries, keys).
        """
        reweighted = self._renormalise(attention * torch.exp(1 - mask), allowed)
        return self._renormalise(self._combine(attention, reweighted, queries, allowed), allowed)

    def gate_logits(self, queries: Tensor, n_keys: int) -> Tensor | None:
        """(…, n_keys) logits of the gate from queries (…, hidden); None without one."""
        if self.gate is None:
            return None
        return F.linear(queries, self.gate.weight[:n_keys], self.gate.bias[:n_keys])

    def gate_shares(self, queries: Tensor, n_keys: int) -> Tensor:
        """The gate g, A's share for all heads: (batch, 1, queries, n_keys), from queries (batch, queries, hidden)."""
        logits = self.gate_logits(queries, n_keys)
        if logits is None:
            raise ValueError(f"there is no gate with combine: {self.combine_by}")
        return rearrange(torch.sigmoid(logits), "b q k -> b 1 q k")

    def _renormalise(self, weights: Tensor, allowed: Tensor, *, noisy: bool = False) -> Tensor:
        if self.renorm == "none" and self.published_faults:
            return weights
        return renormalise(weights, allowed, self.renorm, noisy=noisy)

    def _combine(self, attention: Tensor, reweighted: Tensor, queries: Tensor, allowed: Tensor) -> Tensor:
        if self.combine_by == "gate":
            share = self.gate_shares(queries, attention.shape[-1])
            return torch.lerp(reweighted, attention, share.to(attention.dtype))
        if self.combine_by == "annealing":
            share = torch.exp(-self.step / self.annealing_steps)
            return torch.lerp(reweighted, attention, share.to(attention.dtype))
        together = attention + reweighted / 2
        return together.softmax(dim=-1) if self.published_faults else masked_softmax(together, allowed)
