"""What the kernels read and write: tuples of tensors; a tensor that is not needed is None.

A program of a kernel works on one head and on a block of queries of one history, with all keys of this history: a tile
of numbers, (rows, keys). `ROWS` queries are in a block, and the keys are padded to a power of two.

`values_` has that name because Triton's tuples have an attribute `values`.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import triton.language as tl

from actsr_cli.attention.kernels import arrays

Array = Any
"""In a kernel: an address, or a tile of numbers."""

ROWS = tl.constexpr(16)
"""Queries of a block: no product of matrices may be smaller."""
GATE, FIXED = tl.constexpr(arrays.GATE), tl.constexpr(arrays.FIXED)
ANNEALING, NOTHING = tl.constexpr(arrays.ANNEALING), tl.constexpr(arrays.NOTHING)


class Settings(NamedTuple):
    """What is compiled in: how the attention is calibrated, and the sizes of tiles.

    Attributes:
        heads: number of heads.
        width: of a head.
        columns: `width`, padded to a power of two.
        keys: keys of the longest history, padded to a power of two.
        causal: forbid later keys.
        scale: factor of the scores.
        root: √(scale / 2); the square of this times s is the factor of the distance term.
        combine, renorm, order, distance, saturating, side_by_side, perturb: see `kernels.arrays.Settings`.
    """

    heads: int
    width: int
    columns: int
    keys: int
    causal: bool
    scale: float
    root: float
    combine: int
    renorm: int
    order: bool
    distance: bool
    saturating: bool
    side_by_side: bool
    perturb: bool


class Layout(NamedTuple):
    """Where the histories, their queries and their pairs lie; int64.

    Attributes:
        offsets: (histories + 1,) first token of each history.
        query_offsets: (histories + 1,) first query of each history.
        positions: (queries,) position of each query in its history.
        outputs: (queries,) output row of each query, -1 if only its mask is wanted.
        starts: (queries,) first pair of each query.
    """

    offsets: Array
    query_offsets: Array
    positions: Array
    outputs: Array
    starts: Array


class Inputs(NamedTuple):
    """What is attended to, and the parameters; the gradients have the same form.

    Attributes:
        queries, attack_queries: (queries, heads, width).
        keys, values_, attack_keys: (tokens, heads, width).
        gate: (queries, longest) logits of the gate. The gradient is (heads, queries, longest).
        order_queries, distance_queries: (queries, heads) addends of the two pair maps.
        order_keys, distance_keys: (tokens, heads).
        sharpness: (1,) the scalar s. The gradient is (histories, heads).
        share: (1,) the adversarial side's share in the mixture. The gradient is (histories, heads).
    """

    queries: Array
    keys: Array
    values_: Array
    attack_queries: Array
    attack_keys: Array
    gate: Array
    order_queries: Array
    order_keys: Array
    distance_queries: Array
    distance_keys: Array
    sharpness: Array
    share: Array


class Drawn(NamedTuple):
    """Random numbers, (entries,) each, see `Draws`."""

    attention: Array
    plain: Array
    mask: Array
    noise: Array


class Call(NamedTuple):
    """All that an attention reads; `annealed` is (), the share of A while annealing, `longest` the longest history."""

    layout: Layout
    ins: Inputs
    drawn: Drawn
    annealed: Array
    longest: int


class Streams(NamedTuple):
    """What comes out: (attending, heads, width) attended and perturbed values, and (heads, queries) `squares`, the sum
    of M² - 2M over the keys. On the way back: the gradients by them, with (queries,) `squares`."""

    attended: Array
    perturbed: Array
    squares: Array


class Place(NamedTuple):
    """Where a program works.

    Attributes:
        history, head: which.
        key, is_key: (keys,) position, and whether the history is that long.
        token: (keys,) number of each key's token.
        query, is_query: (rows,) number of each query, and whether the history has it.
        position, output: (rows,) as in `Layout`; the output row is -1 behind the last query.
        allowed: (rows, keys) whether the query may use the key. Key 0 is allowed behind the last query.
        entry: (rows, keys) place of the pair's random numbers.
    """

    history: Array
    head: Array
    key: Array
    is_key: Array
    token: Array
    query: Array
    is_query: Array
    position: Array
    output: Array
    allowed: Array
    entry: Array


class Weights(NamedTuple):
    """The weights of a block, (rows, keys) each, and (rows, 1) sums.

    Attributes:
        order_logit: z of the order term.
        error: t - p of the distance term.
        attention, plain, masked: softmaxes before dropout, see `kernels.arrays.Saved`.
        spatial, target, mask, raised, reweighted, together, final, mixed, gate, first_sums, second_sums: see
            `kernels.arrays.Weights`.
    """

    order_logit: Array
    error: Array
    attention: Array
    plain: Array
    masked: Array
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
