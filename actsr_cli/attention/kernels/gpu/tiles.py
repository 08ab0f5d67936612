"""Functions of tiles: reading and writing, products, softmax and renormalisation with their slopes."""

from __future__ import annotations

import triton.language as tl

from actsr_cli.attention.kernels import arrays
from actsr_cli.attention.kernels.gpu.arrays import ROWS, Layout, Place
from actsr_cli.attention.kernels.gpu.compiling import compiled

SOFTMAX, SUM = tl.constexpr(arrays.SOFTMAX), tl.constexpr(arrays.SUM)
SMALLEST_SUM = tl.constexpr(1e-9)
"""As in `masks.renormalise`."""


@compiled
def place_of(layout: Layout, history: tl.tensor, head: tl.tensor, block: tl.tensor, settings: tl.constexpr) -> Place:
    """Where the block of a history's queries lies. Behind the last query everything is read as 0."""
    first_token, first_query = tl.load(layout.offsets + history), tl.load(layout.query_offsets + history)
    length = tl.load(layout.offsets + history + 1) - first_token
    key = tl.arange(0, settings.keys)
    query = first_query + block * ROWS + tl.arange(0, ROWS)
    is_query = query < tl.load(layout.query_offsets + history + 1)
    position = tl.load(layout.positions + query, mask=is_query, other=0)
    output = tl.load(layout.outputs + query, mask=is_query, other=-1)
    n_keys = position + 1 if settings.causal else tl.zeros_like(position) + length
    entry = settings.heads * tl.load(layout.starts + query, mask=is_query, other=0) + head * n_keys
    return Place(
        history,
        head,
        key,
        key < length,
        first_token + key,
        query,
        is_query,
        position,
        output,
        (key[None, :] < n_keys[:, None]),
        entry[:, None] + key[None, :],
    )


@compiled
def heads_at(row: tl.tensor, head: tl.tensor, settings: tl.constexpr) -> tl.tensor:
    """Where the rows' numbers of a head lie in a tensor (…, heads, width): (rows, columns)."""
    return ((row * settings.heads + head) * settings.width)[:, None] + tl.arange(0, settings.columns)[None, :]


@compiled
def load_heads(
    source: tl.tensor, row: tl.tensor, is_row: tl.tensor, head: tl.tensor, settings: tl.constexpr
) -> tl.tensor:
    """(rows, columns) float32 numbers of a head from a tensor (…, heads, width)."""
    inside = is_row[:, None] & (tl.arange(0, settings.columns) < settings.width)[None, :]
    return tl.load(source + heads_at(row, head, settings), mask=inside, other=0.0).to(tl.float32)


@compiled
def load_keys(source: tl.tensor, place: Place, settings: tl.constexpr) -> tl.tensor:
    """(keys, columns) float32 numbers of a history's tokens from a tensor (tokens, heads, width).

    They are read anew for each product: kept for all of them, they would not fit in the memory that threads share.
    """
    return load_heads(source, place.token, place.is_key, place.head, settings)


@compiled
def load_queries(source: tl.tensor, place: Place, settings: tl.constexpr) -> tl.tensor:
    """(rows, columns) float32 numbers of a block's queries from a tensor (queries, heads, width)."""
    return load_heads(source, place.query, place.is_query, place.head, settings)


@compiled
def load_key_addends(source: tl.tensor, place: Place, settings: tl.constexpr) -> tl.tensor:
    """(1, keys) float32 numbers of a history's tokens from a tensor (tokens, heads)."""
    addends = tl.load(source + place.token * settings.heads + place.head, mask=place.is_key, other=0.0)
    return addends.to(tl.float32)[None, :]


@compiled
def load_query_addends(source: tl.tensor, place: Place, settings: tl.constexpr) -> tl.tensor:
    """(rows, 1) float32 numbers of a block's queries from a tensor (queries, heads)."""
    addends = tl.load(source + place.query * settings.heads + place.head, mask=place.is_query, other=0.0)
    return addends.to(tl.float32)[:, None]


