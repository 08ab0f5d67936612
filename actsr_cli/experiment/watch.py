"""Writes heat maps of the attention on a few users to TensorBoard during training."""

from __future__ import annotations

import torch

from actsr_cli.data.sequences import SequenceData
from actsr_cli.experiment.tensorboard import TensorBoard
from actsr_cli.inspection.figures import heat_maps
from actsr_cli.inspection.views import random_users, view
from actsr_cli.models.base import SequentialModel

USERS = 4
"""Number of users from the validation split, the same users in every run on the same data."""


class AttentionWatch:
    """Writes heat maps of the attention on a fixed set of validation users.

    Args:
        model: the model in training, on `device`; tracing it draws no random numbers.
        data: the prepared data.
        board: the TensorBoard log.
        every: number of epochs between heat maps.
        device: where the model is.
    """

    def __init__(
        self, model: SequentialModel, data: SequenceData, board: TensorBoard, every: int, device: torch.device
    ) -> None:
        self.model, self.data, self.board, self.every, self.device = model, data, board, every, device
        self.subjects = random_users(data, "valid", USERS, seed=0)

    def epoch_finished(self, epoch: int) -> None:
        """Write heat maps every `every` epochs; epoch 0 is before training.

        Raises:
            RunError: the model has no attention.
        """
        if epoch % self.every:
            return
        for subject in self.subjects:
            seen = view(self.model, subject.case, device=self.device)
            self.board.figure(f"attention/{subject.label}", heat_maps(subject, seen, self.data.display_name), epoch)
