"""A moving average of the weights, which ranks better than the weights of any one step."""

from __future__ import annotations

from collections.abc import Callable
from typing import cast

import torch
from torch import Tensor
from torch.optim.swa_utils import AveragedModel

from actsr_cli.models.base import SequentialModel


def weight_average(model: SequentialModel, decay: float) -> AveragedModel | None:
    """The exponential moving average of a model's parameters (Polyak and Juditsky, 1992); None where decay is 0.

    Early averages forget faster, (1 + n) / (10 + n) after n steps, so that the initial weights do not linger.
    """
    return AveragedModel(model, multi_avg_fn=_moving_average(decay)) if decay else None


def judged_model(model: SequentialModel, average: AveragedModel | None) -> SequentialModel:
    """What is validated and saved: the averaged model where there is one."""
    return model if average is None else cast(SequentialModel, average.module)


_Tensors = tuple[Tensor, ...] | list[Tensor]


def _moving_average(decay: float) -> Callable[[_Tensors, _Tensors, Tensor | int], None]:
    @torch.no_grad()
    def update(averaged: _Tensors, current: _Tensors, n_averaged: Tensor | int) -> None:
        steps = int(n_averaged)
        torch._foreach_lerp_(averaged, current, 1 - min(decay, (1 + steps) / (10 + steps)))

    return update
