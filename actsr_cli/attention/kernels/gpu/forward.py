"""The calibrated attention of packed histories, block by block: the same steps as `kernels.forward`, on tiles."""

from __future__ import annotations

import triton.language as tl

from actsr_cli.attention.kernels.gpu.arrays import (
    ANNEALING,
    FIXED,
    GATE,
    NOTHING,
    ROWS,
    Call,
    Place,
    Streams,
    Weights,
)
from actsr_cli.attention.kernels.gpu.compiling import compiled
from actsr_cli.attention.kernels.gpu.tiles import (
    SUM,
    dropped,
    load_drawn,
    load_key_addends,
    load_keys,
    load_queries,
    load_query_addends,
    place_of,
    product,
    renormalise,
    sigmoid,
    softmax,
    softplus,
    store_heads,
)

SMALLEST = tl.constexpr(1e-24)
"""As in `SpatialCalibrator`."""


@compiled
def forward(call: Call, to: Streams, settings: tl.constexpr) -> None:
    """Fill the streams: a program for each history, block of queries and head."""
    history, block, head = tl.program_id(0), tl.program_id(1), tl.program_id(2)
    first = tl.load(call.layout.query_offsets + history)
    if first + block * ROWS < tl.load(call.layout.query_offsets + history + 1):
        place = place_of(call.layout, history, head, block, settings)
        w = weigh(call, place, settings)
        is_output = place.output >= 0
        attended = product(w.mixed, load_keys(call.ins.values_, place, settings))
        store_heads(to.attended, place.output, is_output, head, attended, settings)
        if settings.perturb:
            perturbed, _ = renormalise(settings.renorm, disturb(call, place, w, settings), place.allowed)
            perturbed = product(perturbed, load_keys(call.ins.values_, place, settings))
            store_heads(to.perturbed, place.output, is_output, head, perturbed, settings)
        if settings.combine != NOTHING:
            n_queries = tl.load(call.layout.query_offsets + tl.num_programs(0))
            squares = tl.sum(w.mask * (w.mask - 2.0), axis=1)
            tl.store(to.squares + head * n_queries + place.query, squares, mask=place.is_query)


@compiled
def weigh(call: Call, place: Place, settings: tl.constexpr) -> Weights:
    """The weights that the queries attend with, and all that lies between."""
    queries, keys = load_queries(call.ins.queries, place, settings), load_keys(call.ins.keys, place, settings)
    scores = product(queries, tl.trans(keys)) * settings.scale
    plain, order_logit, error = scores, scores, scores
    if settings.side_by_side:
        plain = softmax(scores, place.allowed)
    if settings.order:
        order_logit = logit_of_order(call, place, settings)
        scores -= settings.scale * surprise(order_logit, place, settings)
    if settings.distance:
        error = error_of_distance(call, place, settings)
        rooted = error * root_of_sharpness(call, settings)
        scores -= rooted * rooted
    attention = softmax(scores, place.allowed)
    masked = attention
    if settings.combine != NOTHING:
        masked = attack(call, place, settings)
    return calibrate(call, place, (order_logit, error, attention, plain, masked), settings)


@compiled
def later(place: Place) -> tl.tensor:
    """(rows, keys) whether the key is later than the query."""
    return place.key[None, :] > place.position[:, None]


@compiled
def logit_of_order(call: Call, place: Place, settings: tl.constexpr) -> tl.tensor:
    """z of the order term."""
    own = load_query_addends(call.ins.order_queries, place, settings)
    return own + load_key_addends(call.ins.order_keys, place, settings)


@compiled
def surprise(logit: tl.tensor, place: Place, settings: tl.constexpr) -> tl.tensor:
    """-log σ(z) if the key is later than the query, else -log(1 - σ(z)), see `SpatialCalibrator`."""
    if settings.saturating:
        probability = sigmoid(logit)
        return -tl.log(tl.where(later(place), probability, 1.0 - probability) + SMALLEST)
    else:  # noqa: RET505 (a value of another type must not follow)
        return softplus(tl.where(later(place), -logit, logit))


