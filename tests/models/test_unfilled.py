"""Models of which only the size matters."""

from __future__ import annotations

from typing import Any

import pytest
from samples import run_config
from torch.utils._python_dispatch import TorchDispatchMode

from actsr_cli.models.registry import all_models, model_size


class Kernels(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Keeps the names of what PyTorch computes."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.names: set[str] = set()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.names.add(func.overloadpacket.__name__)
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize(
    ("name", "options"), [*((name, {}) for name in all_models()), ("sasrec", {"filter": "dilated", "filter_kernel": 2})]
)
def test_nothing_is_drawn(name: str, options: dict[str, Any]) -> None:
    """On the device `meta`, PyTorch would import its compiler to draw nothing."""
    config = run_config(name, "full" if all_models()[name].calibrated else "none", **options)
    with Kernels() as kernels:
        assert model_size(config.model, config.calibration, 9, 4) > 0
    assert kernels.names and not kernels.names & {"logit", "normal", "normal_", "randn", "uniform", "uniform_"}
