"""What the compiled functions read and write: tuples of numpy arrays, float32 and int64 unless stated otherwise.

An array that is not needed is empty. `width` is the width of a head; tokens lie as in `Pairs`.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

Array = Any
float32 = np.float32

GATE, FIXED, ANNEALING, NOTHING = 0, 1, 2, 3
"""How the adversarial calibrator combines; `NOTHING` stands for no such calibrator."""
SOFTMAX, SUM, NONE = 0, 1, 2
"""How weights become a distribution again, see `masks.renormalise`."""


class Layout(NamedTuple):
    """Where the histories, their queries and their pairs lie.

    Attributes:
        offsets: (histories + 1,) first token of each history.
        query_offsets: (histories + 1,) first query of each history.
        tokens: (queries,) token of each query.
        outputs: (queries,) output row of each query, -1 if only its mask is wanted.
        starts: (queries,) first pair of each query.
        intervals: (pairs,) row of the interval tables of each pair.
        log_distances: (longest,) log(distance + 1).
        causal: forbid later keys.
    """

    offsets: Array
    query_offsets: Array
    tokens: Array
    outputs: Array
    starts: Array
    intervals: Array
    log_distances: Array
    causal: bool


class Settings(NamedTuple):
    """How the attention is calibrated; see `CalibratedSelfAttention`, `SpatialCalibrator`, `AdversarialCalibrator`."""

    heads: int
    scale: Any  # float32
    combine: int
    annealed: Any  # float32: the share of A while annealing
    renorm: int
    order: bool
    distance: bool
    saturating: bool
    side_by_side: bool
    perturb: bool


class Inputs(NamedTuple):
    """What is attended to, and the parameters; the gradients have the same form.

    Attributes:
        queries, attack_queries: (queries, heads, width).
        keys, values, attack_keys: (tokens, heads, width).
        gate: (queries, key positions) logits of the gate.
        order, distance: (2 · width,) weights of the two pair maps, queries first.
        biases: (2,) their biases.
        scalars: (2,) sharpness s, and the adversarial side's share in the mixture.
        key_positions, value_positions: (positions, heads, width).
        key_intervals, value_intervals: (span + 1, heads, width).
    """

    queries: Array
    keys: Array
    values: Array
    attack_queries: Array
    attack_keys: Array
    gate: Array
    order: Array
    distance: Array
    biases: Array
    scalars: Array
    key_positions: Array
    value_positions: Array
    key_intervals: Array
    value_intervals: Array


class Drawn(NamedTuple):
    """Random numbers, (entries,) each, see `Draws`."""

    attention: Array
    plain: Array
    mask: Array
    noise: Array


class Saved(NamedTuple):
    """Softmaxes before dropout, (entries,) each, that the way back starts from."""

    attention: Array
    plain: Array
    mask: Array


class Call(NamedTuple):
    """All that an attention reads."""

    layout: Layout
    settings: Settings
    ins: Inputs
    drawn: Drawn
    saved: Saved


class Streams(NamedTuple):
    """What comes out: (attending, heads, width) attended and perturbed values, and (queries,) `squares`, the sum of
    M² - 2M over heads and keys. On the way back: the gradients by them."""

    attended: Array
    perturbed: Array
    squares: Array


class Row(NamedTuple):
    """One query: its number, position and output row, its first token, number of keys, first entry and first pair."""

    query: int
    position: int
    output: int
    first: int
    n: int
    start: int
    pair: int


class Weights(NamedTuple):
    """The weights of one query, (heads · longest,) each, and (heads,) sums.

    Attributes:
        spatial: the attention after the spatial calibrator and dropout, or the plain one without it.
        target: the attention A that the adversarial calibrator works on.
        mask: the mask M.
        raised: exp(1 - M).
        reweighted: C = renorm(A · exp(1 - M)).
        together: softmax(A + C / 2) of `FIXED`.
        final: the adversarial calibrator's result, or `spatial` without one.
        mixed: what the query attends with: `final`, mixed with `spatial` if they stand side by side.
        gate: the gate g.
        first_sums, second_sums: divisors of the two renormalisations.
        order_keys, distance_keys: (heads, longest) the keys' addends of the pair maps, for all queries of a history.
    """

    spatial: Array
    target: Array
    mask: Array
    raised: Array
    reweighted: Array
    together: Array
    final: Array
    mixed: Array
    gate: Array
    first_sums: Array
    second_sums: Array
    order_keys: Array
    distance_keys: Array


class Slopes(NamedTuple):
    """Slopes by the weights of one query, (heads · longest,) each, and by the keys' addends of its history.

    Attributes:
        spatial, target, mask: by the weights of the same names.
        stream: by the weights of the stream at hand.
        order_keys, distance_keys: (heads, longest), summed over the queries of a history.
    """

    spatial: Array
    target: Array
    mask: Array
    stream: Array
    order_keys: Array
    distance_keys: Array


def new_weights(layout: Layout, heads: int, begin: int, end: int) -> Weights:
    """Memory for the weights of any query of the histories from `begin` to `end`."""
    longest = int(np.diff(layout.offsets[begin : end + 1]).max(initial=0))
    w = np.empty((9, heads * longest), np.float32)
    sums = np.empty((2, heads), np.float32)
    keys = np.empty((2, heads, longest), np.float32)
    return Weights(w[0], w[1], w[2], w[3], w[4], w[5], w[6], w[7], w[8], sums[0], sums[1], keys[0], keys[1])


def new_slopes(w: Weights) -> Slopes:
    """Memory for the slopes of any query."""
    slopes = np.zeros((4, len(w.spatial)), np.float32)
    keys = np.zeros((2, w.order_keys.shape[0], w.order_keys.shape[1]), np.float32)
    return Slopes(slopes[0], slopes[1], slopes[2], slopes[3], keys[0], keys[1])
