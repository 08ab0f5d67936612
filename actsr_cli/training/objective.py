"""Which loss trains which parameters: the adversary's maps against everything else (AC-TSR)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from actsr_cli.attention import Losses, split_parameters
from actsr_cli.attention.objective import mask_penalty, prefix_counts
from actsr_cli.batch import PADDING, TrainingBatch
from actsr_cli.config import TrainingConfig
from actsr_cli.errors import RunError
from actsr_cli.models.base import SequentialModel
from actsr_cli.training.losses import bpr, cross_entropy


class Objective:
    """Computes the losses of a batch and sends each gradient where it belongs.

    Args:
        model: the model to train.
        config: which prediction loss, and the weight λ of the mask penalty.
    """

    def __init__(self, model: SequentialModel, config: TrainingConfig) -> None:
        self.model = model
        self.config = config
        self.parameters = split_parameters(model)

    def losses(
        self, batch: TrainingBatch, *, noise: Sequence[Tensor] | None = None, row_counts: Tensor | None = None
    ) -> Losses:
        """Losses of a batch.

        Args:
            batch: what `SequentialModel.training_inputs` returns.
            noise: noise of each layer's perturbation; drawn where it is None.
            row_counts: (batch, length) how often each row counts in the mask penalty; None counts prefixes.
        """
        encoded = self.model.encode(batch, perturb=bool(self.parameters.adversary), noise=noise)
        trained = batch.targets != PADDING
        items = self.model.item_vectors()
        combined = self._prediction_loss(encoded.hidden, items, trained, batch)
        if encoded.perturbed is None:
            return Losses(combined)
        perturbed = self._prediction_loss(encoded.perturbed, items.detach(), trained, batch)
        penalty = self._mask_penalty(encoded.masks, batch, trained, row_counts)
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
        self.parameters.backward(losses)

    def _mask_penalty(
        self, masks: Sequence[Tensor], batch: TrainingBatch, trained: Tensor, row_counts: Tensor | None
    ) -> Tensor:
        """A causal pass counts every prefix that it trains, a bidirectional one each sequence."""
        max_length = self.model.config.max_length
        if self.model.causal:
            counts = prefix_counts(trained) if row_counts is None else row_counts
            return mask_penalty(masks, counts, int(trained.sum()), max_length)
        if row_counts is not None:
            return mask_penalty(masks, row_counts, len(trained), max_length)
        real = torch.arange(trained.shape[1], device=trained.device) < batch.lengths.unsqueeze(1)
        return mask_penalty(masks, real, len(trained), max_length + 1)  # a full history and the item behind it

    def _prediction_loss(self, hidden: Tensor, items: Tensor, trained: Tensor, batch: TrainingBatch) -> Tensor:
        if self.config.loss == "ce":
            return cross_entropy(hidden[trained], items, batch.targets[trained])
        if batch.negatives is None:
            raise ValueError("loss: bpr needs a batch with negatives")
        return bpr(hidden[trained], items, batch.targets[trained], batch.negatives[trained])
