"""Calibrated attention of packed sequences: by a kernel where one covers it, otherwise in the padded form."""

from __future__ import annotations

import math
import os
from dataclasses import dataclass
from functools import cache
from importlib.metadata import version
from importlib.util import find_spec

import torch
from packaging.version import Version
from torch import Tensor

from actsr_cli.attention.adversarial import AdversarialCalibrator
from actsr_cli.attention.calibrated import CalibratedSelfAttention
from actsr_cli.attention.draws import Draws
from actsr_cli.attention.dropout import dropout_factors
from actsr_cli.attention.intervals import Relations
from actsr_cli.attention.kernels import arrays, cpu
from actsr_cli.attention.masks import allowed_pairs
from actsr_cli.attention.objective import mask_squares
from actsr_cli.attention.pairs import Pairs
from actsr_cli.attention.stages import AttentionStages

KERNELS = "ACTSR_KERNELS"
"""Environment variable: with 0, the readable form computes everything."""
_COMBINE = {"gate": arrays.GATE, "fixed": arrays.FIXED, "annealing": arrays.ANNEALING}
_RENORM = {"softmax": arrays.SOFTMAX, "sum": arrays.SUM, "none": arrays.NONE}
_GPU_TYPES = (torch.float32, torch.bfloat16, torch.float16)
_LONGEST_ON_GPU, _WIDEST_ON_GPU, _LARGEST_ON_GPU = 256, 64, 256 * 32
"""Keys of a history, width of a head, and numbers of both together, each padded to a power of two."""
_OLDEST_TRITON = Version("3.7")
"""The interpreter of 3.6 does not run the kernels, so they are not tested with it."""


@dataclass(frozen=True)
class PackedOutput:
    """What the attention of packed sequences returns.

    Attributes:
        attended: (attending, hidden) attended values.
        perturbed: the same under the perturbed attention, or None.
        squares: (queries,) the sum over heads and keys of M² - 2M of the adversarial mask M, or None without one.
        stages: every stage, padded: (sequences, heads, longest, longest). None unless requested.
    """

    attended: Tensor
    perturbed: Tensor | None = None
    squares: Tensor | None = None
    stages: AttentionStages | None = None


def attend_packed(
    attention: CalibratedSelfAttention,
    hidden: Tensor,
    pairs: Pairs,
    *,
    relations: Relations | None = None,
    perturb: bool = False,
    keep_stages: bool = False,
) -> PackedOutput:
    """Compute calibrated attention of packed sequences.

    Args:
        attention: the attention.
        hidden: (tokens, hidden_size) hidden states.
        pairs: the pairs that it may use, and the tokens whose attention is wanted.
        relations: positions and time intervals of the pairs, if the model uses them.
        perturb: also return the perturbed stream.
        keep_stages: also return every stage of the attention.
    """
    on_gpu = covered_on_gpu(attention, hidden.device.type, hidden.dtype, pairs, relations)
    wanted = not keep_stages and os.environ.get(KERNELS) != "0"
    if not (wanted and (on_gpu or covered(attention, hidden))):
        return in_padded_form(attention, hidden, pairs, relations, perturb=perturb, keep_stages=keep_stages)
    draws = draw(attention, hidden, pairs, perturb=perturb)
    return by_kernel(attention, hidden, pairs, relations, draws, perturb=perturb, on_gpu=on_gpu)


def covered(attention: CalibratedSelfAttention, hidden: Tensor) -> bool:
    """Whether the kernel for CPUs computes this: float32, without `attending_with` and `reads_forbidden_keys`.

    A graph that PyTorch traces has the readable form.
    """
    if hidden.device.type != "cpu" or hidden.dtype != torch.float32 or torch.is_autocast_enabled("cpu"):
        return False
    if torch.compiler.is_compiling():
        return False
    return attention.attends_with == "calibrated" and not reads_forbidden_keys(attention)


