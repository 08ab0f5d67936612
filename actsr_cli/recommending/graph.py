"""A trained model as one graph of tensors: padded histories in, scores or lists of items out."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn
from torch.export import Dim, ExportedProgram

from actsr_cli.batch import PADDING, Batch
from actsr_cli.models.base import Model
from actsr_cli.packing import Grid

_MOST = 2**20
"""Bound of the histories at a time, and of the items that one must not get."""


class Graph(nn.Module):
    """What other runtimes compute: the scores of all items, or lists of the best ones.

    Args:
        model: the model, in evaluation mode and on a CPU.
        counts: (n_items + 1,) training interactions of each item, which rank the items for an empty history.
        k: length of the lists; None returns the scores.
    """

    def __init__(self, model: Model, counts: Tensor, k: int | None) -> None:
        super().__init__()
        self.model = model
        self.k = k
        self.counts: Tensor
        self.places: Tensor
        self.register_buffer("counts", counts.float())
        self.register_buffer("places", torch.arange(model.max_length))
        # The steps of a recurrent network are written out in a graph: their number is fixed.
        self._fixed_length = any(isinstance(module, nn.RNNBase) for module in model.modules())

    def forward(
        self, history: Tensor, without: Tensor, timestamps: Tensor | None = None, user: Tensor | None = None
    ) -> Tensor | tuple[Tensor, Tensor]:
        """Score the items that may come next.

        Args:
            history: (histories, length) int64 item ids, oldest first, then 0 up to the length, which is at most the
                model's `max_length`. An empty history has zeros only.
            without: (histories, any) int64 ids of items that get the score -inf, and zeros.
            timestamps: (histories, length) float64 seconds, for a model that reads times.
            user: (histories,) int64 user ids, -1 for an unknown one, for a model that learns about users.

        Returns:
            (histories, n_items + 1) float32 scores, -inf for padding; or (histories, k) int64 item ids, 0 after the
            last allowed item, and (histories, k) their scores.
        """
        columns = torch.arange(history.shape[1], device=history.device)
        history = history * (self.places[columns] == columns)  # 1; an index out of bounds if a history is too long
        lengths = (history != PADDING).sum(dim=1)
        scores = self.model.score(self._batch(history, lengths, timestamps, user)).float()
        scores = torch.where(rearrange(lengths == 0, "h -> h 1"), self.counts, scores)
        scores = scores.scatter(1, F.pad(without, (1, 0), value=PADDING), -torch.inf)
        if self.k is None:
            return scores
        best, items = scores.topk(self.k, dim=1)
        return items.masked_fill(best == -torch.inf, PADDING), best

    def _batch(self, history: Tensor, lengths: Tensor, timestamps: Tensor | None, user: Tensor | None) -> Batch:
        if self._fixed_length:
            missing = self.model.max_length - history.shape[1]
            history = F.pad(history, (0, missing))
            timestamps = None if timestamps is None else F.pad(timestamps, (0, missing))
        times = None if timestamps is None else timestamps.flatten()
        return Batch(history.flatten(), Grid(lengths.clamp_min(1), history.shape[1]), user, times)


def example_inputs(model: Model) -> dict[str, Tensor]:
    """Inputs of a graph by name, for two histories: those that the model reads."""
    length = min(3, model.max_length)
    history = torch.ones(2, length, dtype=torch.int64)
    inputs = {"history": history, "without": torch.ones(2, 4, dtype=torch.int64)}
    if model.needs_timestamps:
        inputs["timestamps"] = history.double().cumsum(dim=1)
    if model.needs_users:
        inputs["user"] = torch.tensor([-1, 0])
    return inputs


def traced(graph: Graph) -> ExportedProgram:
    """The graph as PyTorch traces it, for any number of histories and any length."""
    histories, longest = Dim("histories", min=1, max=_MOST), graph.model.max_length
    of_history = {0: histories} | ({1: Dim("length", min=1, max=longest)} if longest > 1 else {})
    dimensions = {
        "history": of_history,
        "without": {0: histories, 1: Dim("without", min=1, max=_MOST)},
        "timestamps": of_history,
        "user": {0: histories},
    }
    inputs = example_inputs(graph.model)
    with torch.no_grad():
        return torch.export.export(graph, (), inputs, dynamic_shapes={name: dimensions[name] for name in inputs})
