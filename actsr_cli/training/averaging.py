"""A moving average of the weights, which ranks better than the weights of any one step."""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import cast

import torch
from torch import Tensor
from torch.optim.swa_utils import AveragedModel

from actsr_cli.models.base import SequentialModel


def weight_average(model: SequentialModel, decay: float) -> AveragedModel | None:
    """The exponential moving average of a model's parameters (Polyak and Juditsky, 1992); None if decay is 0."""
    return AveragedModel(model, multi_avg_fn=_moving_average(decay)) if decay else None


def decay_after(decay: float, steps: int) -> float:
    """The decay of a step after so many others; it starts low, so early averages soon forget the initial weights."""
    return min(decay, (1 + steps) / (10 + steps)) if steps else 0.0


def leave_out(average: AveragedModel, decay: float, tensors: Collection[Tensor]) -> None:
    """Let some tensors of an average be; whoever leaves them out updates them."""
    average.multi_avg_fn = _moving_average(decay, {tensor.data_ptr() for tensor in tensors})


def judged_model(model: SequentialModel, average: AveragedModel | None) -> SequentialModel:
    """The model to validate and save: the average if there is one."""
    return model if average is None else cast(SequentialModel, average.module)


_Tensors = tuple[Tensor, ...] | list[Tensor]


def _moving_average(decay: float, left_out: Collection[int] = ()) -> Callable[[_Tensors, _Tensors, Tensor | int], None]:
    """The update of all averaged tensors, except those at some addresses."""

    @torch.no_grad()
    def update(averaged: _Tensors, current: _Tensors, n_averaged: Tensor | int) -> None:
        places = [place for place, tensor in enumerate(averaged) if tensor.data_ptr() not in left_out]
        share = 1 - decay_after(decay, int(n_averaged))
        torch._foreach_lerp_([averaged[place] for place in places], [current[place] for place in places], share)

    return update
