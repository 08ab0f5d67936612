"""The gradients of the calibrated attention of packed histories: the same steps as `kernels.backward`, on tiles.

A program walks over the queries of a history and a head, block by block. It alone adds up what belongs to the keys, so
sums have one order, and results are the same in each run.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import triton.language as tl

from actsr_cli.attention.kernels.gpu.arrays import (
    ANNEALING,
    GATE,
    NOTHING,
    ROWS,
    Array,
    Call,
    Inputs,
    Place,
    Streams,
    Weights,
)
from actsr_cli.attention.kernels.gpu.compiling import compiled
from actsr_cli.attention.kernels.gpu.forward import (
    SMALLEST,
    attack,
    disturb,
    later,
    root_of_sharpness,
    share_of,
    weigh,
)
from actsr_cli.attention.kernels.gpu.tiles import (
    SUM,
    columns_of_zeros,
    dropped,
    load_drawn,
    load_heads,
    load_keys,
    load_queries,
    place_of,
    product,
    renormalise,
    renormalise_back,
    row_of_zeros,
    sigmoid,
    softmax_back,
    store_addends,
    store_heads,
)


class Slopes(NamedTuple):
    """Slopes by the weights of a block, (rows, keys) each, and by the share: a number."""

    spatial: Array
    target: Array
    mask: Array
    share: Any


class Sums(NamedTuple):
    """What a program adds up: gradients of keys, values and attack keys, (columns, keys) each, of the
    keys' addends of order and distance, (keys,) each, and of sharpness and share, (1,) each."""

    keys: Array
    values_: Array
    attack: Array
    order: Array
    distance: Array
    sharpness: Array
    share: Array


@compiled
def backward(call: Call, upstream: Streams, to: Inputs, settings: tl.constexpr) -> None:
    """Write the gradients: a program for each history and head.

    Without a gradient by `attended` and `perturbed`, only the adversary's queries and keys have one.
    """
    history, head = tl.program_id(0), tl.program_id(1)
    n_queries = tl.load(call.layout.query_offsets + history + 1) - tl.load(call.layout.query_offsets + history)
    place = place_of(call.layout, history, head, 0, settings)
    by_keys = columns_of_zeros(settings)
    by_order, by_sharpness = row_of_zeros(settings), tl.zeros((1,), tl.float32)
    by_values, by_attack, by_distance, by_share = by_keys, by_keys, by_order, by_sharpness
    for block in range(tl.cdiv(n_queries, ROWS)):  # a tuple with names would lose them from one round to the next
        more = from_block(call, upstream, to, place_of(call.layout, history, head, block, settings), settings)
        by_keys += more.keys
        by_values += more.values_
        by_attack += more.attack
        by_order += more.order
        by_distance += more.distance
        by_sharpness += more.sharpness
        by_share += more.share
    sums = Sums(by_keys, by_values, by_attack, by_order, by_distance, by_sharpness, by_share)
    store_sums(to, place, sums, settings)


@compiled
def store_sums(to: Inputs, place: Place, sums: Sums, settings: tl.constexpr) -> None:
    """Write what was added up."""
    token, is_key, head = place.token, place.is_key, place.head
    program = place.history * settings.heads + head + tl.arange(0, 1)
    if to.keys is not None:
        store_heads(to.keys, token, is_key, head, tl.trans(sums.keys), settings)
        store_heads(to.values_, token, is_key, head, tl.trans(sums.values_), settings)
    if to.attack_keys is not None:
        store_heads(to.attack_keys, token, is_key, head, tl.trans(sums.attack), settings)
    if to.order_keys is not None:
        store_addends(to.order_keys, token, is_key, head, sums.order, settings)
    if to.distance_keys is not None:
        store_addends(to.distance_keys, token, is_key, head, sums.distance, settings)
        tl.store(to.sharpness + program, sums.sharpness)
    if to.share is not None:
        tl.store(to.share + program, sums.share)


