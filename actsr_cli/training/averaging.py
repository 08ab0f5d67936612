"""A moving average of the weights, which ranks better than the weights of any one step."""

from __future__ import annotations

from collections.abc import Callable
from typing import cast

import torch
from torch import Tensor
from torch.optim.swa_utils import AveragedModel

from actsr_cli.models.base import SequentialModel


def weight_average(model: SequentialModel, decay: float) -> AveragedModel | None:
    """The exponential moving average of a model's parameters (Polyak and Juditsky, 1992); None if decay is 0.

    After n steps the decay is at most (1 + n) / (10 + n), so early averages soon forget the initial weights.
    """
    return AveragedModel(model, multi_avg_fn=_moving_average(decay)) if decay else None


def judged_model(model: SequentialModel, average: AveragedModel | None) -> SequentialModel:
    """The model to validate and save: the average if there is one."""
    return model if average is None else cast(SequentialModel, average.module)


_Tensors = tuple[Tensor, ...] | list[Tensor]


def _moving_average(decay: float) -> Callable[[_Tensors, _Tensors, Tensor | int], None]:
    @torch.no_grad()
    def update(averaged: _Tensors, current: _Tensors, n_averaged: Tensor | int) -> None:
        steps = int(n_averaged)
        torch._foreach_lerp_(averaged, current, 1 - min(decay, (1 + steps) / (10 + steps)))

    return update
