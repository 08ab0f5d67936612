"""A pretend accelerator: what would fail on a GPU fails on it, and what would make the host wait for one is counted.

Its tensors are computed on the CPU. An operation that mixes devices is an error. It says nothing of speed, of the
kernels of CUDA (`nn.GRU` fails here) and of autocast. It changes torch for good: use it in a process of its own.
"""

from __future__ import annotations

import importlib
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, TypeVar
from unittest import mock

import torch
import torch.utils.backend_registration as registration
from torch.utils import _pytree as pytree
from torch.utils._python_dispatch import TorchDispatchMode
from typer.testing import CliRunner

from actsr_cli.app import app
from actsr_cli.training.device import choose_device
from actsr_cli.training.trainer import Trainer

_T = TypeVar("_T")
_NAME = "pretend"
_ATEN = torch.ops.aten
_READ_INSIDE = {
    _ATEN._local_scalar_dense.default,
    _ATEN.equal.default,
    _ATEN.nonzero.default,
    _ATEN.masked_select.default,
    _ATEN.multinomial.default,
    _ATEN.repeat_interleave.Tensor,
    _ATEN._unique2.default,
    _ATEN.unique_consecutive.default,
    _ATEN.unique_dim.default,
    _ATEN.bincount.default,
}
"""Operations that return a value to the host, or whose result has a size that only the device knows."""
_INDEXING = {_ATEN.index.Tensor, _ATEN.index_put_.default, _ATEN.index_put.default}

OUTSIDE, STEPS, REPORT = "outside", "steps", "report"
"""Phases: no epoch is trained; an epoch's steps; the reading of losses between them, each 50 steps and at the end."""

Waits = dict[str, Counter[str]]
"""For each phase, how often the host waits for the device, by place."""


class Device:
    """What this process knows of its pretend device.

    Attributes:
        waits: how often the host has waited.
        phase: the present phase.
    """

    def __init__(self) -> None:
        self.forget()

    def forget(self) -> None:
        """Begin anew."""
        self.waits: Waits = {phase: Counter() for phase in (OUTSIDE, STEPS, REPORT)}
        self.phase = OUTSIDE

    def wait(self, what: str) -> None:
        self.waits[self.phase][f"{_caller()}: {what}"] += 1

    def during(self, phase: str, work: Callable[..., _T]) -> Callable[..., _T]:
        """`work`, with its waits in a phase."""

        def wrapped(*args: Any, **kwargs: Any) -> _T:
            before, self.phase = self.phase, phase
            try:
                return work(*args, **kwargs)
            finally:
                self.phase = before

        return wrapped


DEVICE = Device()


class PretendTensor(torch.Tensor):
    """A tensor on the device; `raw` has its values."""

    raw: torch.Tensor
    __torch_function__ = torch._C._disabled_torch_function_impl  # type: ignore[assignment]

    @staticmethod
    def __new__(cls, raw: torch.Tensor) -> PretendTensor:
        made: PretendTensor = torch.Tensor._make_wrapper_subclass(
            cls,
            raw.size(),
            strides=raw.stride(),
            storage_offset=raw.storage_offset(),
            dtype=raw.dtype,
            device=torch.device(_NAME, 0),
        )
        made.raw = raw
        return made

    def __tensor_flatten__(self) -> tuple[list[str], None]:
        return ["raw"], None

    @staticmethod
    def __tensor_unflatten__(inner: Mapping[str, torch.Tensor], *_: object) -> PretendTensor:
        return PretendTensor(inner["raw"])

    def tolist(self) -> Any:
        DEVICE.wait("tolist")
        return self.raw.tolist()

    @classmethod
    def __torch_dispatch__(cls, func: Any, types: object, args: Any = (), kwargs: Any = None) -> Any:  # type: ignore[override]
        return _carry_out(func, args, kwargs or {})


