"""What every model offers to training, evaluation and inspection."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence

from torch import Tensor, nn

from actsr_cli.attention import AdversarialCalibrator
from actsr_cli.batch import Batch
from actsr_cli.config import ModelConfig
from actsr_cli.models.encoder import Encoded


class SequentialModel(nn.Module, ABC):
    """A recommender that reads a history and scores every item as the next one.

    Args:
        config: the architecture.
        n_items: items of the catalogue, padding not counted; ids run from 1 to `n_items`.
    """

    def __init__(self, config: ModelConfig, n_items: int) -> None:
        super().__init__()
        self.config = config
        self.n_items = n_items

    @abstractmethod
    def encode(
        self,
        batch: Batch,
        *,
        perturb: bool = False,
        noise: Sequence[Tensor] | None = None,
        trace: bool = False,
    ) -> Encoded:
        """Hidden states of every position, (batch, length, hidden): row i has read the items up to i.

        Args:
            batch: histories of at most `config.max_length` items.
            perturb: also return the perturbed stream that the adversary is trained on.
            noise: per layer, the noise to perturb with; drawn where it is None.
            trace: keep attention stages and hidden states of every layer.
        """

    @abstractmethod
    def represent(self, batch: Batch) -> Tensor:
        """(batch, hidden): each history as a vector whose products with `item_vectors` rank the next item."""

    @abstractmethod
    def item_vectors(self) -> Tensor:
        """(n_items + 1, hidden) vectors that hidden states are multiplied with; row 0 is padding."""

    def score(self, batch: Batch) -> Tensor:
        """(batch, n_items + 1) score of every item as the next one; column 0 is padding and means nothing."""
        return self.represent(batch) @ self.item_vectors().T


def adversary_parameters(model: nn.Module) -> list[nn.Parameter]:
    """The parameters that the adversary's loss trains: the maps behind Q' and K' of every adversarial calibrator."""
    return [
        parameter
        for module in model.modules()
        if isinstance(module, AdversarialCalibrator)
        for parameter in module.adversary.parameters()
    ]
