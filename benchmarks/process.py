"""Measurements in processes of their own: peak memory does not fall again within one."""

from __future__ import annotations

import resource
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from typing import ParamSpec, TypeVar

_P = ParamSpec("_P")
_T = TypeVar("_T")


def in_a_new_process(measure: Callable[_P, _T], *args: _P.args, **kwargs: _P.kwargs) -> _T:
    """What `measure` returns, called in a process that has done nothing else."""
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        return pool.submit(measure, *args, **kwargs).result()


def peak_megabytes() -> float:
    """The largest resident memory that this process has had, libraries and all."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
