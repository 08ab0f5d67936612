"""The base class of prediction losses."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import ClassVar

from torch import Tensor

from actsr_cli.config import LossOptions
from actsr_cli.errors import ConfigError
from actsr_cli.models.repeats import Repeats


class PredictionLoss(ABC):
    """Measures how badly hidden states predict the items that came next.

    A class outside this package has its settings in `options.options`, and names the keys that it reads in the class
    attribute `own`.

    Args:
        options: the loss's settings.
        n_items: items of the catalogue, padding not counted.
        item_counts: (n_items + 1,) how often each item can be a target in training, on the device of the training.

    Attributes:
        own: keys of `loss.options` that it reads.
        draws_targets: whether `draw` takes negatives from the targets. Where several processes share a batch, it then
            gets the targets of all of them.
    """

    own: ClassVar[tuple[str, ...]] = ()
    draws_targets = False

    def __init__(self, options: LossOptions, n_items: int, item_counts: Tensor) -> None:
        self.options = options
        self.n_items = n_items

    def draw(self, targets: Tensor) -> Tensor | None:
        """Draw the negatives for the targets of a batch, (targets,); None if the loss draws none.

        It is called once per batch, so all streams of the batch are compared with the same items.
        """
        return None

    @abstractmethod
    def __call__(self, hidden: Tensor, items: Tensor, targets: Tensor, negatives: Tensor | None) -> Tensor:
        """The mean loss over the targets, a scalar.

        Args:
            hidden: (targets, width) the hidden state that predicts each target.
            items: (n_items + 1, width) item vectors; row 0 is padding. Detached if they are not to be trained.
            targets: (targets,) int64 the items that came next.
            negatives: what `draw` has returned for the targets.
        """

    def with_repeats(
        self, hidden: Tensor, items: Tensor, targets: Tensor, negatives: Tensor | None, repeats: Repeats
    ) -> Tensor:
        """The mean loss without the bonus of items that a row has seen, but with a gradient by the bonus.

        The gradient by the bonus is that of `raised`, everything else learns as without it: a model that need not push
        down what it has seen overfits.
        """
        raised = self.raised(hidden.detach(), items.detach(), targets, negatives, repeats)
        return self(hidden, items, targets, negatives) + (raised - raised.detach())

    def raised(
        self, hidden: Tensor, items: Tensor, targets: Tensor, negatives: Tensor | None, repeats: Repeats
    ) -> Tensor:
        """The mean loss with the bonus on the scores of items that a row has seen.

        Raises:
            ConfigError: the loss does not know how.
        """
        raise ConfigError(
            f"model.learn_repeats cannot be used with loss {self.options.name}: it has no method raised",
            hint="Use a built-in loss, or model.learn_repeats=false.",
        )
