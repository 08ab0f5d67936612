"""The gradients of the calibrated attention of packed histories."""

from __future__ import annotations

import numpy as np

from actsr_cli.attention.kernels.arrays import (
    ANNEALING,
    GATE,
    NOTHING,
    SUM,
    Array,
    Call,
    Inputs,
    Row,
    Slopes,
    Streams,
    Weights,
)
from actsr_cli.attention.kernels.compiling import compiled, inlined
from actsr_cli.attention.kernels.forward import (
    HALF,
    SMALLEST,
    TWO,
    calibrate,
    perturb,
    prepare_keys,
    root_of_sharpness,
    row_of,
)
from actsr_cli.attention.kernels.products import (
    add_scaled,
    attend_back,
    attend_relations_back,
    dot,
    score,
    score_back,
    score_relations_back,
)
from actsr_cli.attention.kernels.rows import ONE, ZERO, renormalise_back, scaled, sigmoid, softmax_back


@inlined
def from_calibrated(call: Call, row: Row, upstream: Array, w: Weights, slopes: Slopes, to: Inputs) -> None:
    """From the gradient of the attended values to the slopes by A, M, the gate and the spatial attention."""
    settings, slope, size = call.settings, slopes.stream, call.settings.heads * row.n
    from_attended(call, row, upstream, w.mixed, slope, to)
    if settings.side_by_side:
        share, total = call.ins.scalars[1], ZERO
        for j in range(size):
            total += slope[j] * (w.final[j] - w.spatial[j])
            slopes.spatial[j] += (ONE - share) * slope[j]
            slope[j] *= share
        to.scalars[1] += total
    if settings.combine == NOTHING:
        for j in range(size):
            slopes.target[j] += slope[j]
        return
    renormalise_back(settings.renorm, w.final, w.second_sums, slope, settings.heads, row.n)
    from_combined(call, row, w, slopes, to)
    renormalise_back(settings.renorm, w.reweighted, w.first_sums, slope, settings.heads, row.n)
    for j in range(size):
        by_target = slope[j] * w.raised[j]
        slopes.target[j] += by_target
        slopes.mask[j] -= by_target * w.target[j]


@inlined
def from_combined(call: Call, row: Row, w: Weights, slopes: Slopes, to: Inputs) -> None:
    """Split the slope by A and C together: the part of A is added, the part of C stays in `slopes.stream`."""
    settings, slope, size = call.settings, slopes.stream, call.settings.heads * row.n
    if settings.combine == GATE:
        to_gate = to.gate[row.query]
        for h in range(settings.heads):
            first, last = h * row.n, h * row.n + row.n
            part, of_a, of_c = slope[first:last], w.target[first:last], w.reweighted[first:last]
            for j in range(row.n):
                to_gate[j] += part[j] * (of_a[j] - of_c[j]) * w.gate[j] * (ONE - w.gate[j])
        for j in range(size):
            slopes.target[j] += slope[j] * w.gate[j]
            slope[j] *= ONE - w.gate[j]
    elif settings.combine == ANNEALING:
        for j in range(size):
            slopes.target[j] += slope[j] * settings.annealed
            slope[j] *= ONE - settings.annealed
    else:
        softmax_back(w.together, slope, settings.heads, row.n)
        for j in range(size):
            slopes.target[j] += slope[j]
            slope[j] *= HALF


@inlined
def from_perturbed(call: Call, row: Row, upstream: Array, w: Weights, slopes: Slopes, to: Inputs) -> None:
    """From the gradient of the perturbed values to the slopes by A and M. It takes the place of `w.reweighted`."""
    settings, slope = call.settings, slopes.stream
    perturb(call, row, w)
    from_attended(call, row, upstream, w.reweighted, slope, to)
    renormalise_back(settings.renorm, w.reweighted, w.first_sums, slope, settings.heads, row.n)
    size = settings.heads * row.n
    noises = call.drawn.noise[row.start : row.start + size]
    for j in range(size):
        gap = w.target[j] - noises[j]
        counted = ZERO if settings.renorm == SUM and noises[j] + w.mask[j] * gap < ZERO else slope[j]
        slopes.target[j] += counted * w.mask[j]
        slopes.mask[j] += counted * gap


@inlined
def from_attended(call: Call, row: Row, upstream: Array, weights: Array, slope: Array, to: Inputs) -> None:
    """From the gradient of a stream's values, (heads, width), to the slope by its weights."""
    score(upstream, call.ins.values, row, ONE, slope)
    attend_back(weights, upstream, row, to.values)
    if len(call.layout.intervals):
        attend_relations_back(call, row, weights, upstream, to, slope)


@inlined
def to_attack(call: Call, row: Row, upstream: Streams, w: Weights, slopes: Slopes, to: Inputs) -> None:
    """From the slope by the mask, the penalty's included, to the adversary's queries and keys."""
    settings, slope, query = call.settings, slopes.mask, row.query
    size = settings.heads * row.n
    if len(upstream.squares):
        factor = TWO * upstream.squares[query]
        for j in range(size):
            slope[j] += factor * (w.mask[j] - ONE)
    scaled(slope, call.drawn.mask, row.start, size, slope)
    softmax_back(call.saved.mask[row.start :], slope, settings.heads, row.n)
    for j in range(size):
        slope[j] *= settings.scale
    attack_queries, attack_keys = call.ins.attack_queries[query], call.ins.attack_keys
    score_back(slope, attack_queries, attack_keys, row, to.attack_queries[query], to.attack_keys)


