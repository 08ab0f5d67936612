"""Products of one query with the keys of its history, head by head."""

from __future__ import annotations

from typing import Any

import numpy as np

from actsr_cli.attention.kernels.arrays import Array, Call, Inputs, Row
from actsr_cli.attention.kernels.compiling import inlined

ZERO = np.float32(0)


@inlined
def dot(x: Array, y: Array) -> Any:
    """Σ x·y over the width of a head."""
    total = ZERO
    for c in range(len(x)):
        total += x[c] * y[c]
    return total


@inlined
def add_scaled(factor: Any, x: Array, out: Array) -> None:
    """`out` += factor · x."""
    for c in range(len(x)):
        out[c] += factor * x[c]


@inlined
def score(x: Array, keys: Array, row: Row, factor: Any, out: Array) -> None:
    """`out` = factor · x·key for each head and key; x is (heads, width)."""
    for h in range(len(x)):
        query = x[h]
        for j in range(row.n):
            out[h * row.n + j] = dot(query, keys[row.first + j, h]) * factor


@inlined
def score_back(slope: Array, x: Array, keys: Array, row: Row, to_x: Array, to_keys: Array) -> None:
    """Add the gradients of x, (heads, width), and of the keys, from the slope by x·key."""
    for h in range(len(x)):
        query, to_query = x[h], to_x[h]
        for j in range(row.n):
            s, key, to_key = slope[h * row.n + j], keys[row.first + j, h], to_keys[row.first + j, h]
            for c in range(len(query)):  # one loop for both: half the time of two
                to_query[c] += s * key[c]
                to_key[c] += s * query[c]


@inlined
def attend(weights: Array, values: Array, row: Row, out: Array) -> None:
    """`out` = the weighted sum of the values of each head, (heads, width)."""
    for h in range(len(out)):
        total = out[h]
        for c in range(len(total)):
            total[c] = ZERO
        for j in range(row.n):
            weight, value = weights[h * row.n + j], values[row.first + j, h]
            for c in range(len(total)):
                total[c] += weight * value[c]


@inlined
def attend_back(weights: Array, upstream: Array, row: Row, to_values: Array) -> None:
    """Add the gradient of the values from the one of their weighted sum, (heads, width)."""
    for h in range(len(upstream)):
        slope = upstream[h]
        for j in range(row.n):
            weight, to_value = weights[h * row.n + j], to_values[row.first + j, h]
            for c in range(len(slope)):
                to_value[c] += weight * slope[c]


@inlined
def score_relations(call: Call, row: Row, factor: Any, out: Array) -> None:
    """Add factor · x·(vector of the key's position + vector of the pair's interval) to the scores."""
    ins, x = call.ins, call.ins.queries[row.query]
    for h in range(len(x)):
        for j in range(row.n):
            interval = call.layout.intervals[row.pair + j]
            both = dot(x[h], ins.key_positions[j, h]) + dot(x[h], ins.key_intervals[interval, h])
            out[h * row.n + j] += factor * both


@inlined
def score_relations_back(call: Call, row: Row, slope: Array, to: Inputs) -> None:
    """Add the gradients of query, positions and intervals from the slope by their products."""
    positions, intervals, to_positions, to_intervals = (
        call.ins.key_positions,
        call.ins.key_intervals,
        to.key_positions,
        to.key_intervals,
    )
    rows = call.layout.intervals[row.pair : row.pair + row.n]
    for h in range(len(to.queries[row.query])):
        x, to_x = call.ins.queries[row.query, h], to.queries[row.query, h]
        for j in range(row.n):
            s, position, to_position = slope[h * row.n + j], positions[j, h], to_positions[j, h]
            for c in range(len(x)):
                to_x[c] += s * position[c]
                to_position[c] += s * x[c]
            vector, to_vector = intervals[rows[j], h], to_intervals[rows[j], h]
            for c in range(len(x)):
                to_x[c] += s * vector[c]
                to_vector[c] += s * x[c]


@inlined
def attend_relations(call: Call, row: Row, weights: Array, out: Array) -> None:
    """Add the weighted vectors of positions and intervals to the attended values."""
    positions, intervals = call.ins.value_positions, call.ins.value_intervals
    rows = call.layout.intervals[row.pair : row.pair + row.n]
    for h in range(len(out)):
        total = out[h]
        for j in range(row.n):
            weight, position, vector = weights[h * row.n + j], positions[j, h], intervals[rows[j], h]
            for c in range(len(total)):
                total[c] += weight * (position[c] + vector[c])


@inlined
def attend_relations_back(call: Call, row: Row, weights: Array, upstream: Array, to: Inputs, slope: Array) -> None:
    """Add the gradients of the position and interval vectors, and their part of the slope by the weights."""
    positions, intervals = call.ins.value_positions, call.ins.value_intervals
    to_positions, to_intervals = to.value_positions, to.value_intervals
    rows = call.layout.intervals[row.pair : row.pair + row.n]
    for h in range(len(upstream)):
        of_head = upstream[h]
        for j in range(row.n):
            position, vector, by_weight = positions[j, h], intervals[rows[j], h], ZERO
            for c in range(len(of_head)):
                by_weight += of_head[c] * (position[c] + vector[c])
            slope[h * row.n + j] += by_weight
            weight, to_position, to_vector = weights[h * row.n + j], to_positions[j, h], to_intervals[rows[j], h]
            for c in range(len(of_head)):
                to_position[c] += weight * of_head[c]
                to_vector[c] += weight * of_head[c]
