"""Compiles functions with numba, and keeps the machine code on disk."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from functools import cache
from logging import getLogger
from pathlib import Path
from typing import Any, TypeVar, cast

import numba
from filelock import FileLock
from llvmlite import ir
from numba import types
from numba.extending import intrinsic

Function = TypeVar("Function", bound=Callable[..., Any])

_CONFIG: Any = numba.config  # filled when numba is imported
_COMPILES = "ACTSR_COMPILES"
"""Set in the environment of the process that compiles."""
_MATHS = {"contract", "reassoc", "nsz", "arcp"}
"""Sums may be reordered, so that they fill vectors. Numbers that are not finite stay what they are."""
_OPTIONS: dict[str, Any] = {"fastmath": _MATHS, "error_model": "numpy", "_nrt": False}
"""Without numba's runtime (nrt) nobody counts references to arrays, which took most of the time of short histories; the
caller keeps them."""


def compiled(function: Function) -> Function:
    """The function as machine code, which runs without Python's lock. It may not make arrays.

    It is compiled at the first call, and read from disk in later processes, unless no folder can be written.
    """
    place, before = _place(), _CONFIG.CACHE_DIR
    try:
        _CONFIG.CACHE_DIR = str(place or "")
        return cast(Function, numba.njit(nogil=True, cache=place is not None, **_OPTIONS)(function))
    finally:
        _CONFIG.CACHE_DIR = before


def inlined(function: Function) -> Function:
    """A step of compiled functions, which becomes a part of each of them.

    A call costs more than the work on a short history: all arrays of a tuple are put on the stack. Python cannot
    call it, which spares a third of the time that compiling takes.
    """
    only_inside: dict[str, Any] = {"forceinline": True, "no_cpython_wrapper": True, "no_cfunc_wrapper": True}
    return cast(Function, numba.njit(**only_inside, **_OPTIONS)(function))


def compile_elsewhere(functions: Sequence[Any], module: str) -> None:
    """Compile in another process what is not on disk. Of several processes that wait for it, one does so.

    Machine code that is read from disk may round in another way than the same code in the process that has compiled it.
    So that a resumed training equals one that was never stopped, all processes read it. Where nothing can be kept on
    disk, or the other process fails, the first call compiles.

    Args:
        functions: what is to be on disk.
        module: the module that calls each of them when it is run.
    """
    place = _place()
    if place is None or os.environ.get(_COMPILES) or all(map(_on_disk, functions)):
        return
    getLogger("actsr").info("Compiling the attention: this takes about a minute, once on this machine")
    with FileLock(place / "compiling.lock"):  # others wait
        if not all(map(_on_disk, functions)):
            paths = os.pathsep.join(filter(None, sys.path))
            surroundings = os.environ | {"PYTHONPATH": paths, _COMPILES: "1"}
            subprocess.run([sys.executable, "-m", module], env=surroundings, check=False, capture_output=True)  # noqa: S603 (no foreign word)


def _on_disk(made: Any) -> bool:
    """Whether machine code of a compiled function is kept on disk for this version of Python."""
    version = f"py{sys.version_info.major}{sys.version_info.minor}"
    module = made.__module__.rpartition(".")[2]
    return any(Path(made.stats.cache_path).glob(f"{module}.{made.__name__}-*.{version}*.nbi"))


@cache
def _place() -> Path | None:
    """The folder of the machine code, which other contents of this folder's files do not share; None without one."""
    sources = Path(__file__).parent
    content = hashlib.sha256(b"".join(path.read_bytes() for path in sorted(sources.glob("*.py")))).hexdigest()[:16]
    own = [Path(_CONFIG.CACHE_DIR)] if _CONFIG.CACHE_DIR else [sources / "__pycache__"]
    for folder in (*own, Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "actsr"):
        place = folder / f"kernels-{content}"
        try:
            place.mkdir(parents=True, exist_ok=True)
        except OSError:  # an installation that only others may write
            continue
        if os.access(place, os.W_OK):
            return place
    return None


def _bits_as_float32(_: Any, bits: Any) -> Any:
    def generate(_: Any, builder: Any, __: Any, arguments: Any) -> Any:
        return builder.bitcast(arguments[0], ir.FloatType())

    return types.float32(types.int32), generate


bits_as_float32: Any = intrinsic(_bits_as_float32)
"""The float32 number with the bits of an int32 number."""
