"""Builds models whose values do not matter."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch.overrides import TorchFunctionMode

_AS_GIVEN = {"normal_", "uniform_", "kaiming_uniform_", "logit"}
"""Functions whose result is as large as their first argument, and that PyTorch compiles for the device `meta`."""


class Unfilled(TorchFunctionMode):
    """Within this context, tensors have their size, and whatever values.

    On the device `meta` they have none, but PyTorch imports its compiler to find that out, which takes seconds.
    """

    def __torch_function__(
        self, func: Callable[..., Any], types: Sequence[type], args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        """Call a function of PyTorch, unless it only gives values."""
        given: dict[str, Any] = kwargs or {}
        if func is torch.randn:
            return torch.empty(*args, **given)
        if getattr(func, "__name__", "") in _AS_GIVEN:
            return args[0] if args else given["tensor"]
        return func(*args, **given)
