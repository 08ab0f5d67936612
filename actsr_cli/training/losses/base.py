"""What every prediction loss offers to the objective."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import ClassVar

from torch import Tensor

from actsr_cli.config import LossOptions


class PredictionLoss(ABC):
    """How badly hidden states predict the items that came next.

    A class outside this package has its settings in `options.options`, and names those that it reads in the class
    attribute below.

    Args:
        options: the loss's settings.
        n_items: items of the catalogue, padding not counted.
        item_counts: (n_items + 1,) training interactions of each item, on the device of the training.

    Attributes:
        own: keys of `loss.options` that it reads.
    """

    own: ClassVar[tuple[str, ...]] = ()

    def __init__(self, options: LossOptions, n_items: int, item_counts: Tensor) -> None:
        self.options = options
        self.n_items = n_items

    def draw(self, targets: Tensor) -> Tensor | None:
        """Items that the targets of a batch, (targets,), are compared with; None where nothing is drawn.

        It is asked once for each batch: all its streams are judged by the same items.
        """
        return None

    @abstractmethod
    def __call__(self, hidden: Tensor, items: Tensor, targets: Tensor, negatives: Tensor | None) -> Tensor:
        """The mean loss over the targets, a scalar.

        Args:
            hidden: (targets, width) what predicts each target.
            items: (n_items + 1, width) item vectors; row 0 is padding. Detached where they are not to be trained.
            targets: (targets,) int64 the items that came next.
            negatives: what `draw` has returned for them.
        """
