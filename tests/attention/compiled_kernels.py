"""Compiles the kernels for GPUs to machine code of an H100 (sm_90) and prints their names; nothing runs."""

from __future__ import annotations

from typing import Any

import torch
import triton
from flat import packed
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource

from actsr_cli.attention import Pairs, calibrated_self_attention
from actsr_cli.attention.kernels.gpu import attend
from actsr_cli.attention.kernels.gpu.compiling import STAGES
from actsr_cli.attention.packed import by_kernel, draw

TARGET = GPUTarget("cuda", 90, 32)
SHARED_MEMORY = 64 * 1024  # bytes that a program may have on the smallest GPUs, such as a T4
TYPES = {torch.float32: "*fp32", torch.bfloat16: "*bf16", torch.int64: "*i64"}
Constants = dict[tuple[int, ...], Any]


def signature(argument: Any, path: tuple[int, ...], constants: Constants) -> Any:
    """The type of an argument in Triton's words, as at a launch; what is None is compiled in."""
    if argument is None:
        constants[path] = None
        return "constexpr"
    if isinstance(argument, torch.Tensor):
        return TYPES[argument.dtype]
    if isinstance(argument, tuple):
        fields = [signature(each, (*path, index), constants) for index, each in enumerate(argument)]
        return type(argument)(*fields)
    assert type(argument) is int
    return "i32"


def compile_only(kernel: Any, grid: tuple[int, ...], warps: int, _: torch.device, *arguments: Any) -> None:
    """Takes the place of `launch`."""
    *tensors, settings = arguments
    constants: Constants = {}
    types = {
        name: signature(argument, (index,), constants)
        for index, (name, argument) in enumerate(zip(kernel.arg_names, tensors, strict=False))
    }
    types["settings"], constants[len(tensors),] = "constexpr", settings
    options = {"num_warps": warps, "num_stages": STAGES}
    made = triton.compile(ASTSource(kernel, types, constants), target=TARGET, options=options)
    assert made.asm["cubin"] and made.metadata.shared <= SHARED_MEMORY
    print(kernel.__name__)


def compile_training(
    dtype: torch.dtype = torch.float32, skip: int = 0, width: int = 16, longest: int = 3, **options: Any
) -> None:
    """Compile both kernels as a training launches them, for gradients by all streams but the first `skip`."""
    attention = calibrated_self_attention(width, 1, max_length=longest, dropout=0.1, **options).to(dtype)
    pairs = Pairs(packed([2, longest]), causal=True)
    hidden = torch.zeros(2 + longest, width, dtype=dtype, requires_grad=True)
    output = by_kernel(
        attention, hidden, pairs, None, draw(attention, hidden, pairs, perturb=True), perturb=True, on_gpu=True
    )
    streams = [each.sum() for each in (output.attended, output.perturbed, output.squares) if each is not None]
    torch.autograd.grad(streams[skip:], hidden)


def main() -> None:
    """Compile every branch of the kernels, and the largest tiles."""
    vars(attend)["launch"] = compile_only
    compile_training(calibration="spatial", published_faults=True)
    compile_training(torch.bfloat16, calibration="full")
    compile_training(
        calibration="full", combine="annealing", renorm="softmax", two_level=False, rich_combine="trainable"
    )
    compile_training(calibration="adversarial", combine="fixed", renorm="none")
    compile_training(calibration="adversarial", skip=2)
    compile_training(calibration="full", width=64, longest=128)


if __name__ == "__main__":
    main()
