"""The random numbers of one layer's attention in training."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Self

from torch import Tensor

from actsr_cli.attention.pairs import Pairs


@dataclass(frozen=True)
class Draws:
    """Random numbers per pair and head, in the layout of the attention that uses them; None where none are needed.

    Attributes:
        attention: factors of dropout for the weights that the scores become: 0, or one over the share of kept entries.
        plain: the same for the plain attention beside the spatially calibrated one (`two_level` off).
        mask: the same for the adversarial mask.
        noise: standard normal numbers, the ε of the perturbed attention.
    """

    attention: Tensor | None = None
    plain: Tensor | None = None
    mask: Tensor | None = None
    noise: Tensor | None = None

    def padded(self, pairs: Pairs, heads: int) -> Self:
        """From (entries,) to (sequences, heads, queries, keys), see `Pairs`."""
        values = (getattr(self, field.name) for field in fields(self))
        return type(self)(*(None if each is None else pairs.pad_entries(each, heads) for each in values))
