"""Compiles functions with numba, and keeps the machine code on disk."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import numba
from llvmlite import ir
from numba import types
from numba.extending import intrinsic

Function = TypeVar("Function", bound=Callable[..., Any])

_MATHS = {"contract", "reassoc", "nsz", "arcp"}
"""Sums may be reordered, so that they fill vectors. Numbers that are not finite stay what they are."""


def compiled(function: Function) -> Function:
    """The function as machine code, which runs without Python's lock.

    It is compiled at the first call, and read from disk in later processes.
    """
    made: Function = numba.njit(nogil=True, cache=True, fastmath=_MATHS, error_model="numpy")(function)
    return made


def _bits_as_float32(_: Any, bits: Any) -> Any:
    def generate(_: Any, builder: Any, __: Any, arguments: Any) -> Any:
        return builder.bitcast(arguments[0], ir.FloatType())

    return types.float32(types.int32), generate


bits_as_float32: Any = intrinsic(_bits_as_float32)
"""The float32 number with the bits of an int32 number."""
