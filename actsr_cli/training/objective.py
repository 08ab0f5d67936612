"""Which loss trains which parameters: the adversary's maps against everything else (AC-TSR)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from actsr_cli.batch import PADDING, TrainingBatch
from actsr_cli.config import TrainingConfig
from actsr_cli.errors import RunError
from actsr_cli.models.base import SequentialModel, adversary_parameters
from actsr_cli.training.losses import bpr, cross_entropy, mask_penalty, prefix_counts


@dataclass(frozen=True)
class Losses:
    """The losses of one batch, scalars.

    Attributes:
        combined: prediction loss of the combined stream; trains everything but the adversary.
        perturbed: prediction loss of the perturbed stream, or None without an adversary.
        penalty: mean over layers of ‖1 - M‖₂, or None.
        adversary: λ·penalty - perturbed; trains the adversary. None without one.
    """

    combined: Tensor
    perturbed: Tensor | None = None
    penalty: Tensor | None = None
    adversary: Tensor | None = None


class Objective:
    """Computes the losses of a batch and sends each gradient where it belongs.

    Args:
        model: the model to train.
        config: which prediction loss, and the weight λ of the mask penalty.
    """

    def __init__(self, model: SequentialModel, config: TrainingConfig) -> None:
        self.model = model
        self.config = config
        self.adversary = adversary_parameters(model)
        of_adversary = {id(parameter) for parameter in self.adversary}
        self.predictor = [parameter for parameter in model.parameters() if id(parameter) not in of_adversary]

    def losses(
        self, batch: TrainingBatch, *, noise: Sequence[Tensor] | None = None, row_counts: Tensor | None = None
    ) -> Losses:
        """Losses of a batch.

        Args:
            batch: histories and the targets of their trained rows.
            noise: noise of each layer's perturbation; drawn where it is None.
            row_counts: (batch, length) how often each row counts in the mask penalty; None counts prefixes.
        """
        encoded = self.model.encode(batch, perturb=bool(self.adversary), noise=noise)
        trained = batch.targets != PADDING
        items = self.model.item_vectors()
        combined = self._prediction_loss(encoded.hidden, items, trained, batch)
        if encoded.perturbed is None:
            return Losses(combined)
        perturbed = self._prediction_loss(encoded.perturbed, items.detach(), trained, batch)
        counts = prefix_counts(trained) if row_counts is None else row_counts
        penalty = mask_penalty(encoded.masks, counts, int(trained.sum()), self.model.config.max_length)
        return Losses(combined, perturbed, penalty, self.config.mask_weight * penalty - perturbed)

    def backward(self, losses: Losses) -> None:
        """Add each loss's gradient to its own parameters; nothing is computed for the others'.

        Raises:
            RunError: a loss is not a finite number.
        """
        if not torch.isfinite(losses.combined + (0 if losses.adversary is None else losses.adversary)):
            raise RunError(
                "the loss is not a finite number any more",
                hint="Lower training.learning_rate, set training.gradient_clip, or train in float32.",
            )
        if losses.adversary is not None:
            torch.autograd.backward(losses.adversary, inputs=self.adversary, retain_graph=True)
        torch.autograd.backward(losses.combined, inputs=self.predictor)

    def _prediction_loss(self, hidden: Tensor, items: Tensor, trained: Tensor, batch: TrainingBatch) -> Tensor:
        if self.config.loss == "ce":
            return cross_entropy(hidden[trained], items, batch.targets[trained])
        if batch.negatives is None:
            raise ValueError("loss: bpr needs a batch with negatives")
        return bpr(hidden[trained], items, batch.targets[trained], batch.negatives[trained])
