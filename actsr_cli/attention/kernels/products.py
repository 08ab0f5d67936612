"""Products of one query with the keys of its history, head by head."""

from __future__ import annotations

from typing import Any

import numpy as np

from actsr_cli.attention.kernels.arrays import Array, Call, Inputs, Row
from actsr_cli.attention.kernels.compiling import compiled

ZERO = np.float32(0)


@compiled
def dot(x: Array, y: Array) -> Any:
    """Σ x·y over the width of a head."""
    total = ZERO
    for c in range(len(x)):
        total += x[c] * y[c]
    return total


@compiled
def add_scaled(factor: Any, x: Array, out: Array) -> None:
    """`out` += factor · x."""
    for c in range(len(x)):
        out[c] += factor * x[c]


@compiled
def score(x: Array, keys: Array, row: Row, factor: Any, out: Array) -> None:
    """`out` = factor · x·key for each head and key; x is (heads, width)."""
    for h in range(len(x)):
        query = x[h]
        for j in range(row.n):
            out[h * row.n + j] = dot(query, keys[row.first + j, h]) * factor


@compiled
def score_back(slope: Array, x: Array, keys: Array, row: Row, to_x: Array, to_keys: Array) -> None:
    """Add the gradients of x, (heads, width), and of the keys, from the slope by x·key."""
    for h in range(len(x)):
        query, to_query = x[h], to_x[h]
        for j in range(row.n):
            s = slope[h * row.n + j]
            add_scaled(s, keys[row.first + j, h], to_query)
            add_scaled(s, query, to_keys[row.first + j, h])


@compiled
def attend(weights: Array, values: Array, row: Row, out: Array) -> None:
    """`out` = the weighted sum of the values of each head, (heads, width)."""
    for h in range(len(out)):
        total = out[h]
        for c in range(len(total)):
            total[c] = ZERO
        for j in range(row.n):
            add_scaled(weights[h * row.n + j], values[row.first + j, h], total)


@compiled
def attend_back(weights: Array, upstream: Array, row: Row, to_values: Array) -> None:
    """Add the gradient of the values from the one of their weighted sum, (heads, width)."""
    for h in range(len(upstream)):
        for j in range(row.n):
            add_scaled(weights[h * row.n + j], upstream[h], to_values[row.first + j, h])


@compiled
def score_relations(call: Call, row: Row, factor: Any, out: Array) -> None:
    """Add factor · x·(vector of the key's position + vector of the pair's interval) to the scores."""
    ins, x = call.ins, call.ins.queries[row.query]
    for h in range(len(x)):
        for j in range(row.n):
            interval = call.layout.intervals[row.pair + j]
            both = dot(x[h], ins.key_positions[j, h]) + dot(x[h], ins.key_intervals[interval, h])
            out[h * row.n + j] += factor * both


@compiled
def score_relations_back(call: Call, row: Row, slope: Array, to: Inputs) -> None:
    """Add the gradients of query, positions and intervals from the slope by their products."""
    ins, x, to_x = call.ins, call.ins.queries[row.query], to.queries[row.query]
    for h in range(len(x)):
        for j in range(row.n):
            s, interval = slope[h * row.n + j], call.layout.intervals[row.pair + j]
            add_scaled(s, ins.key_positions[j, h], to_x[h])
            add_scaled(s, ins.key_intervals[interval, h], to_x[h])
            add_scaled(s, x[h], to.key_positions[j, h])
            add_scaled(s, x[h], to.key_intervals[interval, h])


@compiled
def attend_relations(call: Call, row: Row, weights: Array, out: Array) -> None:
    """Add the weighted vectors of positions and intervals to the attended values."""
    ins = call.ins
    for h in range(len(out)):
        for j in range(row.n):
            weight = weights[h * row.n + j]
            add_scaled(weight, ins.value_positions[j, h], out[h])
            add_scaled(weight, ins.value_intervals[call.layout.intervals[row.pair + j], h], out[h])


@compiled
def attend_relations_back(call: Call, row: Row, weights: Array, upstream: Array, to: Inputs, slope: Array) -> None:
    """Add the gradients of the position and interval vectors, and their part of the slope by the weights."""
    ins = call.ins
    for h in range(len(upstream)):
        for j in range(row.n):
            weight, interval = weights[h * row.n + j], call.layout.intervals[row.pair + j]
            add_scaled(weight, upstream[h], to.value_positions[j, h])
            add_scaled(weight, upstream[h], to.value_intervals[interval, h])
            slope[h * row.n + j] += dot(upstream[h], ins.value_positions[j, h])
            slope[h * row.n + j] += dot(upstream[h], ins.value_intervals[interval, h])
