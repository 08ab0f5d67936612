"""The device that a training runs on, and what makes two runs on it identical."""

from __future__ import annotations

import os
import random

import numpy as np
import torch

from actsr_cli.errors import ConfigError


def choose_device(name: str) -> torch.device:
    """The device called `name`; `auto` takes CUDA, then MPS, then the CPU.

    Raises:
        ConfigError: there is no such device, or it is not available.
    """
    if name == "auto":
        if torch.cuda.is_available():
            return torch.device("cuda")
        return torch.device("mps" if torch.backends.mps.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError:
        raise ConfigError(f"there is no device '{name}'", hint="It is auto, cpu, cuda, cuda:N or mps.") from None
    available = {
        "cpu": True,
        "mps": torch.backends.mps.is_available(),
        "cuda": torch.cuda.is_available() and (device.index or 0) < torch.cuda.device_count(),
    }
    if not available.get(device.type, False):
        raise ConfigError(f"device '{name}' is not available here", hint="Leave training.device at auto, or use cpu.")
    return device


def use_threads(threads: int | None) -> None:
    """Compute with this many CPU threads; None leaves PyTorch's choice."""
    if threads is not None:
        torch.set_num_threads(threads)


def make_repeatable(seed: int, device: torch.device) -> None:
    """Seed every generator; on CUDA also choose deterministic algorithms."""
    random.seed(seed)
    np.random.seed(seed)
    torch.manual_seed(seed)
    if device.type == "cuda":
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
        torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]
        torch.use_deterministic_algorithms(True)
