"""Parts that several backbones share: positions, replaced items, initial weights."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from actsr_cli.batch import PADDING
from actsr_cli.config import CalibrationOptions
from actsr_cli.config.models import PositionOptions


def position_table(options: PositionOptions, calibration: CalibrationOptions, n_positions: int) -> nn.Embedding | None:
    """Table of learned absolute positions, or None if `position_embedding` is off.

    It is off by default with the spatial calibrator, which distinguishes positions by itself.
    """
    wanted = options.position_embedding
    if wanted is None:
        wanted = not calibration.spatial
    return nn.Embedding(n_positions, options.hidden_size) if wanted else None


def shared_items(items: Tensor, n_items: int, chance: float) -> Tensor:
    """Stochastic shared embeddings: replace some items by random ones (Wu et al., NeurIPS 2019).

    Args:
        items: item ids of histories; padding stays.
        n_items: items of the catalogue.
        chance: probability that an item is replaced.
    """
    if not chance:
        return items
    replaced = (torch.rand(items.shape, device=items.device) < chance) & (items != PADDING)
    return torch.randint_like(items, 1, n_items + 1).where(replaced, items)


def initialise(model: nn.Module, std: float) -> None:
    """Set weights to normal draws with standard deviation `std` and biases to 0, as in the published models."""
    for module in model.modules():
        if isinstance(module, nn.Linear | nn.Embedding):
            nn.init.normal_(module.weight, std=std)
        if isinstance(module, nn.Linear):
            nn.init.zeros_(module.bias)
        if isinstance(module, nn.Embedding) and module.padding_idx is not None:
            nn.init.zeros_(module.weight[module.padding_idx])
