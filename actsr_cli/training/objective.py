"""The losses of a batch, and the parameters that each trains: the adversary, or everything else (AC-TSR)."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from actsr_cli.attention import AdversarialCalibrator, Losses, split_parameters
from actsr_cli.attention.objective import mask_penalty
from actsr_cli.batch import TrainingBatch
from actsr_cli.config.training import Precision
from actsr_cli.distributed import ALONE, Workers
from actsr_cli.models.base import SequentialModel
from actsr_cli.models.encoder import Encoded, Pass
from actsr_cli.models.repeats import Repeats
from actsr_cli.training.losses import PredictionLoss
from actsr_cli.training.losses.item_rows import compared_items
from actsr_cli.training.losses.soft_targets import soft_target_loss
from actsr_cli.training.teachers import Teachers


@dataclass(frozen=True)
class _Totals:
    """Sums over the whole batch, of which this process may have only some sequences.

    Attributes:
        n_targets: number of trained rows.
        n_sequences: number of training sequences; each trained prefix is one if a pass trains several.
        squares: (layers,) see `mask_penalty`.
        own_share: this process's share of the training sequences.
    """

    n_targets: Tensor | int
    n_sequences: Tensor | int
    squares: Tensor
    own_share: Tensor | float


class Objective:
    """Computes the losses of a batch, and adds each gradient to its own parameters.

    If several processes share a batch, each computes its addend of every loss. The sum of the addends is the loss of
    the whole batch, and the sum of their gradients is its gradient.

    Args:
        model: the model to train.
        loss: the prediction loss; the weight λ of the mask penalty comes from the model's calibration.
        precision: `bf16` computes products in bfloat16.
        workers: the processes that share each batch.
        teachers: models whose expectations are a part of each target, or None.
    """

    def __init__(
        self,
        model: SequentialModel,
        loss: PredictionLoss,
        precision: Precision = "float32",
        workers: Workers = ALONE,
        teachers: Teachers | None = None,
    ) -> None:
        self.model = model
        self.teachers = teachers
        self.loss = loss
        self.precision = precision
        self.workers = workers
        self.parameters = split_parameters(model)
        adversaries = [module for module in model.modules() if isinstance(module, AdversarialCalibrator)]
        self._n_adversaries = len(adversaries)
        self._heads = adversaries[0].heads if adversaries else 0

    @property
    def recorded(self) -> tuple[str, ...]:
        """Names of the losses that are recorded: those that the model has."""
        return ("calibrated", "perturbed", "penalty") if self.parameters.adversary else ("calibrated",)

    def losses(self, batch: TrainingBatch | None) -> Losses:
        """Compute the losses of a batch.

        Args:
            batch: the batch, as `SequentialModel.training_inputs` returns it; None if other processes have all of it.
        """
        items = self.model.item_vectors()
        if batch is None:
            nothing = torch.zeros(self._n_adversaries, device=items.device)
            self._totals(0, 0, nothing)
            self._drawn_from(torch.zeros(0, dtype=torch.int64, device=items.device))
            return Losses(torch.zeros((), device=items.device))
        device_type = items.device.type
        with self._bf16(device_type, pays=device_type != "cpu"):  # too slow for the layers' small products on a CPU
            encoded = self.model.encode(batch, Pass(rows=batch.rows, train=bool(self.parameters.adversary)))
        squares = self._squares(batch, encoded)
        n_targets = len(batch.targets)
        totals = self._totals(n_targets, n_targets if self.model.causal else len(batch), squares)
        items = compared_items(self.model, self.loss)
        negatives = self.loss.draw(self._drawn_from(batch.targets))
        repeats = self.model.repeats(batch, batch.rows)
        calibrated = self._prediction_loss(encoded.hidden, items, batch.targets, negatives, repeats) / totals.n_targets
        if self.teachers is not None:
            calibrated = calibrated + self._taught(self.teachers, batch, encoded.hidden, items) / totals.n_targets
        if encoded.perturbed is None:
            return Losses(calibrated)
        perturbed = self._prediction_loss(encoded.perturbed, items.detach(), batch.targets, negatives)
        perturbed = perturbed / totals.n_targets
        penalty = self._penalty(squares, totals)
        return Losses(calibrated, perturbed, penalty, self.model.calibration.penalty_weight * penalty - perturbed)

    def backward(self, losses: Losses) -> None:
        """Add the gradient of each loss to its own parameters; no other gradient is computed."""
        if losses.calibrated.requires_grad:
            self.parameters.backward(losses)

    def _prediction_loss(
        self,
        stream: Tensor,
        items: Tensor,
        targets: Tensor,
        negatives: Tensor | None,
        repeats: Repeats | None = None,
    ) -> Tensor:
        """The prediction loss, summed over the targets."""
        hidden = self.model.compared(stream)
        with self._bf16(hidden.device.type):
            if repeats is None:
                return self.loss(hidden, items, targets, negatives) * len(targets)
            return self.loss.with_repeats(hidden, items, targets, negatives, repeats) * len(targets)

    def _drawn_from(self, targets: Tensor) -> Tensor:
        """The targets that negatives are drawn for: this process's, or those of all if they are drawn from them."""
        return self.workers.gather(targets) if self.loss.draws_targets else targets

    def _taught(self, teachers: Teachers, batch: TrainingBatch, stream: Tensor, items: Tensor) -> Tensor:
        """By how much the prediction loss, summed over the targets, grows by the share of the teachers."""
        device_type = stream.device.type
        with self._bf16(device_type, pays=device_type != "cpu"):
            soft = teachers.expected(batch)
        hidden = self.model.compared(stream)
        with self._bf16(device_type):
            return teachers.share * soft_target_loss(hidden, items, batch.targets, soft) * len(batch.targets)

    def _bf16(self, device_type: str, *, pays: bool = True) -> torch.autocast:
        return torch.autocast(device_type, torch.bfloat16, enabled=pays and self.precision == "bf16")

    def _squares(self, batch: TrainingBatch, encoded: Encoded) -> Tensor:
        """(layers,) what the masks change in the penalty's sums of squares, see `mask_penalty`."""
        if not encoded.squares:
            return torch.zeros(self._n_adversaries, device=batch.item_ids.device)
        counts = self.row_counts(batch)
        return torch.stack([(each * counts).sum() for each in encoded.squares])

    def row_counts(self, batch: TrainingBatch) -> Tensor:
        """(tokens,) how often each token counts in the mask penalty.

        In a causal model it counts once for each trained prefix that contains it, in a bidirectional one once.
        """
        counts = torch.ones_like(batch.item_ids)
        if self.model.causal:
            trained = torch.zeros_like(batch.item_ids).index_fill(0, batch.rows, 1)
            counts = batch.packing.total_from_here(trained)
        return counts.float()

    def _totals(self, n_targets: int, n_sequences: int, squares: Tensor) -> _Totals:
        if self.workers.count == 1:
            return _Totals(n_targets, n_sequences, squares.detach(), own_share=1.0)
        counts = squares.new_tensor([n_targets, n_sequences], dtype=torch.float64)
        summed = self.workers.sum(torch.cat([counts, squares.detach().double()]))
        return _Totals(summed[0], summed[1], summed[2:].to(squares.dtype), own_share=n_sequences / summed[1])

    @property
    def padded_length(self) -> int:
        """Length that training sequences would be padded to: a full history, plus the next item in cloze models."""
        return self.model.config.max_length + (not self.model.causal)

    def _penalty(self, squares: Tensor, totals: _Totals) -> Tensor:
        """This process's addend of the penalty: the gradient of its own masks, and its share of the value."""
        of_all = totals.squares + (squares - squares.detach())
        penalty = mask_penalty(of_all, totals.n_sequences, self._heads, self.padded_length)
        return penalty - penalty.detach() * (1 - totals.own_share)
