"""No model and no loss makes the host wait for a GPU within an epoch, and none mixes devices; see `pretend_device`."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import pytest
import torch
from pretend_device import DEVICE, OUTSIDE, REPORT, STEPS, Waits, pretended, waits_of
from processes import made_once
from torch import Tensor

from actsr_cli.config import LOSSES, MODELS
from actsr_cli.config.models import TransformerOptions
from actsr_cli.data.synthetic import generate_demo
from actsr_cli.models.filters import FILTERS

CarriedOut = Callable[..., tuple[Waits, int]]
"""Carries out commands, each a sequence of arguments."""
AT_THE_START = Counter({"tally.py __init__: to": 1})
AT_THE_END = Counter({"tally.py means: tolist": 1, "trainer.py _asked: to": 1, "trainer.py _asked: tolist": 1})

if not hasattr(torch.utils.backend_registration, "_setup_privateuseone_for_python_backend"):
    pytest.skip("this torch has no devices in Python", allow_module_level=True)

SMALL = (
    *("--preset", "demo", "--epochs", "1", "--set", "model.hidden_size=8", "--set", "model.inner_size=8"),
    *("--set", "model.layers=1", "--set", "data.user_core=1", "--set", "data.item_core=1"),
)


@pytest.fixture(scope="module")
def there() -> Iterator[Executor]:
    """A process of its own, which the device changes for good, and where no gradient was computed before."""
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        yield pool


def _generate(folder: Path) -> None:
    (folder / "demo").mkdir()
    generate_demo(folder / "demo", users=60)


@pytest.fixture
def carried_out(there: Executor, tmp_path: Path, tmp_path_factory: pytest.TempPathFactory) -> CarriedOut:
    """Carries out commands on the device; returns the waits and the number of steps."""
    data = made_once(tmp_path_factory, "for-the-device", _generate)
    folders = ("--data-dir", str(data), "--runs-dir", str(tmp_path))
    return lambda *commands: there.submit(waits_of, [(*command, *folders) for command in commands]).result()


def test_what_makes_the_host_wait_is_found(there: Executor) -> None:
    found = there.submit(_waiting).result()
    assert {place.removeprefix("test_pretend_device.py ") for place in found} == {
        "_waiting: _local_scalar_dense",
        "_waiting: tolist",
        "_waiting: nonzero",
        "_waiting: to",
        "_waiting: copy_",
        "_waiting: index from the host",
        "_waiting: mask as index",
        "_read: _local_scalar_dense",
    }
    assert set(found.values()) == {1}


def _waiting() -> dict[str, int]:
    with pretended() as device:
        values = torch.arange(1.0, 4.0, device=device, requires_grad=True)
        squares = values**2
        squares.register_hook(_read)  # type: ignore[no-untyped-call]
        torch.autograd.backward(squares.sum())
        host = torch.tensor([0, 2])
        host.to(device, non_blocking=True)
        assert values.detach().sum().item() == 6
        assert values.detach().tolist() == [1, 2, 3]
        assert len(values.detach().nonzero()) == 3
        assert host.to(device).sum().device == device
        torch.zeros(2, device=device).copy_(host)
        assert len(values.detach()[host]) == 2
        assert len(values.detach()[values.detach() > 1]) == 2
    return dict(DEVICE.waits[OUTSIDE])


def _read(gradient: Tensor) -> None:
    gradient.sum().item()


def test_a_read_belongs_to_its_phase(there: Executor) -> None:
    assert there.submit(_reading_in_a_phase).result() == {OUTSIDE: 1, STEPS: 2, REPORT: 1}


def _reading_in_a_phase() -> dict[str, int]:
    with pretended() as device:
        total = torch.ones(2, device=device).sum()

        def step() -> None:
            total.item()
            DEVICE.during(REPORT, total.item)()
            total.item()

        total.item()
        DEVICE.during(STEPS, step)()
    return {phase: waits.total() for phase, waits in DEVICE.waits.items()}


def test_an_operation_that_mixes_devices_is_an_error(there: Executor) -> None:
    with pytest.raises(RuntimeError, match=r"tensors on two devices: add in test_pretend_device.py _mixing"):
        there.submit(_mixing).result()


def _mixing() -> None:
    with pretended() as device:
        values = torch.ones(2, device=device) + torch.tensor(1.0)  # a scalar of the host is allowed
        assert values.tolist() == [2, 2]
        values + torch.ones(2)


@pytest.mark.parametrize("prefix", ["", "ac-"], ids=["plain", "calibrated"])
@pytest.mark.parametrize(
    "backbone", [each for each, of in MODELS.by_name.items() if issubclass(of, TransformerOptions)]
)
def test_no_model_waits_within_an_epoch(carried_out: CarriedOut, backbone: str, prefix: str) -> None:
    """The waits before, between and after epochs do not grow with the number of steps."""
    train = ("train", *SMALL, "--model", f"{prefix}{backbone}", "--batch-size")
    few, steps = carried_out((*train, "256"))
    many, more_steps = carried_out((*train, "64"))
    assert more_steps > 2 * steps > 0
    assert few[STEPS] == many[STEPS] == AT_THE_START
    assert few[REPORT] == many[REPORT] == AT_THE_END
    assert few[OUTSIDE] == many[OUTSIDE] != {}
    carried_out(("evaluate",), ("inspect-attention", "--random", "1"))


@pytest.mark.parametrize("loss", [name for name in LOSSES.by_name if name != "ce"])
def test_no_loss_waits_within_an_epoch(carried_out: CarriedOut, loss: str) -> None:
    waits, steps = carried_out(
        ("train", *SMALL, "--model", "ac-sasrec", "--set", f"loss={loss}", "--batch-size", "256")
    )
    assert steps > 1
    assert (waits[STEPS], waits[REPORT]) == (AT_THE_START, AT_THE_END)


@pytest.mark.parametrize("kind", FILTERS)
def test_no_filter_waits_within_an_epoch(carried_out: CarriedOut, kind: str) -> None:
    options = ("--set", f"model.filter={kind}", "--set", "model.learn_repeats=true")
    waits, steps = carried_out(
        ("train", *SMALL, "--model", "ac-sasrec", *options, "--batch-size", "256"), ("evaluate",)
    )
    assert steps > 1
    assert (waits[STEPS], waits[REPORT]) == (AT_THE_START, AT_THE_END)