@compiled
def from_block(call: Call, upstream: Streams, to: Inputs, place: Place, settings: tl.constexpr) -> Sums:
    """Write the gradients of a block's queries; the result is what the block adds to those of its keys."""
    by_keys, by_order, none = columns_of_zeros(settings), row_of_zeros(settings), tl.zeros((1,), tl.float32)
    by_values, by_attack, by_distance, by_sharpness, by_share = by_keys, by_keys, by_order, none, none
    if to.keys is not None:
        w = weigh(call, place, settings)
        slopes, by_values = from_streams(call, upstream, to, place, w, settings)
        by_share += slopes.share
        by_keys, by_order, by_distance, by_sharpness = to_scores(call, to, place, w, slopes, settings)
        if settings.combine != NOTHING:
            by_attack = to_attack(call, upstream, to, place, (w.masked, w.mask, slopes.mask), settings)
    else:
        masked = attack(call, place, settings)
        mask = dropped(masked, call.drawn.mask, place)
        by_attack = to_attack(call, upstream, to, place, (masked, mask, tl.zeros_like(mask)), settings)
    return Sums(by_keys, by_values, by_attack, by_order, by_distance, by_sharpness, by_share)


@compiled
def from_streams(
    call: Call, upstream: Streams, to: Inputs, place: Place, w: Weights, settings: tl.constexpr
) -> tl.tuple:
    """From the gradients of the streams to the slopes by the weights and, (columns, keys), to the values."""
    none, by_values = tl.zeros_like(w.target), columns_of_zeros(settings)
    slopes = Slopes(none, none, none, tl.zeros((1,), tl.float32))
    if upstream.attended is not None:
        by_stream = load_stream(upstream.attended, place, settings)
        slopes = from_calibrated(
            call, to, place, w, product(by_stream, tl.trans(load_keys(call.ins.values_, place, settings))), settings
        )
        by_values += product(tl.trans(by_stream), w.mixed)
    if upstream.perturbed is not None:
        by_stream = load_stream(upstream.perturbed, place, settings)
        perturbed, divisors = renormalise(settings.renorm, disturb(call, place, w, settings), place.allowed)
        slope = product(by_stream, tl.trans(load_keys(call.ins.values_, place, settings)))
        slope = renormalise_back(settings.renorm, perturbed, divisors, slope)
        slopes = from_perturbed(call, place, w, slope, slopes, settings)
        by_values += product(tl.trans(by_stream), perturbed)
    return slopes, by_values


@compiled
def load_stream(stream: tl.tensor, place: Place, settings: tl.constexpr) -> tl.tensor:
    """(rows, columns) gradient of a stream, 0 where a query does not attend."""
    return load_heads(stream, place.output, place.output >= 0, place.head, settings)


@compiled
def from_calibrated(
    call: Call, to: Inputs, place: Place, w: Weights, slope: tl.tensor, settings: tl.constexpr
) -> Slopes:
    """From the slope by what the queries attend with to those by A, M, the gate and the spatial attention."""
    none = tl.zeros_like(slope)
    spatial, mask, by_share = none, none, tl.zeros((1,), tl.float32)
    if settings.side_by_side:
        share = share_of(call)
        by_share += tl.sum(slope * (w.final - w.spatial))
        spatial = (1.0 - share) * slope
        slope = share * slope
    target = slope
    if settings.combine != NOTHING:
        slope = renormalise_back(settings.renorm, w.final, w.second_sums, slope)
        target, slope = from_combined(call, to, place, w, slope, settings)
        by_target = renormalise_back(settings.renorm, w.reweighted, w.first_sums, slope) * w.raised
        target += by_target
        mask = -by_target * w.target
    return Slopes(spatial, target, mask, by_share)


@compiled
def from_combined(
    call: Call, to: Inputs, place: Place, w: Weights, slope: tl.tensor, settings: tl.constexpr
) -> tl.tuple:
    """Split the slope by A and C together: the slopes by A and by C."""
    target, reweighted = slope, slope
    if settings.combine == GATE:
        by_logit = slope * (w.target - w.reweighted) * w.gate * (1.0 - w.gate)
        n_queries = tl.load(call.layout.query_offsets + tl.num_programs(0))
        row = place.head * n_queries + place.query
        inside = place.is_query[:, None] & (place.key < call.longest)[None, :]
        tl.store(to.gate + row[:, None] * call.longest + place.key[None, :], by_logit, mask=inside)
        target, reweighted = slope * w.gate, slope * (1.0 - w.gate)
    elif settings.combine == ANNEALING:
        annealed = tl.load(call.annealed).to(tl.float32)
        target, reweighted = slope * annealed, slope * (1.0 - annealed)
    else:
        target = softmax_back(w.together, slope)
        reweighted = target * 0.5
    return target, reweighted


