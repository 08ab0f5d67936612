"""The calibrated attention of packed histories: one query after another, all of its arithmetic in the cache."""

from __future__ import annotations

from typing import Any

import numpy as np

from actsr_cli.attention.kernels.arrays import (
    ANNEALING,
    FIXED,
    GATE,
    NOTHING,
    SUM,
    Array,
    Call,
    Layout,
    Row,
    Streams,
    Weights,
)
from actsr_cli.attention.kernels.compiling import compiled, inlined
from actsr_cli.attention.kernels.products import attend, attend_relations, dot, score, score_relations
from actsr_cli.attention.kernels.rows import (
    ONE,
    ZERO,
    copied,
    exp,
    renormalise,
    scaled,
    sigmoid,
    softmax,
    softplus,
)

HALF, TWO, SMALLEST = np.float32(0.5), np.float32(2), np.float32(1e-24)


@inlined
def row_of(layout: Layout, heads: int, history: int, query: int) -> Row:
    """The query and its keys."""
    first = layout.offsets[history]
    position = layout.tokens[query] - first
    n = position + 1 if layout.causal else layout.offsets[history + 1] - first
    pair = layout.starts[query]
    return Row(query, position, layout.outputs[query], first, n, heads * pair, pair)


@inlined
def prepare_keys(call: Call, history: int, w: Weights) -> None:
    """The addends of both pair maps for the keys of a history."""
    first, last = call.layout.offsets[history], call.layout.offsets[history + 1]
    if call.settings.order:
        key_addends(call, call.ins.order, first, last, w.order_keys)
    if call.settings.distance:
        key_addends(call, call.ins.distance, first, last, w.distance_keys)