class _Everywhere(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Also catches operations without a tensor of the device, such as those that make one."""

    def __torch_dispatch__(self, func: Any, types: object, args: Any = (), kwargs: Any = None) -> Any:
        return _carry_out(func, args, kwargs or {})


def _carry_out(func: Any, args: Any, kwargs: dict[str, Any]) -> Any:
    tensors = [each for each in pytree.tree_leaves((args, kwargs)) if isinstance(each, torch.Tensor)]
    ours = {id(each.raw): each for each in tensors if isinstance(each, PretendTensor)}
    theirs = [each for each in tensors if not isinstance(each, PretendTensor)]
    result_is_ours = bool(ours)
    if kwargs.get("device") is not None:
        result_is_ours = torch.device(kwargs["device"]).type == _NAME
        kwargs = {**kwargs, "device": "cpu"}
    elif func is _ATEN.copy_.default:
        result_is_ours = isinstance(args[0], PretendTensor)
    _judge(func, args, kwargs, moved=bool(ours) != result_is_ours, mixed=bool(ours) and any(x.dim() for x in theirs))

    def wrap(value: Any) -> Any:
        if not isinstance(value, torch.Tensor) or not result_is_ours:
            return value
        return ours[id(value)] if id(value) in ours else PretendTensor(value)

    raw_args, raw_kwargs = pytree.tree_map(lambda x: x.raw if isinstance(x, PretendTensor) else x, (args, kwargs))
    return pytree.tree_map(wrap, func(*raw_args, **raw_kwargs))


def _judge(func: Any, args: Any, kwargs: Mapping[str, Any], *, moved: bool, mixed: bool) -> None:
    """Count a wait of the host, or raise a RuntimeError if an operation mixes devices.

    Args:
        func: the operation.
        args: its arguments.
        kwargs: its arguments by name.
        moved: its result is on another device than its arguments.
        mixed: some arguments are on the device, and others, not counting scalars, on the host.
    """
    name = func.overloadpacket.__name__
    if func is _ATEN.copy_.default and mixed:
        if not (args[2] if len(args) > 2 else kwargs.get("non_blocking", False)):
            DEVICE.wait("copy_")
    elif func is _ATEN._to_copy.default:
        if moved and not kwargs.get("non_blocking", False):
            DEVICE.wait("to")
    elif mixed:
        if func not in _INDEXING or not isinstance(args[0], PretendTensor):
            raise RuntimeError(f"tensors on two devices: {name} in {_caller()}")
        DEVICE.wait("index from the host")
    elif func in _READ_INSIDE and any(isinstance(each, PretendTensor) for each in args):
        DEVICE.wait(name)
    elif func in _INDEXING and any(each is not None and each.dtype == torch.bool for each in args[1]):
        DEVICE.wait("mask as index")


def _caller() -> str:
    """File and function of the nearest frame of actsr, else of any code but torch; gradients have none."""
    frame: Any = sys._getframe(1)
    places = []
    while frame is not None:
        places.append((frame.f_code.co_filename, frame.f_code.co_name))
        frame = frame.f_back
    outside = [(file, name) for file, name in places if "/torch/" not in file and file != __file__]
    nearest = next((place for place in outside if "/actsr_cli/" in place[0]), outside[0] if outside else None)
    return f"{Path(nearest[0]).name} {nearest[1]}" if nearest else "backward"


class _Backend(registration._DummyBackendModule):
    """What torch asks a device for: random numbers come from the CPU's generator."""

    def get_amp_supported_dtype(self) -> list[torch.dtype]:
        return [torch.bfloat16]

    def get_rng_state(self, device: object = None) -> torch.Tensor:
        return torch.get_rng_state()

    def set_rng_state(self, state: torch.Tensor, device: object = None) -> None:
        torch.set_rng_state(state)


@contextmanager
def pretended() -> Iterator[torch.device]:
    """Within this context there is the device, and `inference_mode` is `no_grad`; waits are counted from 0."""
    if not hasattr(torch, _NAME):
        registration._setup_privateuseone_for_python_backend(_NAME, backend_module=_Backend())
        torch._C._set_only_lift_cpu_tensors(True)  # torch.tensor(…, device=…) moves it
    DEVICE.forget()
    with mock.patch("torch.inference_mode", torch.no_grad), _Everywhere():  # type: ignore[no-untyped-call]
        yield torch.device(_NAME, 0)


def waits_of(commands: Sequence[Sequence[str]]) -> tuple[Waits, int]:
    """Carry out commands of actsr on the device; returns the waits, and the number of optimizer steps.

    Raises:
        RuntimeError: an operation mixes devices.
        AssertionError: a command has failed.
    """
    with ExitStack() as changed:
        device = changed.enter_context(pretended())
        for room in ("train", "evaluate", "inspect"):  # they import the function by name
            module = importlib.import_module(f"actsr_cli.experiment.{room}")
            assert module.choose_device is choose_device
            changed.enter_context(mock.patch.object(module, "choose_device", lambda _: device))
        for method, phase in (("_train_epoch", STEPS), ("_stopped_at", REPORT)):
            work = DEVICE.during(phase, getattr(Trainer, method))
            changed.enter_context(mock.patch.object(Trainer, method, work))
        step = changed.enter_context(mock.patch.object(Trainer, "_step", autospec=True, side_effect=Trainer._step))
        for command in commands:
            result = CliRunner().invoke(app, list(command), catch_exceptions=False)
            assert result.exit_code == 0, result.output
    return DEVICE.waits, step.call_count
