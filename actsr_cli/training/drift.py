"""What Adam does to a row in the steps in which its gradient is 0, in closed form."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

_NOTHING = 1e-30
"""Stands for a decay of 0 of the moving average, which has no logarithm."""
_KEPT = 2
"""Of the numbers that are kept of each step, the first that is a logarithm of a product or sum over all steps."""


@dataclass(frozen=True)
class Drift:
    """The change of some rows over the steps that they have missed; factors are (rows, 1) in float64.

    With G = m / (√v + floor), weights p become kept · p - moved · G.

    Attributes:
        kept: what decoupled weight decay leaves of the weights.
        moved: sum of what multiplies G.
        floor: ε in terms of √v.
        average: factors of the moving average, of p and of -G, whose sum is the new moving average; None without one.
    """

    kept: Tensor
    moved: Tensor
    floor: Tensor
    average: tuple[Tensor, Tensor, Tensor] | None


class MissedSteps:
    """The optimizer steps since all rows were up to date, and what they do to a row without a gradient.

    Adam moves such a row on, because its moments fade slowly. j steps after its last gradient, at step t, it moves by
    rate · β₁ʲm / (1 - β₁ᵗ) / (√(β₂ʲv / (1 - β₂ᵗ)) + ε). Without ε, m / √v is a factor of all these addends, and the
    sum of the others does not depend on the row's values. ε enters as its mean over the addends, weighted by their
    sizes. The error is of second order in ε/√v: a ten-millionth of the sum if the gradient is about 10⁻⁴, a thousandth
    at 10⁻⁶. Addends that are too small for the type of the weights are left out.

    Decoupled weight decay and the moving average act in each of these steps, and are part of the sums.

    Args:
        betas: Adam's β₁ and β₂, with β₁ < √β₂.
        eps: Adam's ε.
        weight_decay: decoupled weight decay.
        decay_after: decay of the moving average after so many steps; None if there is no average.
        dtype: type of the weights.

    Attributes:
        step: number of steps so far.
        rates: learning rate of each step since all rows were up to date.
        horizon: number of steps after its last gradient in which a row moves.
    """

    def __init__(
        self,
        betas: tuple[float, float],
        eps: float,
        weight_decay: float,
        decay_after: Callable[[int], float] | None,
        dtype: torch.dtype,
    ) -> None:
        self.betas, self.eps, self.weight_decay, self.decay_after = betas, eps, weight_decay, decay_after
        fading = math.log(betas[0]) - math.log(betas[1]) / 2
        self.horizon = math.ceil(math.log(torch.finfo(dtype).eps / 2) / fading)
        after = torch.arange(self.horizon + 1, dtype=torch.float64)
        self._fading = torch.exp(after * fading)
        self._growing = betas[1] ** (-after / 2)
        self.restore(0, [])

    @property
    def reaches_all(self) -> bool:
        """Whether a step changes rows that never had a gradient, or their moving average."""
        return bool(self.weight_decay) or self.decay_after is not None

    def restore(self, step: int, rates: Sequence[float]) -> None:
        """Set the number of steps, and the rates of the latest ones."""
        self.step = step - len(rates)
        self.rates: list[float] = []
        self._steps = torch.zeros(5, 64, dtype=torch.float64)
        self._latest = (0.0, 0.0, -math.inf)
        self._steps[_KEPT:, 0] = torch.tensor(self._latest)
        for rate in rates:
            self.add(rate)

    def add(self, rate: float) -> None:
        """Count a step with a learning rate."""
        self.step += 1
        self.rates.append(rate)
        at = len(self.rates)
        if at == self._steps.shape[1]:
            self._steps = torch.cat([self._steps, torch.zeros_like(self._steps)], dim=1)
        kept, decayed, gathered = self._latest
        kept += math.log1p(-rate * self.weight_decay)
        if self.decay_after is not None:
            decay = max(_NOTHING, self.decay_after(self.step - 1))
            decayed += math.log(decay)
            gathered = _log_of_sum(gathered, math.log1p(-decay) + kept - decayed)
        root = math.sqrt(1 - self.betas[1] ** self.step)
        gain = rate * root / (1 - self.betas[0] ** self.step)
        self._latest = (kept, decayed, gathered)
        self._steps[:, at] = torch.tensor([gain, root, *self._latest], dtype=torch.float64)

    def forget(self) -> None:
        """Start anew, because all rows are up to date."""
        self.restore(self.step, [])

    def behind(self, seen: Tensor, applied: Tensor, step: int | None = None) -> Tensor:
        """(rows,) bool: whether a row has missed steps up to `step` that change it; see `drift` for the others."""
        now = self.step if step is None else step
        return applied < (now if self.reaches_all else (seen + self.horizon).clamp_max(now))

    def drift(self, seen: Tensor, applied: Tensor) -> Drift:
        """What the steps after `applied` have changed.

        Args:
            seen: (rows,) the step of each row's last gradient.
            applied: (rows,) the step up to which its weights are up to date.
        """
        now, begun = len(self.rates), applied.long() - (self.step - len(self.rates))
        count = ((seen.long() + self.horizon).clamp_max(self.step) - applied).clamp_min(0)
        ahead = torch.arange(1, int(count.max()) + 1)
        at = (begun.unsqueeze(1) + ahead).clamp(0, now)
        since = ((applied - seen).unsqueeze(1) + ahead).clamp(0, self.horizon)
        gain, root, kept, decayed, gathered = self._steps
        addends = gain[at] * self._fading[since] * (ahead <= count.unsqueeze(1))
        moves = addends * (kept[now] - kept[at]).exp() if self.weight_decay else addends
        moved = _sum(moves)
        floor = self.eps * _sum(moves * root[at] * self._growing[since]) / moved
        average = None
        if self.decay_after is not None:
            scale = decayed[now] + gathered[now]
            of_weights = (scale - kept[begun]).exp() * -torch.expm1(gathered[begun] - gathered[now])
            of_moves = (scale - kept[at]).exp() * -torch.expm1(gathered[at - 1] - gathered[now])
            average = (_column(decayed[now] - decayed[begun]), of_weights.unsqueeze(1), _sum(addends * of_moves))
        kept_here = _column(kept[now] - kept[begun.clamp_min(0)])
        return Drift(kept_here, moved, floor.where(moved > 0, self.eps), average)


def _sum(addends: Tensor) -> Tensor:
    """(rows, 1) sums, added up in the same order whichever rows are computed together."""
    return addends.cumsum(1)[:, -1:] if addends.shape[1] else addends.new_zeros(len(addends), 1)


def _column(logarithms: Tensor) -> Tensor:
    return logarithms.exp().unsqueeze(1)


def _log_of_sum(one: float, other: float) -> float:
    """log(exp(one) + exp(other))"""
    larger, smaller = max(one, other), min(one, other)
    return larger + math.log1p(math.exp(smaller - larger))
