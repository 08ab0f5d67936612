"""Pictures of a subject's attention: heat maps."""

from __future__ import annotations

import numpy as np
from einops import reduce
from matplotlib.colors import PowerNorm
from matplotlib.figure import Figure
from numpy.typing import NDArray

from actsr_cli.inspection.export import Name, place_names
from actsr_cli.inspection.trace import AttentionTrace
from actsr_cli.inspection.views import Subject, View, rank_text
from actsr_cli.pages.charts import fitted, spacious

_LABEL = 24
"""Maximum number of characters of an item name beside a heat map."""


def heat_maps(subject: Subject, view: View, name: Name) -> Figure:
    """Heat maps with a column per stage and a row per layer (mean over heads), on one scale; y is query, x is key."""
    places = [place if len(place) <= _LABEL else f"{place[: _LABEL - 1]}…" for place in place_names(view, name)]
    stages, layers = view.trace.stages, len(view.trace.layers)
    side = max(2.4, 0.16 * len(places))
    width = 1.2 + (side + 0.3) * len(stages) + 1.6
    figure = Figure(figsize=(width, (side + 0.3) * layers + 1.6), layout=spacious())
    axes = figure.subplots(layers, len(stages), squeeze=False, sharex=True, sharey=True)
    maps = mean_over_heads(view.trace)
    highest = max(float(weights.max()) for of_stage in maps.values() for weights in of_stage)
    scale = PowerNorm(0.5, vmin=0, vmax=highest)  # the first causal query has weight 1; keep small weights visible
    image = None
    for column, stage in enumerate(stages):
        for row in range(layers):
            axis = axes[row, column]
            image = axis.imshow(maps[stage][row], cmap="viridis", norm=scale, aspect="equal")
            axis.set_xticks(range(len(places)), places, rotation=90, fontsize=6)
            axis.set_yticks(range(len(places)), places, fontsize=6)
            if row == 0:
                axis.set_title(stage, fontsize=10)
            if column == 0:
                axis.set_ylabel(f"layer {row + 1}\nquery", fontsize=8)
            axis.tick_params(labelbottom=row == layers - 1, labelleft=column == 0)
            if row == layers - 1:
                axis.set_xlabel("key", fontsize=8)
    if image is not None:
        figure.colorbar(image, ax=axes, shrink=0.7, label="weight, mean over heads")
    figure.suptitle(fitted(_headline(subject, view, name), width - 0.5), fontsize=10)
    return figure


def mean_over_heads(trace: AttentionTrace) -> dict[str, list[NDArray[np.float64]]]:
    """Per stage and layer the (length, length) weights of a trace of one history, mean over heads."""
    length = int(trace.lengths[0])
    return {
        stage: [
            reduce(weights[0, :, :length, :length], "h q k -> q k", "mean").cpu().double().numpy()
            for weights in trace.weights(stage)
        ]
        for stage in trace.stages
    }


def _headline(subject: Subject, view: View, name: Name) -> str:
    if view.rank is None or view.plain_rank is None:
        return f"{subject.label}; top recommendation: {name(view.recommended[0][0])}"
    ranks = f"rank {rank_text(view.rank)}, with plain attention {rank_text(view.plain_rank)}"
    return f"user {subject.label}, target: {name(subject.case.target)} ({ranks})"