@compiled
def store_heads(
    to: tl.tensor, row: tl.tensor, is_row: tl.tensor, head: tl.tensor, values: tl.tensor, settings: tl.constexpr
) -> None:
    """The inverse of `load_heads`."""
    inside = is_row[:, None] & (tl.arange(0, settings.columns) < settings.width)[None, :]
    tl.store(to + heads_at(row, head, settings), values, mask=inside)


@compiled
def store_addends(
    to: tl.tensor, row: tl.tensor, is_row: tl.tensor, head: tl.tensor, values: tl.tensor, settings: tl.constexpr
) -> None:
    """Write (rows,) numbers of a head to a tensor (…, heads)."""
    tl.store(to + row * settings.heads + head, values, mask=is_row)


@compiled
def columns_of_zeros(settings: tl.constexpr) -> tl.tensor:
    """(columns, keys) zeros. Triton 3.7 takes sizes only from names that are declared as constants."""
    columns: tl.constexpr = settings.columns
    keys: tl.constexpr = settings.keys
    return tl.zeros((columns, keys), tl.float32)


@compiled
def row_of_zeros(settings: tl.constexpr) -> tl.tensor:
    """(keys,) zeros."""
    keys: tl.constexpr = settings.keys
    return tl.zeros((keys,), tl.float32)


@compiled
def load_drawn(source: tl.tensor, place: Place) -> tl.tensor:
    """(rows, keys) random numbers, 0 at forbidden keys."""
    allowed = place.allowed & place.is_query[:, None]
    return tl.load(source + place.entry, mask=allowed, other=0.0).to(tl.float32)


@compiled
def dropped(weights: tl.tensor, factors: tl.tensor, place: Place) -> tl.tensor:
    """The weights after dropout, if there is any. The slopes change in the same way."""
    if factors is None:
        return weights
    else:  # a value of another type must not follow  # noqa: RET505
        return weights * load_drawn(factors, place)


@compiled
def product(left: tl.tensor, right: tl.tensor) -> tl.tensor:
    """(rows, columns) times (columns, others), in float32 without rounding to fewer bits."""
    return tl.dot(left, right, input_precision="ieee")


@compiled
def sigmoid(x: tl.tensor) -> tl.tensor:
    """1 / (1 + e^-x)."""
    return 1.0 / (1.0 + tl.exp(-x))


@compiled
def softplus(x: tl.tensor) -> tl.tensor:
    """log(1 + e^x)."""
    return tl.where(x < 0.0, 0.0, x) + tl.log(1.0 + tl.exp(-tl.abs(x)))


@compiled
def softmax(logits: tl.tensor, allowed: tl.tensor) -> tl.tensor:
    """Softmax over the allowed keys of each query, 0 elsewhere."""
    logits = tl.where(allowed, logits, float("-inf"))
    raised = tl.where(allowed, tl.exp(logits - tl.max(logits, axis=1)[:, None]), 0.0)
    return raised / tl.sum(raised, axis=1)[:, None]


@compiled
def softmax_back(y: tl.tensor, slope: tl.tensor) -> tl.tensor:
    """The slope by the logits from the slope by the softmax `y`."""
    return y * (slope - tl.sum(y * slope, axis=1)[:, None])


@compiled
def renormalise(way: tl.constexpr, weights: tl.tensor, allowed: tl.tensor) -> tl.tuple:
    """Weights that are a distribution again, see `masks.renormalise`, and the divisor (rows, 1) for the way back."""
    sums = tl.sum(weights, axis=1)[:, None]
    sums = tl.where(sums < SMALLEST_SUM, SMALLEST_SUM, sums)
    if way == SOFTMAX:
        weights = softmax(weights, allowed)
    elif way == SUM:
        weights = weights / sums
    return weights, sums


@compiled
def renormalise_back(way: tl.constexpr, y: tl.tensor, sums: tl.tensor, slope: tl.tensor) -> tl.tensor:
    """The slope by the weights from the slope by `y`, what `renormalise` has made of them."""
    if way == SOFTMAX:
        slope = softmax_back(y, slope)
    elif way == SUM:
        slope = (slope - tl.sum(y * slope, axis=1)[:, None]) / sums
    return slope