@inlined
def to_scores(call: Call, row: Row, w: Weights, slopes: Slopes, to: Inputs) -> None:
    """From the slopes by A and the spatial attention to queries, keys, relations and the spatial calibrator."""
    settings, saved, drawn = call.settings, call.saved, call.drawn
    size, slope, plain = settings.heads * row.n, slopes.spatial, slopes.target
    if settings.side_by_side:
        scaled(plain, drawn.plain, row.start, size, plain)
        softmax_back(saved.plain[row.start :], plain, settings.heads, row.n)
    else:
        for j in range(size):
            slope[j] += plain[j]
            plain[j] = ZERO
    scaled(slope, drawn.attention, row.start, size, slope)
    softmax_back(saved.attention[row.start :], slope, settings.heads, row.n)
    if settings.order:
        from_order(call, row, w, slopes, to)
    if settings.distance:
        from_distance(call, row, w, slopes, to)
    for j in range(size):
        slope[j] = (slope[j] + plain[j]) * settings.scale
    query = row.query
    score_back(slope, call.ins.queries[query], call.ins.keys, row, to.queries[query], to.keys)
    if len(call.layout.intervals):
        score_relations_back(call, row, slope, to)


@inlined
def from_order(call: Call, row: Row, w: Weights, slopes: Slopes, to: Inputs) -> None:
    """From the slope by the scores to the order map; the keys' part is summed per history. `w.together` is memory."""
    settings, ins = call.settings, call.ins
    for h in range(settings.heads):
        query = ins.queries[row.query, h]
        own, total = dot(query, ins.order) + ins.biases[0], ZERO
        first, last = h * row.n, h * row.n + row.n
        slope, by_logit = slopes.spatial[first:last], w.together[first:last]
        addends, to_addends = w.order_keys[h], slopes.order_keys[h]
        for j in range(row.n):
            p = sigmoid(own + addends[j])
            by_logit[j] = ONE - p if j > row.position else -p  # the derivative of log σ(z), or of log(1 - σ(z))
        if settings.saturating:  # of log(σ(z) + SMALLEST), or of log(1 - σ(z) + SMALLEST)
            for j in range(row.n):
                rest = ONE - abs(by_logit[j])
                by_logit[j] *= rest / (rest + SMALLEST)
        for j in range(row.n):
            part = settings.scale * slope[j] * by_logit[j]
            total += part
            to_addends[j] += part
        add_scaled(total, ins.order[: len(query)], to.queries[row.query, h])
        add_scaled(total, query, to.order)
        to.biases[0] += total


@inlined
def from_distance(call: Call, row: Row, w: Weights, slopes: Slopes, to: Inputs) -> None:
    """From the slope by the scores to the distance map and the sharpness; the keys' part is summed per history."""
    ins, distances, root = call.ins, call.layout.log_distances, root_of_sharpness(call)
    by_root = ZERO
    for h in range(call.settings.heads):
        query = ins.queries[row.query, h]
        own, total = dot(query, ins.distance) + ins.biases[1], ZERO
        slope = slopes.spatial[h * row.n : h * row.n + row.n]
        addends, to_addends = w.distance_keys[h], slopes.distance_keys[h]
        for j in range(row.n):
            error = distances[abs(row.position - j)] - own - addends[j]
            part = TWO * slope[j] * error * root
            total += part * root
            to_addends[j] += part * root
            by_root -= part * error
        add_scaled(total, ins.distance[: len(query)], to.queries[row.query, h])
        add_scaled(total, query, to.distance)
        to.biases[1] += total
    to.scalars[0] += by_root * np.sqrt(call.settings.scale * HALF)


@inlined
def to_keys(call: Call, history: int, slopes: Slopes, to: Inputs) -> None:
    """From the slopes by the keys' addends of a history to keys and pair maps."""
    first, last = call.layout.offsets[history], call.layout.offsets[history + 1]
    if call.settings.order:
        addends_back(call, slopes.order_keys, call.ins.order, first, last, to, to.order)
    if call.settings.distance:
        addends_back(call, slopes.distance_keys, call.ins.distance, first, last, to, to.distance)


@inlined
def addends_back(
    call: Call, addends: Array, weight: Array, first: int, last: int, to: Inputs, to_weight: Array
) -> None:
    """The way back of `key_addends`; the slopes start anew at 0."""
    half, to_half = weight[len(weight) // 2 :], to_weight[len(weight) // 2 :]
    for j in range(first, last):
        for h in range(len(addends)):
            add_scaled(addends[h, j - first], half, to.keys[j, h])
            add_scaled(addends[h, j - first], call.ins.keys[j, h], to_half)
            addends[h, j - first] = ZERO


@compiled
def backward(begin: int, end: int, call: Call, upstream: Streams, to: Inputs, w: Weights, slopes: Slopes) -> None:
    """Add the gradients of the histories from `begin` to `end`; the arrays of `to` start at 0."""
    layout, settings = call.layout, call.settings
    for history in range(begin, end):
        prepare_keys(call, history, w)
        for query in range(layout.query_offsets[history], layout.query_offsets[history + 1]):
            row = row_of(layout, settings.heads, history, query)
            size = settings.heads * row.n
            for j in range(size):
                slopes.spatial[j] = ZERO
                slopes.target[j] = ZERO
                slopes.mask[j] = ZERO
            if row.output >= 0:
                calibrate(call, row, w)
                if len(upstream.attended):
                    from_calibrated(call, row, upstream.attended[row.output], w, slopes, to)
                if settings.perturb and len(upstream.perturbed):
                    from_perturbed(call, row, upstream.perturbed[row.output], w, slopes, to)
                if len(upstream.attended) or len(upstream.perturbed):
                    to_scores(call, row, w, slopes, to)
            elif settings.combine != NOTHING:
                scaled(call.saved.mask[row.start :], call.drawn.mask, row.start, size, w.mask)
            if settings.combine != NOTHING:
                to_attack(call, row, upstream, w, slopes, to)
        to_keys(call, history, slopes, to)
