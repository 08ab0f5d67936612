"""Fixtures and settings for all tests."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import browser
import pytest
from hypothesis import settings
from selenium.webdriver import Chrome
from typer.main import get_command

# Small matrices are slow on many threads, above all on a busy machine. Tests and the processes that they start use one
# thread each, and run in parallel instead. Must be set before torch is imported.
os.environ.setdefault("OMP_NUM_THREADS", "1")

# Kernels for GPUs run on a CPU, interpreted. With a GPU, TRITON_INTERPRET=0 lets their tests run there. Must be set
# before Triton is imported.
os.environ.setdefault("TRITON_INTERPRET", "1")

# The first example of a test may import a library or read machine code: no test fails for its time.
settings.register_profile("untimed", deadline=None)
settings.load_profile("untimed")

# Shells start background jobs with Ctrl-C ignored, and the processes under test would inherit that.
signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--golden-dir",
        default=str(Path(__file__).parent / "golden"),
        help="folder with golden cases of the published implementation (default: tests/golden)",
    )


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put modules with slow tests first: at the end, no process has a long one left while the others have none."""
    slow = {item.path for item in items if item.get_closest_marker("slow")}
    items.sort(key=lambda item: item.path not in slow)


@pytest.fixture(autouse=True, scope="session")
def _commands_are_built_once() -> Iterator[None]:
    """Typer builds the whole command line anew for each call of it, which takes longer than many a command."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("typer.testing._get_command", cache(get_command))
        yield


@pytest.fixture(autouse=True)
def _threads_stay_as_they_were() -> Iterator[None]:
    """PyTorch has one number of threads for the process: what a test sets must not slow or change the next one."""
    import torch  # reads the variable that is set above

    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


@pytest.fixture(autouse=True, scope="session")
def _nothing_waits_for_the_disk() -> Iterator[None]:
    """A training flushes dozens of files, and each flush takes milliseconds; only a power cut would show a lack of it.

    `test_files.py` checks that what is written is flushed, and when.
    """
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", os.fstat)  # which refuses what is no open file, too
        yield


@pytest.fixture(scope="session")
def real_data() -> Path:
    """The folder with the real files, given by ACTSR_REAL_DATA; without it, tests that need it are skipped."""
    folder = os.environ.get("ACTSR_REAL_DATA")
    if not folder:
        pytest.skip("no real files: ACTSR_REAL_DATA is not set")
    return Path(folder)


@pytest.fixture
def golden_dir(request: pytest.FixtureRequest) -> Path:
    """The folder with golden cases of the published implementation."""
    return Path(request.config.getoption("--golden-dir"))


@pytest.fixture(scope="module")
def chromium() -> Iterator[Chrome]:
    """A browser without a window; the test is skipped where it is not installed."""
    with browser.chromium() as chrome:
        yield chrome
