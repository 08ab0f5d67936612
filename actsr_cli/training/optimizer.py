"""Adam and AdamW by torch's functions.

torch's optimizer classes import its compiler, which takes seconds and 120 MB in each process and serves nothing here.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial

import torch
from torch import Tensor, nn
from torch.optim.adam import adam
from torch.optim.adamw import adamw

from actsr_cli.config import TrainingConfig

BETAS, EPS = (0.9, 0.999), 1e-8
"""torch's defaults."""
_UPDATES: dict[str, Callable[..., None]] = {"adam": adam, "adamw": adamw}


def update_of(config: TrainingConfig) -> Callable[..., None]:
    """torch's fused update of parameters, by their gradients, two moments and numbers of steps; it takes `lr`, too."""
    fixed = {"beta1": BETAS[0], "beta2": BETAS[1], "eps": EPS, "weight_decay": config.weight_decay}
    return partial(_UPDATES[config.optimizer], **fixed, fused=True, amsgrad=False, maximize=False)


class Optimizer:
    """Adam (Kingma and Ba, ICLR 2015) or AdamW (Loshchilov and Hutter, ICLR 2019).

    Args:
        parameters: what it updates.
        config: its kind, learning rate and weight decay.

    Attributes:
        rate: learning rate of the next step.
        moments: of each parameter that had a gradient: means of the gradient (`exp_avg`) and of its square
            (`exp_avg_sq`), and the number of its steps (`step`).
    """

    def __init__(self, parameters: Sequence[nn.Parameter], config: TrainingConfig) -> None:
        self.parameters = list(parameters)
        self.rate = config.learning_rate
        self.moments: dict[nn.Parameter, dict[str, Tensor]] = {}
        self._update = update_of(config)

    def forget_gradients(self) -> None:
        """Drop the gradients of the last step."""
        for parameter in self.parameters:
            parameter.grad = None

    @torch.no_grad()
    def step(self) -> None:
        """Update each parameter that has a gradient."""
        trained = [parameter for parameter in self.parameters if parameter.grad is not None]
        self.moments |= {parameter: _initial(parameter) for parameter in trained if parameter not in self.moments}
        of_each = [self.moments[parameter] for parameter in trained]
        first, second, steps = ([moments[key] for moments in of_each] for key in ("exp_avg", "exp_avg_sq", "step"))
        self._update(trained, [each.grad for each in trained], first, second, [], steps, lr=self.rate)

    def restore(self, moments: Mapping[nn.Parameter, Mapping[str, Tensor]]) -> None:
        """Continue with these moments."""
        self.moments = {
            parameter: {key: value.to(parameter.device) for key, value in values.items()}
            for parameter, values in moments.items()
        }


def _initial(parameter: nn.Parameter) -> dict[str, Tensor]:
    return {
        "step": torch.zeros((), device=parameter.device),
        "exp_avg": torch.zeros_like(parameter),
        "exp_avg_sq": torch.zeros_like(parameter),
    }
