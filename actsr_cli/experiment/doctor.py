"""Checks an installation: versions, device, disk, and a small training that is stopped and resumed."""

from __future__ import annotations

import os
import platform
import shutil
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from enum import StrEnum
from importlib.metadata import PackageNotFoundError, requires, version
from importlib.util import cache_from_source
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import torch
from filelock import FileLock
from packaging.requirements import Requirement

from actsr_cli.config import RunConfig
from actsr_cli.data.sequences import SequenceData
from actsr_cli.errors import ActsrError
from actsr_cli.experiment.resume import reconfigure, resume_run
from actsr_cli.experiment.run import Run, new_run
from actsr_cli.experiment.train import train_run
from actsr_cli.files import write_text
from actsr_cli.tensors import load_tensors
from actsr_cli.training.device import choose_device
from actsr_cli.training.trainer import Observer
from actsr_cli.version import __version__

_STEPS = 3
_LITTLE_DISK = 2**30


class Verdict(StrEnum):
    """How a check ended: a warning limits what can be done here, a failure needs mending."""

    OK = "ok"
    WARNING = "warning"
    FAILED = "failed"


@dataclass(frozen=True)
class Finding:
    """The result of one check.

    Attributes:
        check: what was checked.
        verdict: how it ended.
        text: what was found, in one line.
    """

    check: str
    verdict: Verdict
    text: str


def examine(data_root: Path, runs_root: Path, device: str = "auto") -> Iterator[Finding]:
    """Check this installation. Nothing is left behind in the two folders.

    Args:
        data_root: the root of the data sets.
        runs_root: the root of the runs.
        device: the device to train on.

    Yields:
        One finding for each check, as soon as it is made.
    """
    yield _checked("versions", _versions)
    yield _checked("libraries", _libraries)
    yield _checked("bytecode", _bytecode)
    yield _checked("machine", lambda: _machine(device))
    yield _checked("data folder", lambda: _folder(data_root))
    yield _checked("runs folder", lambda: _folder(runs_root))
    with TemporaryDirectory(prefix="actsr-doctor-") as scratch:
        config = _config(device)
        yield _checked("training", lambda: _training(Path(scratch), config))
        yield _checked("checkpoint", lambda: _round_trip(Path(scratch), config))


def _checked(check: str, find: Callable[[], tuple[Verdict, str]]) -> Finding:
    """The finding of a check; an error of the check is its finding."""
    try:
        return Finding(check, *find())
    except (ActsrError, OSError, RuntimeError, ImportError) as error:
        return Finding(check, Verdict.FAILED, " ".join(f"{type(error).__name__}: {error}".split()))


def _versions() -> tuple[Verdict, str]:
    python = sys.version.split()[0]
    return Verdict.OK, f"actsr {__version__}, Python {python}, torch {torch.__version__}, {platform.platform()}"


def _libraries() -> tuple[Verdict, str]:
    """Whether each library that actsr needs is there, in a version that actsr allows."""
    try:
        needed = [Requirement(text) for text in requires("actsr") or ()]
    except PackageNotFoundError:
        return Verdict.WARNING, "actsr is not installed as a package, so the versions of libraries are not checked"
    needed = [each for each in needed if each.marker is None or each.marker.evaluate({"extra": ""})]
    wrong = []
    for each in needed:
        try:
            found = version(each.name)
        except PackageNotFoundError:
            wrong.append(f"{each.name} is missing")
            continue
        if not each.specifier.contains(found, prereleases=True):
            wrong.append(f"{each.name} is {found}, needed is {each.specifier}")
    if wrong:
        return Verdict.FAILED, f"{'; '.join(wrong)}. Install actsr again: pip install --upgrade actsr"
    return Verdict.OK, f"{len(needed)} libraries in versions that actsr allows"


def _bytecode() -> tuple[Verdict, str]:
    """Whether the libraries' bytecode is on disk: PyTorch alone has two thousand files that are compiled without it."""
    if Path(cache_from_source(torch.__file__)).is_file():
        return Verdict.OK, "kept on disk"
    why = "PYTHONDONTWRITEBYTECODE is set" if sys.dont_write_bytecode else "the folder of PyTorch cannot be written"
    return Verdict.WARNING, (
        f"not kept on disk, because {why}: each command starts seconds later. "
        f"Compile it once: {sys.executable} -m compileall -q {Path(torch.__file__).parents[1]}"
    )


