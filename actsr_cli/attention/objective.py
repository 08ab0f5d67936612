"""The two objectives of AC-TSR, and the parameters that each of them trains."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor, nn
from torch.autograd import backward

from actsr_cli.attention.adversarial import AdversarialCalibrator
from actsr_cli.threads import run_single_threaded

_SMALLEST = 1e-12
"""Floor of a sum of squares. At 0, which it is where each row has a single key, its root has no derivative."""


@dataclass(frozen=True)
class Losses:
    """The losses of one batch, scalars.

    Attributes:
        calibrated: prediction loss under the calibrated attention; trains everything but the adversary.
        perturbed: prediction loss under the perturbed attention, or None without an adversary.
        penalty: mean over layers of ‖1 - M‖₂, or None.
        adversary: λ·penalty - perturbed; trains the adversary. None without one.
    """

    calibrated: Tensor
    perturbed: Tensor | None = None
    penalty: Tensor | None = None
    adversary: Tensor | None = None


@dataclass(frozen=True)
class ParameterSplit:
    """A model's parameters by the objective that trains them.

    Attributes:
        predictor: everything but the adversary.
        adversary: the maps behind Q' and K' of every adversarial calibrator; empty without one.
    """

    predictor: list[nn.Parameter]
    adversary: list[nn.Parameter]

    def backward(self, losses: Losses) -> None:
        """Add the gradient of each loss to its own parameters; no other gradient is computed.

        With two threads on a CPU, both gradients are computed at once, as neither reads the other. Hooks and functions
        of your own then run in another thread, and nothing else may run meanwhile. The graph is kept until both are
        done.
        """
        trained = [(losses.adversary, self.adversary), (losses.calibrated, self.predictor)]
        wanted = [(loss, given) for loss, given in trained if loss is not None and given]  # all may be frozen
        if len(wanted) == 2 and losses.calibrated.device.type == "cpu" and torch.get_num_threads() == 2:
            run_single_threaded([partial(backward, loss, inputs=given, retain_graph=True) for loss, given in wanted])
            return
        for loss, given in wanted:
            backward(loss, inputs=given, retain_graph=loss is not wanted[-1][0])


def split_parameters(model: nn.Module) -> ParameterSplit:
    """Split the parameters of a model with calibrated attention by the objective that trains them.

    Frozen parameters (`requires_grad` off) are in neither part.
    """
    adversary = [
        parameter
        for module in model.modules()
        if isinstance(module, AdversarialCalibrator)
        for parameter in module.adversary.parameters()
        if parameter.requires_grad
    ]
    known = {id(parameter) for parameter in adversary}
    predictor = [
        parameter for parameter in model.parameters() if parameter.requires_grad and id(parameter) not in known
    ]
    return ParameterSplit(predictor, adversary)


def mask_squares(mask: Tensor) -> Tensor:
    """(batch, queries) float32 the sum over heads and keys of M² - 2M, of a mask (batch, heads, queries, keys)."""
    mask = mask.float()
    return (mask * (mask - 2)).sum(dim=(1, 3))


def mask_penalty(squares: Tensor, n_sequences: Tensor | int, heads: int, max_length: int) -> Tensor:
    """Mean over layers of ‖1 - M‖₂ of the padded batch of all training sequences (AC-TSR).

    That batch has n_sequences × heads × max_length² entries. A real row contributes its (1 - M)² once for each sequence
    that contains it; every other entry contributes 1.

    Args:
        squares: (layers,) what the real rows change in each layer's sum of squares of 1 - M: (1 - M)² - 1 = M² - 2M
            for each entry, once for each training sequence that contains the row. Without them every entry counts 1.
        n_sequences: number of training sequences in the batch; each trained prefix is one if a pass trains several.
        heads: heads of each layer.
        max_length: length that each sequence would be padded to.

    Returns:
        A scalar in float32.
    """
    total = squares + n_sequences * heads * max_length**2
    return total.clamp_min(_SMALLEST).sqrt().mean()
