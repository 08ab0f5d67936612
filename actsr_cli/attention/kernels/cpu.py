"""Calibrated attention of packed histories on a CPU as one differentiable operation."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.autograd.function import once_differentiable

from actsr_cli.attention.draws import Draws
from actsr_cli.attention.intervals import Relations
from actsr_cli.attention.kernels import arrays
from actsr_cli.attention.kernels.arrays import (
    Call,
    Drawn,
    Inputs,
    Layout,
    Saved,
    Settings,
    Streams,
    new_slopes,
    new_weights,
)
from actsr_cli.attention.kernels.ready import make_ready
from actsr_cli.attention.pairs import Pairs
from actsr_cli.threads import equal_parts, run_parts

Floats = NDArray[np.float32]

_SHARED = (
    *("order", "distance", "biases", "scalars"),
    *("key_positions", "value_positions", "key_intervals", "value_intervals"),
)
"""Inputs that all histories read: each thread adds up a gradient of its own."""


@dataclass(frozen=True)
class Operands:
    """The tensors that the operation reads and differentiates; None for what the attention does not have.

    Attributes:
        queries, attack_queries: (queries, hidden).
        keys, values, attack_keys: (tokens, hidden).
        gate: (queries, key positions) logits.
        order_weight, distance_weight: (1, 2 · width) of the pair maps; order_bias, distance_bias: (1,).
        sharpness: (1,) the scalar s.
        share: (1,) the adversarial side's share in the mixture.
        key_positions, value_positions: (positions, hidden).
        key_intervals, value_intervals: (span + 1, hidden).
    """

    queries: Tensor
    keys: Tensor
    values: Tensor
    attack_queries: Tensor | None
    attack_keys: Tensor | None
    gate: Tensor | None
    order_weight: Tensor | None
    order_bias: Tensor | None
    distance_weight: Tensor | None
    distance_bias: Tensor | None
    sharpness: Tensor | None
    share: Tensor | None
    key_positions: Tensor | None
    value_positions: Tensor | None
    key_intervals: Tensor | None
    value_intervals: Tensor | None


def attend(
    operands: Operands, settings: Settings, pairs: Pairs, draws: Draws, relations: Relations | None
) -> tuple[Tensor, Tensor, Tensor]:
    """Run the operation.

    Args:
        operands: what is attended to, float32 on a CPU.
        settings: how the attention is calibrated.
        pairs: the pairs that it may use.
        draws: random numbers per pair and head.
        relations: the intervals of the pairs, if the model uses them.

    Returns:
        (attending, hidden) attended values; the perturbed ones, or nothing if they are not wanted; and (queries,) the
        sum of M² - 2M over heads and keys, or nothing without a mask.

    Raises:
        ValueError: a history is longer than the model allows.
    """
    _check_bounds(operands, pairs)
    make_ready()
    drawn = Drawn(*(_flat(each) for each in (draws.attention, draws.plain, draws.mask, draws.noise)))
    task = _Task(_layout(pairs, relations), settings, drawn, equal_parts(pairs.host_costs), pairs.n_pairs)
    tensors = [getattr(operands, field.name) for field in fields(operands)]
    streams: tuple[Tensor, Tensor, Tensor] = _Attention.apply(task, *tensors)  # type: ignore[no-untyped-call]
    return streams


@dataclass(frozen=True)
class _Task:
    """What one call does, apart from its operands; `parts` are the histories of each thread."""

    layout: Layout
    settings: Settings
    drawn: Drawn
    parts: list[tuple[int, int]]
    n_pairs: int


class _Attention(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, task: _Task, *tensors: Tensor | None) -> tuple[Tensor, Tensor, Tensor]:
        from actsr_cli.attention.kernels.forward import forward  # importing the compiler takes half a second

        settings, operands = task.settings, Operands(*tensors)  # type: ignore[arg-type]
        masked = settings.combine != arrays.NOTHING
        n_attending = int(task.layout.outputs.max(initial=-1)) + 1
        hidden = operands.keys.shape[1]
        new = operands.keys.new_empty
        attended = new(n_attending, hidden)
        perturbed = new(n_attending if settings.perturb else 0, hidden)
        squares = new(len(operands.queries) if masked else 0)
        sizes = [each * task.n_pairs * settings.heads for each in (True, settings.side_by_side, masked)]
        saved = Saved(*(np.empty(size, dtype=np.float32) for size in sizes))
        call = Call(task.layout, settings, _inputs(operands, settings.heads), task.drawn, saved)
        to = Streams(_heads(attended, settings.heads), _heads(perturbed, settings.heads), squares.numpy())

        def run(_part: int, begin: int, end: int) -> None:
            forward(begin, end, call, to, new_weights(task.layout, settings.heads, begin, end))

        run_parts(run, task.parts)
        ctx.set_materialize_grads(False)
        ctx.save_for_backward(*tensors)
        ctx.task, ctx.saved = task, saved
        return attended, perturbed, squares

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *upstream: Tensor | None) -> tuple[Tensor | None, ...]:
        from actsr_cli.attention.kernels.backward import backward

        task, heads, operands = ctx.task, ctx.task.settings.heads, Operands(*ctx.saved_tensors)
        call = Call(task.layout, task.settings, _inputs(operands, heads), task.drawn, ctx.saved)
        attended, perturbed, squares = upstream
        streams = Streams(_heads(attended, heads), _heads(perturbed, heads), _flat(squares))
        # Tensors of torch: the products that read them depend, in their last digit, on where memory is aligned.
        zeros = [None if each is None else torch.zeros_like(each) for each in ctx.saved_tensors]
        found = Operands(*zeros)  # type: ignore[arg-type]
        pair = np.zeros(2, dtype=np.float32)
        first = _inputs(found, heads)._replace(biases=pair, scalars=pair.copy())
        shared = {name: np.zeros_like(getattr(first, name)) for name in _SHARED}
        of_part = [first] + [
            first._replace(**{name: np.zeros_like(value) for name, value in shared.items()}) for _ in task.parts[1:]
        ]

        def run(part: int, begin: int, end: int) -> None:
            w = new_weights(task.layout, heads, begin, end)
            backward(begin, end, call, streams, of_part[part], w, new_slopes(w))

        run_parts(run, task.parts)
        for other in of_part[1:]:
            for name in _SHARED:
                getattr(first, name)[...] += getattr(other, name)
        return None, *_gradients(found, first)


def _check_bounds(operands: Operands, pairs: Pairs) -> None:
    """Compiled code does not check its indices."""
    longest = pairs.packing.longest
    limits = [len(each) for each in (operands.key_positions, operands.value_positions) if each is not None]
    limits += [] if operands.gate is None else [operands.gate.shape[1]]
    if longest > min(limits, default=longest):
        raise ValueError(f"a history of {longest} is longer than the model allows: {min(limits)}")


def _layout(pairs: Pairs, relations: Relations | None) -> Layout:
    intervals = None if relations is None else relations.intervals[pairs.places]
    return Layout(
        offsets=pairs.packing.host_offsets,
        query_offsets=pairs.host_query_offsets,
        tokens=pairs.queries.numpy(),
        outputs=pairs.outputs.numpy(),
        starts=pairs.starts.numpy(),
        intervals=np.zeros(0, dtype=np.int64) if intervals is None else intervals.numpy(),
        log_distances=np.log1p(np.arange(pairs.packing.longest, dtype=np.float32)),
        causal=pairs.causal,
    )


def _inputs(operands: Operands, heads: int) -> Inputs:
    """The operands as arrays."""
    biases = [_flat(each) for each in (operands.order_bias, operands.distance_bias)]
    scalars = [_flat(each) for each in (operands.sharpness, operands.share)]
    no_gate = np.zeros((0, 0), dtype=np.float32)
    return Inputs(
        queries=_heads(operands.queries, heads),
        keys=_heads(operands.keys, heads),
        values=_heads(operands.values, heads),
        attack_queries=_heads(operands.attack_queries, heads),
        attack_keys=_heads(operands.attack_keys, heads),
        gate=no_gate if operands.gate is None else operands.gate.detach().contiguous().numpy(),
        order=_flat(operands.order_weight),
        distance=_flat(operands.distance_weight),
        biases=np.array([each[0] if len(each) else 0.0 for each in biases], dtype=np.float32),
        scalars=np.array([each[0] if len(each) else 0.5 for each in scalars], dtype=np.float32),
        key_positions=_heads(operands.key_positions, heads),
        value_positions=_heads(operands.value_positions, heads),
        key_intervals=_heads(operands.key_intervals, heads),
        value_intervals=_heads(operands.value_intervals, heads),
    )


def _gradients(found: Operands, filled: Inputs) -> list[Tensor | None]:
    """The gradient of each operand: `found`, whose memory is filled, and the numbers that lie elsewhere."""
    lone = {"order_bias": filled.biases[0], "distance_bias": filled.biases[1]}
    lone |= {"sharpness": filled.scalars[0], "share": filled.scalars[1]}
    gradients = {field.name: getattr(found, field.name) for field in fields(found)}
    for name, value in lone.items():
        if gradients[name] is not None:
            gradients[name].fill_(float(value))
    return list(gradients.values())


def _heads(values: Tensor | None, heads: int) -> Floats:
    """(rows, hidden) as an array (rows, heads, width) that shares its memory; no rows for None."""
    if values is None:
        return np.zeros((0, heads, 1), dtype=np.float32)
    array: Floats = values.detach().contiguous().numpy()
    return array.reshape(len(array), heads, -1) if len(array) else np.zeros((0, heads, 1), dtype=np.float32)


def _flat(values: Tensor | None) -> Floats:
    """All numbers of a tensor as an array that shares its memory; none for None."""
    return np.zeros(0, dtype=np.float32) if values is None else values.detach().contiguous().view(-1).numpy()