@compiled
def from_perturbed(
    call: Call, place: Place, w: Weights, slope: tl.tensor, slopes: Slopes, settings: tl.constexpr
) -> Slopes:
    """Add the slopes by A and M from the one by the perturbed attention before it is renormalised."""
    noise = load_drawn(call.drawn.noise, place)
    gap = w.target - noise
    if settings.renorm == SUM:
        slope = tl.where(noise + w.mask * gap < 0.0, 0.0, slope)
    return Slopes(slopes.spatial, slopes.target + slope * w.mask, slopes.mask + slope * gap, slopes.share)


@compiled
def to_attack(
    call: Call, upstream: Streams, to: Inputs, place: Place, parts: tl.tuple, settings: tl.constexpr
) -> tl.tensor:
    """From the slope by the mask, the penalty's included, to the adversary's queries and, (columns, keys), its keys.

    `parts` are the mask before and after dropout, and the slope by the latter.
    """
    masked, mask, slope = parts
    if upstream.squares is not None:
        by_square = tl.load(upstream.squares + place.query, mask=place.is_query, other=0.0).to(tl.float32)
        slope += 2.0 * by_square[:, None] * (mask - 1.0)
    slope = softmax_back(masked, dropped(slope, call.drawn.mask, place)) * settings.scale
    store_heads(
        to.attack_queries,
        place.query,
        place.is_query,
        place.head,
        product(slope, load_keys(call.ins.attack_keys, place, settings)),
        settings,
    )
    queries = load_queries(call.ins.attack_queries, place, settings)
    return product(tl.trans(queries), slope)


@compiled
def to_scores(call: Call, to: Inputs, place: Place, w: Weights, slopes: Slopes, settings: tl.constexpr) -> tl.tuple:
    """From the slopes by A and the spatial attention to the queries.

    Returns:
        What goes to the keys, (columns, keys), their addends of order and distance, (keys,) each, and the sharpness.
    """
    order = row_of_zeros(settings)
    distance, sharpness = order, tl.zeros((1,), tl.float32)
    spatial, by_product = slopes.spatial, tl.zeros_like(slopes.spatial)
    if settings.side_by_side:
        by_product = softmax_back(w.plain, dropped(slopes.target, call.drawn.plain, place))
    else:
        spatial += slopes.target
    slope = softmax_back(w.attention, dropped(spatial, call.drawn.attention, place))
    if settings.order:
        part = settings.scale * slope * slope_of_order(w.order_logit, place, settings)
        store_addends(to.order_queries, place.query, place.is_query, place.head, tl.sum(part, axis=1), settings)
        order = tl.sum(part, axis=0)
    if settings.distance:
        root = root_of_sharpness(call, settings)
        by_root = 2.0 * slope * w.error * root
        store_addends(
            to.distance_queries, place.query, place.is_query, place.head, tl.sum(by_root * root, axis=1), settings
        )
        distance = tl.sum(by_root * root, axis=0)
        sharpness -= tl.sum(by_root * w.error) * settings.root
    by_product = (by_product + slope) * settings.scale
    store_heads(
        to.queries,
        place.query,
        place.is_query,
        place.head,
        product(by_product, load_keys(call.ins.keys, place, settings)),
        settings,
    )
    queries = load_queries(call.ins.queries, place, settings)
    return product(tl.trans(queries), by_product), order, distance, sharpness


@compiled
def slope_of_order(logit: tl.tensor, place: Place, settings: tl.constexpr) -> tl.tensor:
    """The derivative of log σ(z), or of log(1 - σ(z)), by z."""
    p = sigmoid(logit)
    if settings.saturating:
        slope = p * (1.0 - p)
        return tl.where(later(place), slope / (p + SMALLEST), -slope / (1.0 - p + SMALLEST))
    else:  # noqa: RET505 (a value of another type must not follow)
        return tl.where(later(place), 1.0 - p, -p)
