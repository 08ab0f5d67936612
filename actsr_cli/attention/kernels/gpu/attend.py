"""Calibrated attention of packed histories on a GPU as one differentiable operation."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import torch
import triton
from einops import rearrange
from torch import Tensor
from torch.autograd.function import once_differentiable

from actsr_cli.attention.draws import Draws
from actsr_cli.attention.kernels import arrays
from actsr_cli.attention.kernels.cpu import Operands
from actsr_cli.attention.kernels.gpu.arrays import ROWS, Call, Drawn, Inputs, Layout, Settings, Streams
from actsr_cli.attention.kernels.gpu.backward import backward
from actsr_cli.attention.kernels.gpu.compiling import launch
from actsr_cli.attention.kernels.gpu.forward import forward
from actsr_cli.attention.pairs import Pairs

_SMALLEST_SIDE = 16
"""Smallest side of a matrix in a product of tiles."""


def attend(
    operands: Operands, settings: arrays.Settings, pairs: Pairs, draws: Draws, annealed: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """Run the operation. Nothing waits for the device.

    Args:
        operands: what is attended to, float32, bfloat16 or float16, without positions and intervals. All arithmetic is
            float32.
        settings: how the attention is calibrated; `annealed` of it is not read.
        pairs: the pairs that it may use.
        draws: random numbers per pair and head.
        annealed: () the share of A while annealing, on the device.

    Returns:
        (attending, hidden) attended values; the perturbed ones, or nothing if they are not wanted; and (queries,) the
        sum of M² - 2M over heads and keys, or nothing without a mask.

    Raises:
        ValueError: a history is longer than the model allows.
    """
    longest = pairs.packing.longest
    if operands.gate is not None and longest > operands.gate.shape[1]:
        raise ValueError(f"a history of {longest} is longer than the model allows: {operands.gate.shape[1]}")
    drawn = Drawn(*(_flat(each) for each in (draws.attention, draws.plain, draws.mask, draws.noise)))
    width = operands.keys.shape[1] // settings.heads
    task = _Task(_layout(pairs), _compiled_in(settings, pairs, width), drawn, annealed, pairs)
    streams: tuple[Tensor, Tensor, Tensor] = _Attention.apply(task, *_inputs(operands, settings.heads))  # type: ignore[no-untyped-call]
    return streams


@dataclass(frozen=True)
class _Task:
    """What one call does, apart from its inputs."""

    layout: Layout
    settings: Settings
    drawn: Drawn
    annealed: Tensor
    pairs: Pairs

    def call(self, inputs: Inputs) -> Call:
        """What the kernels read."""
        return Call(self.layout, inputs, self.drawn, self.annealed, self.pairs.packing.longest)

    @property
    def warps(self) -> int:
        """Warps of a program: 32 threads each share the numbers of a tile."""
        return max(4, min(16, self.settings.keys // 8))


class _Attention(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, task: _Task, *tensors: Tensor | None) -> tuple[Tensor, Tensor, Tensor]:
        inputs, settings, pairs = Inputs(*tensors), task.settings, task.pairs
        n_attending, n_queries, hidden = len(pairs.attending), len(pairs.queries), inputs.values_.shape[1]
        masked = settings.combine != arrays.NOTHING
        new = inputs.values_.new_empty
        attended = new(n_attending, hidden)
        perturbed = new(n_attending if settings.perturb else 0, hidden)
        squares = new(settings.heads if masked else 0, n_queries, dtype=torch.float32)
        grid = (len(pairs.packing), -(-pairs.packing.longest // ROWS.value), settings.heads)
        streams = Streams(attended, perturbed, squares)
        launch(forward, grid, task.warps, attended.device, task.call(inputs), streams, settings)
        ctx.set_materialize_grads(False)
        ctx.save_for_backward(*tensors)
        ctx.task = task
        return attended, perturbed, squares.sum(dim=0) if masked else squares.view(-1)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *upstream: Tensor | None) -> tuple[Tensor | None, ...]:
        task, inputs = ctx.task, Inputs(*ctx.saved_tensors)
        streams = Streams(*(None if each is None else each.contiguous() for each in upstream))
        found = _gradients(task, inputs, streams)
        launch(
            backward,
            (len(task.pairs.packing), task.settings.heads),
            task.warps,
            inputs.values_.device,
            task.call(inputs),
            streams,
            found,
            task.settings,
        )
        summed = {
            "gate": None if found.gate is None else found.gate.sum(dim=0).to(inputs.gate.dtype),
            "sharpness": None if found.sharpness is None else found.sharpness.sum().view(1),
            "share": None if found.share is None else found.share.sum().view(1),
        }
        return None, *found._replace(**summed)


def _gradients(task: _Task, inputs: Inputs, streams: Streams) -> Inputs:
    """Memory for the gradients that the streams have, None for others.

    The penalty alone reaches only the adversary; the perturbed attention does not reach the gate.
    """
    none = Inputs(*(None for _ in inputs))
    if streams.attended is None and streams.perturbed is None:
        wanted = {"attack_queries", "attack_keys"}
    else:
        wanted = set(Inputs._fields) - {"gate", "sharpness", "share"}
    made = {
        name: torch.empty_like(value)
        for name, value in inputs._asdict().items()
        if name in wanted and value is not None
    }
    n_programs, heads = len(task.pairs.packing), task.settings.heads
    if streams.attended is not None and inputs.gate is not None:
        made["gate"] = inputs.gate.new_empty(heads, *inputs.gate.shape, dtype=torch.float32)
    for name in ("sharpness", "share"):
        if getattr(inputs, name) is not None and "queries" in made:
            made[name] = inputs.keys.new_empty(n_programs, heads, dtype=torch.float32)
    return none._replace(**made)


def _compiled_in(settings: arrays.Settings, pairs: Pairs, width: int) -> Settings:
    return Settings(
        heads=settings.heads,
        width=width,
        columns=_padded(width),
        keys=_padded(pairs.packing.longest),
        causal=pairs.causal,
        scale=float(settings.scale),
        root=math.sqrt(settings.scale / 2),
        combine=settings.combine,
        renorm=settings.renorm,
        order=settings.order,
        distance=settings.distance,
        saturating=settings.saturating,
        side_by_side=settings.side_by_side,
        perturb=settings.perturb,
    )


def _padded(size: int) -> int:
    """The next power of two, at least the smallest side of a product."""
    padded: int = triton.next_power_of_2(size)
    return max(_SMALLEST_SIDE, padded)


def _layout(pairs: Pairs) -> Layout:
    return Layout(
        offsets=pairs.packing.offsets,
        query_offsets=pairs.query_offsets,
        positions=pairs.positions,
        outputs=pairs.outputs,
        starts=pairs.starts,
    )


def _inputs(operands: Operands, heads: int) -> Inputs:
    """The operands, with the addends of the pair maps in place of their weights."""
    order = _addends(operands, operands.order_weight, operands.order_bias, heads)
    distance = _addends(operands, operands.distance_weight, operands.distance_bias, heads)
    return Inputs(
        queries=operands.queries.contiguous(),
        keys=operands.keys.contiguous(),
        values_=operands.values.contiguous(),
        attack_queries=_contiguous(operands.attack_queries),
        attack_keys=_contiguous(operands.attack_keys),
        gate=_contiguous(operands.gate),
        order_queries=order[0],
        order_keys=order[1],
        distance_queries=distance[0],
        distance_keys=distance[1],
        sharpness=operands.sharpness,
        share=operands.share,
    )


def _addends(
    operands: Operands, weight: Tensor | None, bias: Tensor | None, heads: int
) -> tuple[Tensor, Tensor] | tuple[None, None]:
    """The addends of a pair map, (queries, heads) and (tokens, heads), see `PairAffine`."""
    if weight is None or bias is None:
        return None, None
    queries, keys = (rearrange(each, "n (h d) -> n h d", h=heads) for each in (operands.queries, operands.keys))
    query_weight, key_weight = weight[0].chunk(2)
    return queries @ query_weight + bias, keys @ key_weight


def _contiguous(values: Tensor | None) -> Tensor | None:
    return None if values is None else values.contiguous()


def _flat(values: Tensor | None) -> Tensor | None:
    return None if values is None else values.contiguous().view(-1)
