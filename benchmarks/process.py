"""Runs measurements in separate processes, because the peak memory of a process never falls."""

from __future__ import annotations

import re
import resource
import sys
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import ParamSpec, TypeVar

_P = ParamSpec("_P")
_T = TypeVar("_T")

_STATUS = Path("/proc/self/status")


def in_a_new_process(measure: Callable[_P, _T], *args: _P.args, **kwargs: _P.kwargs) -> _T:
    """Call `measure` in a new process and return its result."""
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        return pool.submit(measure, *args, **kwargs).result()


def peak_megabytes() -> float:
    """Peak resident memory of this process in megabytes, including libraries.

    On Linux it is read from /proc, because `getrusage` includes the peak of the parent process.
    """
    if _STATUS.exists():
        found = re.search(r"VmHWM:\s+(\d+) kB", _STATUS.read_text(encoding="ascii"))
        if found is not None:
            return int(found[1]) / 1024
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 2**20
