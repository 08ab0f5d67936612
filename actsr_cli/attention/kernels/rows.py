"""Arithmetic on the attention weights of one query: all heads side by side, `n` keys each.

Every function works in place on the first heads × n numbers of float32 arrays. Loops over all heads are long enough
to fill vectors even where histories are short. Parts of an array are cut out before a loop: an index that might be
negative keeps the compiler from using vectors.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from actsr_cli.attention.kernels.arrays import SOFTMAX, SUM, Array
from actsr_cli.attention.kernels.compiling import bits_as_float32, compiled, inlined

Number = Any

SMALLEST_SUM = np.float32(1e-9)
ONE, ZERO = np.float32(1), np.float32(0)


@inlined
def exp(x: Number) -> Number:
    """e to the power of x to within 1e-7 of itself, between e^-87 and e^88; NaN stays NaN (Cephes' polynomial)."""
    if x < np.float32(-87):
        x = np.float32(-87)
    if x > np.float32(88):
        x = np.float32(88)
    power = np.floor(x * np.float32(1.44269504) + np.float32(0.5))
    rest = x - power * np.float32(0.693359375) + power * np.float32(2.12194440e-4)
    y = np.float32(1.9875691500e-4)
    y = y * rest + np.float32(1.3981999507e-3)
    y = y * rest + np.float32(8.3334519073e-3)
    y = y * rest + np.float32(4.1665795894e-2)
    y = y * rest + np.float32(1.6666665459e-1)
    y = y * rest + np.float32(5.0000001201e-1)
    y = y * rest * rest + rest + ONE
    return y * bits_as_float32(np.int32((np.int32(power) + np.int32(127)) << np.int32(23)))


@inlined
def sigmoid(x: Number) -> Number:
    """1 / (1 + e^-x)."""
    return ONE / (ONE + exp(-x))


@inlined
def softplus(x: Number) -> Number:
    """log(1 + e^x), by the series of the inverse hyperbolic tangent."""
    small = exp(-abs(x))
    s = small / (np.float32(2) + small)
    square = s * s
    y = np.float32(2 / 13)
    y = y * square + np.float32(2 / 11)
    y = y * square + np.float32(2 / 9)
    y = y * square + np.float32(2 / 7)
    y = y * square + np.float32(2 / 5)
    y = y * square + np.float32(2 / 3)
    y = y * square + np.float32(2)
    return (x if x > ZERO else ZERO) + s * y


@inlined
def softmax(x: Array, heads: int, n: int) -> None:
    """Softmax over the keys of each head."""
    for h in range(heads):
        part = x[h * n : h * n + n]
        largest = part[0]
        for j in range(1, n):
            if part[j] > largest:
                largest = part[j]
        for j in range(n):
            part[j] -= largest
    for j in range(heads * n):
        x[j] = exp(x[j])
    for h in range(heads):
        part, total = x[h * n : h * n + n], ZERO
        for j in range(n):
            total += part[j]
        share = ONE / total
        for j in range(n):
            part[j] *= share


@inlined
def softmax_back(y: Array, slope: Array, heads: int, n: int) -> None:
    """The slope by the logits from the slope by the softmax `y`."""
    for h in range(heads):
        of_y, part, mean = y[h * n : h * n + n], slope[h * n : h * n + n], ZERO
        for j in range(n):
            mean += of_y[j] * part[j]
        for j in range(n):
            part[j] = of_y[j] * (part[j] - mean)


@inlined
def renormalise(way: int, w: Array, sums: Array, heads: int, n: int) -> None:
    """Make weights a distribution again, see `masks.renormalise`; `sums` (heads,) are kept for the way back."""
    if way == SOFTMAX:
        softmax(w, heads, n)
    elif way == SUM:
        for h in range(heads):
            part, total = w[h * n : h * n + n], ZERO
            for j in range(n):
                total += part[j]
            if total < SMALLEST_SUM:
                total = SMALLEST_SUM
            sums[h] = total
            share = ONE / total
            for j in range(n):
                part[j] *= share


@inlined
def renormalise_back(way: int, y: Array, sums: Array, slope: Array, heads: int, n: int) -> None:
    """The slope by the weights from the slope by `y`, what `renormalise` has made of them."""
    if way == SOFTMAX:
        softmax_back(y, slope, heads, n)
    elif way == SUM:
        for h in range(heads):
            of_y, part, mean = y[h * n : h * n + n], slope[h * n : h * n + n], ZERO
            for j in range(n):
                mean += of_y[j] * part[j]
            share = ONE / sums[h]
            for j in range(n):
                part[j] = (part[j] - mean) * share


@inlined
def scaled(x: Array, factors: Array, start: int, size: int, out: Array) -> None:
    """`out` = x times the factors from `start` on, if there are any."""
    if len(factors):
        part = factors[start : start + size]
        for j in range(size):
            out[j] = x[j] * part[j]
    else:
        for j in range(size):
            out[j] = x[j]


@inlined
def copied(x: Array, size: int, out: Array) -> None:
    """`out` = x."""
    for j in range(size):
        out[j] = x[j]


@compiled
def exponentials(x: Array, sums: Array) -> None:
    """Replace x, (rows, columns), by its exponentials, and add the sum of each row to `sums`, (rows,)."""
    for i in range(len(x)):
        row, total = x[i], ZERO
        for j in range(len(row)):
            y = exp(row[j])
            row[j] = y
            total += y
        sums[i] += total
