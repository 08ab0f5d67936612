"""How sharp the attention is at each stage: between a single item and the uniform mean of all items."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from einops import reduce

from actsr_cli.evaluation.significance import Interval, mean_interval
from actsr_cli.inspection.answers import Case, case_batches
from actsr_cli.inspection.trace import shares, trace
from actsr_cli.models.base import SequentialModel


def effective_share(
    model: SequentialModel, cases: Sequence[Case], *, device: torch.device, seed: int = 0
) -> dict[str, Interval]:
    """The effective share of the history that the prediction attends to, per stage: mean over users.

    It is exp(entropy of the attention row) / positions: 1 means uniform attention, 1 / positions means attention to a
    single position. The row is that of the predicting position in the last layer; the share is the mean over heads.
    Users with fewer than two positions are left out.

    Args:
        model: the model, on `device`.
        cases: histories of any length; the latest `max_length` items are read.
        device: where the model is.
        seed: random seed of the bootstrap.
    """
    found: dict[str, list[float]] = {}
    for _, batch, _ in case_batches(cases, model.config.max_length, device):
        traced = trace(model, batch)
        long_enough = traced.lengths > 1
        for stage in traced.stages:
            rows = shares(traced.last_rows(stage)[-1].cpu().double())  # (batch, heads, places)
            entropy = torch.special.entr(rows).sum(dim=-1)
            effective = reduce(entropy.exp(), "b h -> b", "mean") / traced.lengths.cpu()
            found.setdefault(stage, []).extend(effective[long_enough.cpu()].tolist())
    return {stage: mean_interval(np.array(values), seed) for stage, values in found.items() if values}
