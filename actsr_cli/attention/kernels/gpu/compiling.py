"""Triton, the compiler of the kernels for GPUs, with types."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from typing import Any, TypeVar, cast

import torch
import triton

Function = TypeVar("Function", bound=Callable[..., Any])
STAGES = 1
"""Rounds of a loop whose data are loaded at once: more do not fit in the memory that a program's threads share."""


def compiled(function: Function) -> Function:
    """The function as a kernel, or as a part of one. Its first launch compiles it; Triton keeps the result on disk.

    With the environment variable `TRITON_INTERPRET=1`, set before Triton is imported, kernels run on a CPU, as numpy.
    """
    return cast(Function, triton.jit(function))


def launch(
    kernel: Callable[..., None], grid: tuple[int, ...], warps: int, device: torch.device, *arguments: Any
) -> None:
    """Run a kernel on a device with a grid of programs, which have so many warps of 32 threads each."""
    with torch.cuda.device(device) if device.type == "cuda" else nullcontext():  # Triton takes the present one
        cast(Any, kernel)[grid](*arguments, num_warps=warps, num_stages=STAGES)