@inlined
def key_addends(call: Call, weight: Array, first: int, last: int, out: Array) -> None:
    """The keys' addends of a pair map: `out` (heads, keys)."""
    half = weight[len(weight) // 2 :]
    for j in range(first, last):
        for h in range(len(out)):
            out[h, j - first] = dot(call.ins.keys[j, h], half)


@inlined
def root_of_sharpness(call: Call) -> Any:
    """s · √(scale / 2), whose square is the factor of the distance term."""
    return call.ins.scalars[0] * np.sqrt(call.settings.scale * HALF)


@inlined
def add_order(call: Call, row: Row, w: Weights, scores: Array, logits: Array) -> None:
    """Subtract how surprising the order of each pair is; `logits` is memory."""
    settings, n = call.settings, row.n
    for h in range(settings.heads):
        own = dot(call.ins.queries[row.query, h], call.ins.order) + call.ins.biases[0]
        part = logits[h * n : h * n + n]
        for j in range(n):
            logit = own + w.order_keys[h, j]
            part[j] = logit if j <= row.position else -logit
    if settings.saturating:  # 1 - σ(z) literally, see `SpatialCalibrator`
        for j in range(settings.heads * n):
            probability = ONE - sigmoid(logits[j]) if j % n <= row.position else sigmoid(-logits[j])
            scores[j] += settings.scale * np.log(probability + SMALLEST)
    else:
        for j in range(settings.heads * n):
            scores[j] -= settings.scale * softplus(logits[j])


@inlined
def add_distance(call: Call, row: Row, w: Weights, scores: Array) -> None:
    """Subtract the squared error of the predicted distance of each pair."""
    root, distances = root_of_sharpness(call), call.layout.log_distances
    for h in range(call.settings.heads):
        own = dot(call.ins.queries[row.query, h], call.ins.distance) + call.ins.biases[1]
        part = scores[h * row.n : h * row.n + row.n]
        for j in range(row.n):
            error = (distances[abs(row.position - j)] - own - w.distance_keys[h, j]) * root
            part[j] -= error * error


@inlined
def apply_mask(call: Call, row: Row, w: Weights, to: Streams) -> None:
    """The adversarial mask of a query: kept before dropout, and summed for the penalty."""
    ins, heads, size = call.ins, call.settings.heads, call.settings.heads * row.n
    score(ins.attack_queries[row.query], ins.attack_keys, row, call.settings.scale, w.mask)
    softmax(w.mask, heads, row.n)
    copied(w.mask, size, call.saved.mask[row.start :])
    scaled(w.mask, call.drawn.mask, row.start, size, w.mask)
    total = ZERO
    for j in range(size):
        total += w.mask[j] * (w.mask[j] - TWO)
    to.squares[row.query] = total


@inlined
def apply_scores(call: Call, row: Row, w: Weights) -> None:
    """The attention of a query before the adversarial calibrator, kept before dropout."""
    settings, size = call.settings, call.settings.heads * row.n
    score(call.ins.queries[row.query], call.ins.keys, row, settings.scale, w.spatial)
    if len(call.layout.intervals):
        score_relations(call, row, settings.scale, w.spatial)
    if settings.side_by_side:
        copied(w.spatial, size, w.target)
        softmax(w.target, settings.heads, row.n)
        copied(w.target, size, call.saved.plain[row.start :])
    if settings.order:
        add_order(call, row, w, w.spatial, w.together)
    if settings.distance:
        add_distance(call, row, w, w.spatial)
    softmax(w.spatial, settings.heads, row.n)
    copied(w.spatial, size, call.saved.attention[row.start :])


@inlined
def calibrate(call: Call, row: Row, w: Weights) -> None:
    """From the kept softmaxes to the weights that the query attends with, and all that lies between."""
    settings, drawn, saved, start = call.settings, call.drawn, call.saved, row.start
    heads, size = settings.heads, settings.heads * row.n
    scaled(saved.attention[start:], drawn.attention, start, size, w.spatial)
    if settings.side_by_side:
        scaled(saved.plain[start:], drawn.plain, start, size, w.target)
    else:
        copied(w.spatial, size, w.target)
    if settings.combine == NOTHING:
        copied(w.spatial, size, w.mixed)
        return
    scaled(saved.mask[start:], drawn.mask, start, size, w.mask)
    for j in range(size):
        w.raised[j] = exp(ONE - w.mask[j])
        w.reweighted[j] = w.target[j] * w.raised[j]
    renormalise(settings.renorm, w.reweighted, w.first_sums, heads, row.n)
    combine(call, row, w)
    renormalise(settings.renorm, w.final, w.second_sums, heads, row.n)
    if settings.side_by_side:
        share = call.ins.scalars[1]
        for j in range(size):
            w.mixed[j] = share * w.final[j] + (ONE - share) * w.spatial[j]
    else:
        copied(w.final, size, w.mixed)


@inlined
def combine(call: Call, row: Row, w: Weights) -> None:
    """A and C together, in `w.final`."""
    settings, size = call.settings, call.settings.heads * row.n
    if settings.combine == GATE:
        open_gate(call, row, w)
        for j in range(size):
            w.final[j] = w.reweighted[j] + w.gate[j] * (w.target[j] - w.reweighted[j])
    elif settings.combine == ANNEALING:
        for j in range(size):
            w.final[j] = w.reweighted[j] + settings.annealed * (w.target[j] - w.reweighted[j])
    elif settings.combine == FIXED:
        for j in range(size):
            w.final[j] = w.target[j] + w.reweighted[j] * HALF
        softmax(w.final, settings.heads, row.n)
        copied(w.final, size, w.together)


@inlined
def open_gate(call: Call, row: Row, w: Weights) -> None:
    """The gate g of a query, once per head."""
    for j in range(row.n):
        w.gate[j] = sigmoid(call.ins.gate[row.query, j])
    for h in range(1, call.settings.heads):
        copied(w.gate, row.n, w.gate[h * row.n :])


@inlined
def perturb(call: Call, row: Row, w: Weights) -> None:
    """The perturbed attention ε + M(A - ε), renormalised, in place of `w.reweighted`."""
    settings, size = call.settings, call.settings.heads * row.n
    noises = call.drawn.noise[row.start : row.start + size]
    for j in range(size):
        weight = noises[j] + w.mask[j] * (w.target[j] - noises[j])
        if settings.renorm == SUM and weight < ZERO:
            weight = ZERO
        w.reweighted[j] = weight
    renormalise(settings.renorm, w.reweighted, w.first_sums, settings.heads, row.n)


@inlined
def attend_with(call: Call, row: Row, weights: Array, out: Array) -> None:
    """The weighted sum of the values, (heads, width)."""
    attend(weights, call.ins.values, row, out)
    if len(call.layout.intervals):
        attend_relations(call, row, weights, out)


@compiled
def forward(begin: int, end: int, call: Call, to: Streams, w: Weights) -> None:
    """Fill the streams of the histories from `begin` to `end`."""
    layout, settings = call.layout, call.settings
    for history in range(begin, end):
        prepare_keys(call, history, w)
        for query in range(layout.query_offsets[history], layout.query_offsets[history + 1]):
            row = row_of(layout, settings.heads, history, query)
            if settings.combine != NOTHING:
                apply_mask(call, row, w, to)
            if row.output < 0:
                continue
            apply_scores(call, row, w)
            calibrate(call, row, w)
            attend_with(call, row, w.mixed, to.attended[row.output])
            if settings.perturb:
                perturb(call, row, w)
                attend_with(call, row, w.reweighted, to.perturbed[row.output])
