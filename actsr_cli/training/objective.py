"""The losses of a batch, and the parameters that each trains: the adversary, or everything else (AC-TSR)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from actsr_cli.attention import AdversarialCalibrator, Losses, split_parameters
from actsr_cli.attention.objective import mask_penalty, mask_squares, prefix_counts
from actsr_cli.batch import PADDING, TrainingBatch
from actsr_cli.config.training import Precision
from actsr_cli.distributed import ALONE, Workers
from actsr_cli.models.base import SequentialModel
from actsr_cli.models.encoder import Encoded, Pass
from actsr_cli.training.losses import PredictionLoss
from actsr_cli.training.losses.item_rows import compared_items


@dataclass(frozen=True)
class _Totals:
    """Sums over the whole batch, of which this process may have only some parts.

    Attributes:
        n_targets: number of trained rows.
        n_sequences: number of training sequences; each trained prefix is one if a pass trains several.
        squares: (layers,) sum of `mask_squares`.
        own_share: this process's share of the training sequences.
    """

    n_targets: Tensor | int
    n_sequences: Tensor | int
    squares: Tensor
    own_share: Tensor | float


@dataclass(frozen=True)
class _Wanted:
    """The targets of the trained rows of a batch.

    Attributes:
        rows: (targets,) indices of the trained rows of each part, see `_trained_rows`.
        targets: (targets,) the items that came next.
        negatives: the negatives that the loss has drawn for them.
    """

    rows: Sequence[Tensor]
    targets: Tensor
    negatives: Tensor | None


class Objective:
    """Computes the losses of a batch, and adds each gradient to its own parameters.

    If several processes share a batch, each computes its addend of every loss. The sum of the addends is the loss of
    the whole batch, and the sum of their gradients is its gradient.

    Args:
        model: the model to train.
        loss: the prediction loss; the weight λ of the mask penalty comes from the model's calibration.
        precision: `bf16` computes products in bfloat16.
        workers: the processes that share each batch.
    """

    def __init__(
        self,
        model: SequentialModel,
        loss: PredictionLoss,
        precision: Precision = "float32",
        workers: Workers = ALONE,
    ) -> None:
        self.model = model
        self.loss = loss
        self.precision = precision
        self.workers = workers
        self.parameters = split_parameters(model)
        self._n_adversaries = sum(isinstance(module, AdversarialCalibrator) for module in model.modules())

    @property
    def recorded(self) -> tuple[str, ...]:
        """Names of the losses that are recorded: those that the model has."""
        return ("calibrated", "perturbed", "penalty") if self.parameters.adversary else ("calibrated",)

    def losses(self, *parts: TrainingBatch) -> Losses:
        """Compute the losses of a batch.

        Args:
            parts: the parts of the batch, whole sequences each, as `SequentialModel.training_inputs` returns them.
                Empty if other processes have the whole batch.
        """
        perturb = bool(self.parameters.adversary)
        device_type = self.model.item_vectors().device.type
        with self._bf16(device_type, pays=device_type != "cpu"):  # too slow for the layers' small products on a CPU
            encoded = [self.model.encode(part, Pass(first_row=part.first_trained, perturb=perturb)) for part in parts]
        rows = [_trained_rows(part) for part in parts]
        squares = self._squares(parts, encoded)
        totals = self._totals(parts, rows, squares)
        if not parts:
            return Losses(torch.zeros((), device=squares.device))
        items = compared_items(self.model, self.loss)
        hidden = [each.hidden for each in encoded]
        wanted = self._wanted(parts, rows)
        calibrated = self._prediction_loss(hidden, items, wanted) / totals.n_targets
        streams = [each.perturbed for each in encoded if each.perturbed is not None]
        if not streams:
            return Losses(calibrated)
        perturbed = self._prediction_loss(streams, items.detach(), wanted) / totals.n_targets
        penalty = self._penalty(squares, totals, heads=encoded[0].masks[0].shape[1])
        return Losses(calibrated, perturbed, penalty, self.model.calibration.penalty_weight * penalty - perturbed)

    def backward(self, losses: Losses) -> None:
        """Add the gradient of each loss to its own parameters; no other gradient is computed."""
        if losses.calibrated.requires_grad:
            self.parameters.backward(losses)

    def _wanted(self, parts: Sequence[TrainingBatch], rows: Sequence[Tensor]) -> _Wanted:
        targets = _at_rows([part.targets[:, part.first_trained :] for part in parts], rows)
        return _Wanted(rows, targets, self.loss.draw(targets))

    def _prediction_loss(self, streams: Sequence[Tensor], items: Tensor, wanted: _Wanted) -> Tensor:
        """The prediction loss, summed over the trained rows of all parts."""
        hidden = self.model.compared(_at_rows(streams, wanted.rows))
        with self._bf16(hidden.device.type):
            return self.loss(hidden, items, wanted.targets, wanted.negatives) * len(wanted.targets)

    def _bf16(self, device_type: str, *, pays: bool = True) -> torch.autocast:
        return torch.autocast(device_type, torch.bfloat16, enabled=pays and self.precision == "bf16")

    def _squares(self, parts: Sequence[TrainingBatch], encoded: Sequence[Encoded]) -> Tensor:
        """(layers,) what the masks change in the penalty's sums of squares."""
        layers = len(encoded[0].masks) if encoded else self._n_adversaries
        squares = torch.zeros(layers, device=self.model.item_vectors().device)
        for part, each in zip(parts, encoded, strict=True):
            if each.masks:
                squares = squares + mask_squares(each.masks, self.row_counts(part))
        return squares

    def row_counts(self, part: TrainingBatch) -> Tensor:
        """(batch, length) how often each row counts in the mask penalty.

        In a causal model a row counts once for each trained prefix that contains it, in a bidirectional one once.
        """
        if self.model.causal:
            return prefix_counts(part.targets != PADDING)
        return torch.arange(part.targets.shape[1], device=part.targets.device) < part.lengths.unsqueeze(1)

    def _totals(self, parts: Sequence[TrainingBatch], rows: Sequence[Tensor], squares: Tensor) -> _Totals:
        n_targets = sum(map(len, rows))
        n_sequences = n_targets if self.model.causal else sum(len(part.lengths) for part in parts)
        if self.workers.count == 1:
            return _Totals(n_targets, n_sequences, squares.detach(), own_share=1.0)
        counts = squares.new_tensor([n_targets, n_sequences], dtype=torch.float64)
        summed = self.workers.sum(torch.cat([counts, squares.detach().double()]))
        return _Totals(summed[0], summed[1], summed[2:].to(squares.dtype), own_share=n_sequences / summed[1])

    @property
    def padded_length(self) -> int:
        """Length that training sequences would be padded to: a full history, plus the next item in cloze models."""
        return self.model.config.max_length + (not self.model.causal)

    def _penalty(self, squares: Tensor, totals: _Totals, heads: int) -> Tensor:
        """This process's addend of the penalty: the gradient of its own masks, and its share of the value."""
        of_all = totals.squares + (squares - squares.detach())
        penalty = mask_penalty(of_all, totals.n_sequences, heads, self.padded_length)
        return penalty - penalty.detach() * (1 - totals.own_share)


def _trained_rows(part: TrainingBatch) -> Tensor:
    """(targets,) indices of the trained rows in the flattened part, counted from `first_trained` on."""
    trained = (part.targets[:, part.first_trained :] != PADDING).flatten()
    if part.n_targets is None:
        return trained.nonzero().squeeze(1)
    return torch.nonzero_static(trained, size=part.n_targets).squeeze(1)  # does not wait for the device


def _at_rows(values: Sequence[Tensor], rows: Sequence[Tensor]) -> Tensor:
    """The trained rows of all parts, (targets, …), from (batch, length, …) of each part."""
    return torch.cat([value.flatten(0, 1)[places] for value, places in zip(values, rows, strict=True)])
