"""The kernels for GPUs, interpreted on a CPU, are compared with the readable attention: values and gradients.

On a machine with a GPU, `TRITON_INTERPRET=0` lets the same comparisons run there.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from flat import packed
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import Tensor

from actsr_cli.attention import CalibratedSelfAttention, Pairs, Relations, calibrated_self_attention
from actsr_cli.attention.draws import Draws
from actsr_cli.attention.packed import by_kernel, covered_on_gpu, draw, has_triton, in_padded_form

pytestmark = pytest.mark.skipif(not has_triton(), reason="Triton is not installed")

WIDTH = 8
INTERPRETED = os.environ["TRITON_INTERPRET"] == "1"
DEVICE = torch.device("cuda" if torch.cuda.is_available() and not INTERPRETED else "cpu")
OPTIONS: list[dict[str, Any]] = [
    {"calibration": "none"},
    {"calibration": "spatial", "use_order": False},
    {"calibration": "spatial", "use_distance": False, "published_faults": True},
    {"calibration": "adversarial", "combine": "gate", "renorm": "softmax"},
    {"calibration": "adversarial", "combine": "fixed", "renorm": "sum"},
    {"calibration": "adversarial", "combine": "annealing", "renorm": "none"},
    {"calibration": "full", "combine": "gate", "renorm": "none"},
    {"calibration": "full", "combine": "fixed", "renorm": "softmax"},
    {"calibration": "full", "combine": "fixed", "renorm": "none"},
    {"calibration": "full", "combine": "annealing", "renorm": "sum"},
    {"calibration": "full", "two_level": False},
    {"calibration": "full", "two_level": False, "rich_combine": "trainable", "combine": "annealing"},
]


@pytest.fixture(autouse=True, scope="module")
def _language_is_replaced_once() -> Iterator[None]:
    """Triton's interpreter replaces its language again for each function that a kernel calls: half of the time."""
    if not (has_triton() and INTERPRETED):
        yield
        return
    from triton.runtime import interpreter

    done: set[str] = set()
    run = interpreter.GridExecutor.__call__

    def launch(self: Any, *arguments: Any, **named: Any) -> None:
        done.clear()
        run(self, *arguments, **named)

    def call(self: Any, *arguments: Any, **named: Any) -> Any:
        if self.fn.__module__ not in done:
            interpreter._patch_lang(self.fn)
            done.add(self.fn.__module__)
        return self.rewrite()(*arguments, **named)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(interpreter.GridExecutor, "__call__", launch)
        patch.setattr(interpreter.InterpretedFunction, "__call__", call)
        yield


def attention_of(dropout: float = 0.0, heads: int = 1, **options: Any) -> CalibratedSelfAttention:
    """An attention with parameters that are no small numbers."""
    made = calibrated_self_attention(WIDTH, heads, max_length=200, dropout=dropout, **options)
    with torch.no_grad():
        for parameter in made.parameters():
            parameter.normal_(std=0.3)
    if made.adversarial is not None:
        made.adversarial.step.fill_(40_000)
    return made.to(DEVICE)


def pairs_of(lengths: list[int], causal: bool, rows: list[int] | None = None, *, only_rows: bool = False) -> Pairs:
    wanted = None if rows is None else torch.tensor(rows, device=DEVICE)
    return Pairs(packed(lengths).to(DEVICE), causal, wanted, only_rows=only_rows)


def compare(attention: CalibratedSelfAttention, pairs: Pairs, tolerance: float = 1e-4, skip: str = "") -> None:
    """Every number to within the tolerance of the largest one of its tensor; gradients also of a tenth of the largest.

    `skip` names the streams whose gradients are not wanted.
    """
    hidden = torch.randn(
        pairs.packing.n_tokens, WIDTH, device=DEVICE, dtype=attention.key.weight.dtype, requires_grad=True
    )
    perturb = not pairs.only_rows
    draws = draw(attention, hidden, pairs, perturb=perturb)
    weights = torch.randn(3, 1000, WIDTH, device=DEVICE)
    found, expected = (
        outcome(attention, hidden, (pairs, draws, weights), skip, on_gpu=on_gpu) for on_gpu in (True, False)
    )
    floor = 0.1 * tolerance * max(float(each.abs().max()) for each in expected[1])
    for ours, theirs, least in ((found[0], expected[0], 1e-12), (found[1], expected[1], floor)):
        for one, other in zip(ours, theirs, strict=True):
            assert torch.isfinite(one).all()
            bound = tolerance * float(other.detach().abs().max()) + least
            torch.testing.assert_close(one.float(), other.float(), rtol=0, atol=bound)