def _machine(name: str) -> tuple[Verdict, str]:
    device = choose_device(name)
    cores = f"{os.cpu_count()} cores, {torch.get_num_threads()} threads, {_memory() / 2**30:.1f} GiB of memory"
    if device.type != "cuda":
        return Verdict.OK, f"trains on {device}; {cores}"
    properties = torch.cuda.get_device_properties(device)
    return Verdict.OK, f"trains on {device}: {properties.name}, {properties.total_memory / 2**30:.1f} GiB; {cores}"


def _memory() -> int:
    """Bytes of memory of this machine."""
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def _folder(root: Path) -> tuple[Verdict, str]:
    """Whether files can be written, renamed and locked in a folder, or where it would be made; and its free space."""
    place = next(path for path in (root.absolute(), *root.absolute().parents) if path.exists())
    if not place.is_dir():
        return Verdict.FAILED, f"{place} is a file, not a folder"
    free = shutil.disk_usage(place).free
    told = f"{root.absolute()}, {free / 2**30:.1f} GiB free"
    try:
        with TemporaryDirectory(prefix=".actsr-doctor-", dir=place) as scratch, FileLock(Path(scratch) / "lock"):
            write_text(Path(scratch) / "file", "written and renamed")
    except OSError as error:
        return Verdict.WARNING, f"{told}: it can only be read ({error.strerror})"
    if free < _LITTLE_DISK:
        return Verdict.WARNING, f"{told}: little space for checkpoints"
    return Verdict.OK, f"{told}, can be written"


def _training(scratch: Path, config: RunConfig) -> tuple[Verdict, str]:
    started = time.perf_counter()
    _trained(scratch, config, "once")
    took = time.perf_counter() - started
    return Verdict.OK, f"{2 * _STEPS} steps of AC-SASRec on {choose_device(config.training.device)} in {took:.1f} s"


def _round_trip(scratch: Path, config: RunConfig) -> tuple[Verdict, str]:
    """Whether a training that is stopped and resumed has the same checkpoint as one that never stopped."""
    whole = scratch / "runs" / config.dataset / "ac-sasrec" / "once" / "checkpoint.safetensors"
    if not whole.is_file():
        return Verdict.FAILED, "there is no checkpoint, because the training failed"
    half = config.model_copy(update={"training": config.training.model_copy(update={"epochs": 1})})
    stopped = _trained(scratch, half, "twice")
    resume_run(reconfigure(stopped, config), _data(config.dataset), Observer())
    one, two = load_tensors(whole)[0], load_tensors(stopped.checkpoint_file)[0]
    different = [name for name in one.keys() | two.keys() if not _equal(one.get(name), two.get(name))]
    if different:
        return Verdict.FAILED, f"a resumed training differs from one that never stopped: {sorted(different)[0]}"
    size = whole.stat().st_size / 2**20
    return Verdict.OK, f"{len(one)} tensors, {size:.1f} MiB: a resumed training equals one that never stopped"


def _equal(one: torch.Tensor | None, two: torch.Tensor | None) -> bool:
    return one is not None and two is not None and torch.equal(one, two)


def _trained(scratch: Path, config: RunConfig, name: str) -> Run:
    data = _data(config.dataset)
    with new_run(scratch / "runs", config, data, name=name) as run:
        train_run(run, data, Observer())
    return replace(run, config=config)


def _config(device: str) -> RunConfig:
    """Two epochs of three steps of a small AC-SASRec."""
    return RunConfig.model_validate(
        {
            "dataset": "doctor",
            "model": {"name": "sasrec", "hidden_size": 16, "layers": 1, "heads": 2, "max_length": 8},
            "calibration": {"kind": "full"},
            "training": {"epochs": 2, "batch_size": 8 * _STEPS, "device": device},
        }
    )


def _data(name: str) -> SequenceData:
    """24 users that each walk through six of twelve items: three training targets a user."""
    users, length, items = 24, 6, 12
    walks = (np.arange(users)[:, None] + np.arange(length)) % items + 1
    return SequenceData(
        name=name,
        fingerprint="0" * 16,
        items=walks.reshape(-1).astype(np.int32),
        offsets=np.arange(0, users * length + 1, length, dtype=np.int64),
        timestamps=None,
        user_names=tuple(map(str, range(users))),
        item_names=("", *map(str, range(1, items + 1))),
    )