@compiled
def error_of_distance(call: Call, place: Place, settings: tl.constexpr) -> tl.tensor:
    """t - p of the distance term."""
    own = load_query_addends(call.ins.distance_queries, place, settings)
    distance = tl.abs(place.key[None, :] - place.position[:, None]).to(tl.float32)
    return tl.log(distance + 1.0) - own - load_key_addends(call.ins.distance_keys, place, settings)


@compiled
def root_of_sharpness(call: Call, settings: tl.constexpr) -> tl.tensor:
    """s · √(scale / 2), whose square is the factor of the distance term."""
    return tl.load(call.ins.sharpness).to(tl.float32) * settings.root


@compiled
def attack(call: Call, place: Place, settings: tl.constexpr) -> tl.tensor:
    """The adversarial mask before dropout."""
    queries = load_queries(call.ins.attack_queries, place, settings)
    keys = load_keys(call.ins.attack_keys, place, settings)
    return softmax(product(queries, tl.trans(keys)) * settings.scale, place.allowed)


@compiled
def calibrate(call: Call, place: Place, first: tl.tuple, settings: tl.constexpr) -> Weights:
    """All weights from the first five fields of `Weights`."""
    order_logit, error, attention, plain, masked = first
    spatial = dropped(attention, call.drawn.attention, place)
    target, mask, gate = spatial, masked, masked
    if settings.side_by_side:
        target = dropped(plain, call.drawn.plain, place)
    final, raised, reweighted, together = target, target, target, target
    first_sums = tl.sum(target, axis=1)[:, None]
    second_sums = first_sums
    if settings.combine != NOTHING:
        mask = dropped(masked, call.drawn.mask, place)
        raised = tl.exp(1.0 - mask)
        reweighted, first_sums = renormalise(settings.renorm, target * raised, place.allowed)
        if settings.combine == GATE:
            gate = open_gate(call, place)
        together = combine(call, place, (target, reweighted, gate), settings)
        final, second_sums = renormalise(settings.renorm, together, place.allowed)
    mixed = final
    if settings.side_by_side:
        share = share_of(call)
        mixed = share * final + (1.0 - share) * spatial
    return Weights(
        order_logit,
        error,
        attention,
        plain,
        masked,
        spatial,
        target,
        mask,
        raised,
        reweighted,
        together,
        final,
        mixed,
        gate,
        first_sums,
        second_sums,
    )


@compiled
def open_gate(call: Call, place: Place) -> tl.tensor:
    """The gate g of the queries, 1/2 at forbidden keys."""
    at = place.query[:, None] * call.longest + place.key[None, :]
    allowed = place.allowed & place.is_query[:, None]
    return sigmoid(tl.load(call.ins.gate + at, mask=allowed, other=0.0).to(tl.float32))


@compiled
def combine(call: Call, place: Place, parts: tl.tuple, settings: tl.constexpr) -> tl.tensor:
    """A and C together; `parts` are A, C and the gate."""
    target, reweighted, gate = parts
    if settings.combine == GATE:
        reweighted += gate * (target - reweighted)
    elif settings.combine == ANNEALING:
        reweighted += tl.load(call.annealed).to(tl.float32) * (target - reweighted)
    elif settings.combine == FIXED:
        reweighted = softmax(target + reweighted * 0.5, place.allowed)
    return reweighted


@compiled
def share_of(call: Call) -> tl.tensor:
    """The adversarial side's share in the mixture."""
    if call.ins.share is None:
        return 0.5
    else:  # noqa: RET505 (a value of another type must not follow)
        return tl.load(call.ins.share).to(tl.float32)


@compiled
def disturb(call: Call, place: Place, w: Weights, settings: tl.constexpr) -> tl.tensor:
    """The perturbed attention ε + M(A - ε) before it is renormalised."""
    noise = load_drawn(call.drawn.noise, place)
    weights = noise + w.mask * (w.target - noise)
    if settings.renorm == SUM:
        weights = tl.where(weights < 0.0, 0.0, weights)
    return weights
