"""Builds models whose values do not matter."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch.overrides import TorchFunctionMode

_FILLING = {"normal_", "uniform_", "kaiming_uniform_"}


class Unfilled(TorchFunctionMode):
    """Within this context, no random numbers are drawn: tensors keep whatever they have.

    On the device `meta` they have nothing, but PyTorch imports its compiler to find that out, which takes seconds.
    """

    def __torch_function__(
        self, func: Callable[..., Any], types: Sequence[type], args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        """Call a function of PyTorch, unless it draws."""
        given: dict[str, Any] = kwargs or {}
        if func is torch.randn:
            return torch.empty(*args, **given)
        if getattr(func, "__name__", "") in _FILLING:
            return args[0] if args else given["tensor"]
        return func(*args, **given)