def covered_on_gpu(
    attention: CalibratedSelfAttention,
    device_type: str,
    dtype: torch.dtype,
    pairs: Pairs,
    relations: Relations | None,
) -> bool:
    """Whether the kernels for GPUs compute this.

    They need CUDA and Triton. They have no relations, whose sums per time interval would be added up in any order. A
    history and a head must be small enough for the memory of a program.
    """
    if device_type != "cuda" or dtype not in _GPU_TYPES or relations is not None or not has_triton():
        return False
    longest, width = (_padded(each) for each in (pairs.packing.longest, attention.key.out_features // attention.heads))
    if longest > _LONGEST_ON_GPU or width > _WIDEST_ON_GPU or longest * width > _LARGEST_ON_GPU:
        return False
    return attention.attends_with == "calibrated" and not reads_forbidden_keys(attention)


def _padded(size: int) -> int:
    """The next power of two."""
    return 1 << (size - 1).bit_length()


@cache
def has_triton() -> bool:
    """Whether a version of Triton that the kernels know is installed."""
    if find_spec("triton") is None:
        return False
    return Version(version("triton")) >= _OLDEST_TRITON


def reads_padding(attention: CalibratedSelfAttention, *, perturb: bool) -> bool:
    """Whether values of forbidden keys are attended to: the published code's fault with `renorm: none`.

    The perturbed attention reads them, and with `fixed` the calibrated one, too.
    """
    adversarial = attention.adversarial
    if adversarial is None or not adversarial.published_faults or adversarial.renorm != "none":
        return False
    return perturb or adversarial.combine_by == "fixed"


def reads_forbidden_keys(attention: CalibratedSelfAttention) -> bool:
    """Whether forbidden keys change the weights of others, by `reads_padding` or by the fault with `fixed`."""
    adversarial = attention.adversarial
    if adversarial is None or not adversarial.published_faults:
        return False
    return adversarial.renorm == "none" or adversarial.combine_by == "fixed"


def draw(attention: CalibratedSelfAttention, hidden: Tensor, pairs: Pairs, *, perturb: bool) -> Draws:
    """The random numbers of this call, (entries,) each."""
    adversarial = attention.adversarial
    dropout = attention.dropout if attention.training else 0.0
    if not dropout and (adversarial is None or not perturb):
        return Draws()
    entries = hidden.new_empty(pairs.n_pairs * attention.heads)
    needed = (True, attention.side_by_side, adversarial is not None)
    of_attention, of_plain, of_mask = (
        dropout_factors(entries, dropout) if dropout and each else None for each in needed
    )
    noise = None if adversarial is None or not perturb else adversarial.draw_noise(entries)
    return Draws(of_attention, of_plain, of_mask, noise)


def in_padded_form(
    attention: CalibratedSelfAttention,
    hidden: Tensor,
    pairs: Pairs,
    relations: Relations | None,
    draws: Draws | None = None,
    *,
    perturb: bool,
    keep_stages: bool = False,
) -> PackedOutput:
    """`attend_packed` by the readable form, with the given random numbers or with new ones."""
    packing = pairs.packing
    lengths = packing.lengths if pairs.real_lengths is None else pairs.real_lengths
    allowed = allowed_pairs(lengths, packing.longest, causal=pairs.causal)
    output = attention(
        packing.pad(hidden),
        allowed,
        relations=relations,
        perturb=perturb,
        keep_stages=keep_stages,
        draws=None if draws is None else draws.padded(pairs, attention.heads),
    )
    wanted = pairs.attending
    squares = None
    if output.mask is not None:
        squares = packing.pack(mask_squares(output.mask))[pairs.queries]
    return PackedOutput(
        attended=packing.pack(output.attended)[wanted],
        perturbed=None if output.perturbed is None else packing.pack(output.perturbed)[wanted],
        squares=squares,
        stages=output.stages,
    )


def by_kernel(
    attention: CalibratedSelfAttention,
    hidden: Tensor,
    pairs: Pairs,
    relations: Relations | None,
    draws: Draws,
    *,
    perturb: bool,
    on_gpu: bool = False,
) -> PackedOutput:
    """`attend_packed` by the kernels for GPUs or the one for CPUs, with the given random numbers.

    Only tests run the former on a CPU: Triton interprets them there.
    """
    operands = _operands(attention, hidden, pairs, relations)
    perturb = perturb and attention.adversarial is not None
    if on_gpu:
        from actsr_cli.attention.kernels.gpu import attend as gpu  # Triton is not installed everywhere

        settings, annealed = _settings(attention, 0.0, perturb=perturb), _annealed_on_device(attention, hidden)
        attended, perturbed, squares = gpu.attend(operands, settings, pairs, draws, annealed)
    else:
        settings = _settings(attention, _annealed(attention.adversarial), perturb=perturb)
        attended, perturbed, squares = cpu.attend(operands, settings, pairs, draws, relations)
    return PackedOutput(
        attended=attention.output(attended),
        perturbed=attention.output(perturbed) if perturb else None,
        squares=None if attention.adversarial is None else squares,
    )


def _operands(
    attention: CalibratedSelfAttention, hidden: Tensor, pairs: Pairs, relations: Relations | None
) -> cpu.Operands:
    rows = hidden[pairs.queries] if pairs.only_rows else hidden
    queries, keys = attention.query(rows), attention.key(hidden)
    spatial, adversarial = attention.spatial, attention.adversarial
    order = None if spatial is None else spatial.order
    distance = None if spatial is None else spatial.distance
    return cpu.Operands(
        queries=queries,
        keys=keys,
        values=attention.value(hidden),
        attack_queries=None if adversarial is None else adversarial.adversary["query"](queries),
        attack_keys=None if adversarial is None else adversarial.adversary["key"](keys),
        gate=None if adversarial is None else adversarial.gate_logits(queries, pairs.packing.longest),
        order_weight=None if order is None else order.weight,
        order_bias=None if order is None else order.bias,
        distance_weight=None if distance is None else distance.weight,
        distance_bias=None if distance is None else distance.bias,
        sharpness=None if spatial is None else spatial.sharpness,
        share=attention.adversarial_share,
        key_positions=None if relations is None else relations.key_positions,
        value_positions=None if relations is None else relations.value_positions,
        key_intervals=None if relations is None else relations.key_intervals,
        value_intervals=None if relations is None else relations.value_intervals,
    )


def _settings(attention: CalibratedSelfAttention, annealed: float, *, perturb: bool) -> arrays.Settings:
    spatial, adversarial = attention.spatial, attention.adversarial
    return arrays.Settings(
        heads=attention.heads,
        scale=arrays.float32(attention.scale),
        combine=arrays.NOTHING if adversarial is None else _COMBINE[adversarial.combine_by],
        annealed=arrays.float32(annealed),
        renorm=_RENORM["none" if adversarial is None else adversarial.renorm],
        order=spatial is not None and spatial.order is not None,
        distance=spatial is not None and spatial.distance is not None,
        saturating=spatial is not None and spatial.saturating,
        side_by_side=attention.side_by_side,
        perturb=perturb,
    )


def _annealed(adversarial: AdversarialCalibrator | None) -> float:
    """The share of A while annealing."""
    if adversarial is None or adversarial.combine_by != "annealing":
        return 0.0
    return math.exp(-int(adversarial.step) / adversarial.annealing_steps)


def _annealed_on_device(attention: CalibratedSelfAttention, like: Tensor) -> Tensor:
    """() the same as a tensor: reading the step on the host would wait for the device."""
    adversarial = attention.adversarial
    if adversarial is None or adversarial.combine_by != "annealing":
        return like.new_zeros(())
    return torch.exp(-adversarial.step / adversarial.annealing_steps)