def outcome(
    attention: CalibratedSelfAttention, hidden: Tensor, given: tuple[Pairs, Draws, Tensor], skip: str, *, on_gpu: bool
) -> tuple[list[Tensor], list[Tensor]]:
    """What comes out in training, and the gradients of a weighted sum of it."""
    pairs, draws, weights = given
    perturb = not pairs.only_rows
    if on_gpu:
        output = by_kernel(attention, hidden, pairs, None, draws, perturb=perturb, on_gpu=True)
    else:
        output = in_padded_form(attention, hidden, pairs, None, draws, perturb=perturb)
    streams = {"attended": output.attended, "perturbed": output.perturbed, "squares": output.squares}
    made = {name: each for name, each in streams.items() if each is not None}
    total = torch.zeros((), device=DEVICE)
    for (name, each), weight in zip(made.items(), weights, strict=False):
        if name not in skip.split():
            total = total + (each * (weight if each.ndim == 2 else weight[:, 0])[: len(each)]).float().sum()
    sources = [hidden, *attention.parameters()]
    gradients = torch.autograd.grad(total, sources, allow_unused=True)
    by_source = zip(gradients, sources, strict=True)
    return list(made.values()), [torch.zeros_like(source) if each is None else each for each, source in by_source]


@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_every_option(options: dict[str, Any]) -> None:
    torch.manual_seed(0)
    compare(attention_of(0.5, **options), pairs_of([1, 18], True, [0, 2, 3, 17]))
    compare(attention_of(**options), pairs_of([3, 5], False))


@pytest.mark.parametrize("options", [OPTIONS[0], {"calibration": "full"}, OPTIONS[-1]], ids=str)
def test_only_some_rows(options: dict[str, Any]) -> None:
    torch.manual_seed(0)
    compare(attention_of(0.5, heads=2, **options), pairs_of([2, 3, 18], True, [1, 6, 22], only_rows=True))


def test_each_loss_alone() -> None:
    torch.manual_seed(0)
    attention, pairs = attention_of(0.2, calibration="full", two_level=False), pairs_of([2, 17], True)
    compare(attention, pairs, skip="perturbed squares")
    compare(attention, pairs, skip="attended")
    compare(attention, pairs, skip="attended perturbed")


@settings(max_examples=3, suppress_health_check=[HealthCheck.too_slow])
@given(
    lengths=st.lists(st.sampled_from([1, 16, 17, 50]), min_size=1, max_size=2),
    heads=st.sampled_from([1, 2]),
    causal=st.booleans(),
)
def test_any_lengths_and_heads(lengths: list[int], heads: int, causal: bool) -> None:
    compare(attention_of(0.2, heads, calibration="full"), pairs_of(lengths, causal))


def test_the_longest_history() -> None:
    torch.manual_seed(0)
    compare(attention_of(calibration="full"), pairs_of([200], True, [0, 130, 199], only_rows=True))


def test_bfloat16() -> None:
    """The kernel rounds less than the readable form does: both are compared with 8 bits of a number."""
    torch.manual_seed(0)
    attention = attention_of(calibration="full").to(torch.bfloat16)
    compare(attention, pairs_of([1, 17], True), tolerance=0.05)


def test_what_is_covered() -> None:
    attention, pairs = attention_of(calibration="full"), pairs_of([3, 256], True)
    assert covered_on_gpu(attention, "cuda", torch.float32, pairs, None)
    assert covered_on_gpu(attention, "cuda", torch.bfloat16, pairs, None)
    assert not covered_on_gpu(attention, "mps", torch.float32, pairs, None)
    assert not covered_on_gpu(attention, "cuda", torch.float64, pairs, None)
    assert not covered_on_gpu(attention, "cuda", torch.float32, pairs_of([257], True), None)
    none = torch.zeros(1, WIDTH)
    assert not covered_on_gpu(attention, "cuda", torch.float32, pairs, Relations(none, none, none, none, none))
    faulty = attention_of(calibration="full", combine="fixed", published_faults=True)
    assert not covered_on_gpu(faulty, "cuda", torch.float32, pairs, None)
    wide = calibrated_self_attention(128, 1, max_length=9)
    assert not covered_on_gpu(wide, "cuda", torch.float32, pairs, None)


def test_a_history_that_is_too_long() -> None:
    attention = calibrated_self_attention(WIDTH, 1, max_length=4).to(DEVICE)
    pairs = pairs_of([5], True)
    with pytest.raises(ValueError, match="a history of 5 is longer than the model allows: 4"):
        by_kernel(attention, torch.zeros(5, WIDTH, device=DEVICE), pairs, None, Draws(), perturb=False, on_gpu=True)


@pytest.mark.slow
def test_all_kernels_compile_for_a_gpu(pytestconfig: pytest.Config) -> None:
    """Code that the interpreter accepts may not compile. Nothing runs here: compiling needs no GPU.

    pytest's cache keeps the machine code, as half a minute is long for what seldom changes. Triton finds it there only
    for the same source, types, settings and version; `--cache-clear` has all compiled again.
    """
    assert pytestconfig.cache is not None
    kept = pytestconfig.cache.mkdir("triton")
    surroundings = os.environ | {"TRITON_INTERPRET": "0", "TRITON_CACHE_DIR": str(kept)}
    surroundings |= {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    script = Path(__file__).parent / "compiled_kernels.py"
    ended = subprocess.run([sys.executable, script], env=surroundings, capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stderr
    assert ended.stdout.split() == ["forward", "backward"] * 6
