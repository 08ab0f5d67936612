"""How sharp the attention is at each stage, between looking at one item and taking the mean of all."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from einops import reduce

from actsr_cli.evaluation.significance import Interval, mean_interval
from actsr_cli.inspection.answers import Case, case_batches
from actsr_cli.inspection.trace import trace
from actsr_cli.models.base import SequentialModel


def effective_share(
    model: SequentialModel, cases: Sequence[Case], *, device: torch.device, seed: int = 0
) -> dict[str, Interval]:
    """Per stage the share of a history that the prediction effectively looks at.

    The mean is over users with two places or more.
    It is exp(entropy of the row) / places: 1 is a mean of all places, 1 / places is a look at one. The row is the
    prediction's own in the last layer, mean over heads of what each head has.

    Args:
        model: the model, on `device`.
        cases: histories of any length; the latest `max_length` items are read.
        device: where the model is.
        seed: of the bootstrap.
    """
    found: dict[str, list[float]] = {}
    for _, batch, _ in case_batches(cases, model.config.max_length, device):
        traced = trace(model, batch)
        long_enough = traced.lengths > 1
        for stage in traced.stages:
            rows = traced.last_rows(stage)[-1].cpu().double()  # (batch, heads, places)
            rows = rows / rows.sum(dim=-1, keepdim=True).clamp_min(1e-12)
            entropy = torch.special.entr(rows).sum(dim=-1)
            share = reduce(entropy.exp(), "b h -> b", "mean") / traced.lengths.cpu()
            found.setdefault(stage, []).extend(share[long_enough.cpu()].tolist())
    return {stage: mean_interval(np.array(shares), seed) for stage, shares in found.items() if shares}
