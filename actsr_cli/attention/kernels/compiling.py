"""Compiles functions with numba, and keeps the machine code on disk."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any, TypeVar, cast

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
    made = numba.njit(nogil=True, cache=True, fastmath=_MATHS, error_model="numpy")(function)
    for index in _indices(made):
        if index.stat().st_mtime < _newest_source():  # numba itself only looks at the file of the function
            index.unlink(missing_ok=True)
    return cast(Function, made)


def on_disk(made: Callable[..., Any]) -> bool:
    """Whether machine code of a compiled function is kept on disk."""
    return bool(_indices(made))


def _indices(made: Any) -> list[Path]:
    """The files by which numba finds the machine code of a function, one for each place in its source."""
    name = f"{made.__module__.rpartition('.')[2]}.{made.__name__}-*.nbi"
    return list(Path(made.stats.cache_path).glob(name))


@cache
def _newest_source() -> float:
    return max(path.stat().st_mtime for path in Path(__file__).parent.glob("*.py"))


def _bits_as_float32(_: Any, bits: Any) -> Any:
    def generate(_: Any, builder: Any, __: Any, arguments: Any) -> Any:
        return builder.bitcast(arguments[0], ir.FloatType())

    return types.float32(types.int32), generate


bits_as_float32: Any = intrinsic(_bits_as_float32)
"""The float32 number with the bits of an int32 number."""
