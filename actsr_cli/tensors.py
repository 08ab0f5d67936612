"""Tensors in safetensors files, with a checksum over names, shapes, kinds and values, and over their metadata."""

from __future__ import annotations

import errno
import json
import os
import re
from collections.abc import Iterator, Mapping
from pathlib import Path

import torch
from pydantic import TypeAdapter, ValidationError
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from actsr_cli.errors import RunError
from actsr_cli.files import replacing
from actsr_cli.sealed import CHANGED, checksum
from actsr_cli.words import shortened

_SYSTEM_ERROR = re.compile(r"os error (\d+)")
_ENTRY, _CHECKSUM = "actsr", "checksum"
"""The one entry of a file's metadata, a JSON object: safetensors writes several entries in any order."""
_LARGEST_HEADER = 16 * 2**20
"""Number of bytes of a header above which it is not read: a tensor takes about a hundred."""


def save_tensors(path: Path, tensors: Mapping[str, Tensor], metadata: Mapping[str, str]) -> None:
    """Write tensors to `path` atomically, with a checksum; tied tensors are stored once under each name.

    Raises:
        DiskError: the file cannot be written.
    """
    own: dict[str, Tensor] = {}
    storages: set[int] = set()
    for name, tensor in tensors.items():
        here = tensor.detach().contiguous().cpu()
        storage = here.untyped_storage().data_ptr()
        own[name] = here.clone() if storage in storages else here
        storages.add(storage)
    with replacing(path) as partial:
        try:
            entry = {**metadata, _CHECKSUM: _checksum_of(own, metadata)}
            save_file(own, partial, {_ENTRY: json.dumps(entry, sort_keys=True)})
        except SafetensorError as error:  # it wraps the system's error, whose number is in the text alone
            number = int(found[1]) if (found := _SYSTEM_ERROR.search(str(error))) else errno.EIO
            raise OSError(number, os.strerror(number), str(partial)) from error


def load_tensors(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Tensors and metadata of a safetensors file that `save_tensors` wrote.

    Raises:
        RunError: the file is missing or damaged.
    """
    if not path.is_file():
        raise RunError(f"no file {path}")
    with path.open("rb") as file:
        if int.from_bytes(file.read(8), "little") > _LARGEST_HEADER:
            raise damaged(path, f"its header is larger than {_LARGEST_HEADER // 2**20} MB")
    try:
        with safe_open(path, framework="pt") as opened:
            tensors = {name: opened.get_tensor(name) for name in opened.keys()}  # noqa: SIM118
            entries = opened.metadata() or {}
    except (SafetensorError, KeyError, TypeError, ValueError, RuntimeError) as error:  # a kind that torch does not know
        raise damaged(path, error) from error
    if entries.keys() <= {"epoch", "state"}:  # of an earlier version, without a checksum
        return tensors, entries
    metadata = _metadata_of(entries, path)
    if metadata.pop(_CHECKSUM, None) != _checksum_of(tensors, metadata):
        raise damaged(path, CHANGED)
    return tensors, metadata


def _metadata_of(entries: Mapping[str, str], path: Path) -> dict[str, str]:
    """The texts in the one entry of a file's metadata.

    Raises:
        RunError: there are other entries, or it is no JSON object of texts.
    """
    if unknown := sorted(entries.keys() - {_ENTRY}):
        raise damaged(path, f"its metadata has an unknown entry, {shortened(unknown[0])}")
    try:
        return TypeAdapter(dict[str, str]).validate_json(entries[_ENTRY])
    except ValidationError as error:
        raise damaged(path, f"its metadata are no texts: {error.errors()[0]['msg'].lower()}") from error


def damaged(path: Path, reason: object) -> RunError:
    """The error of a file that cannot be used."""
    return RunError(
        f"{path} is damaged: {shortened(' '.join(str(reason).split()), 300)}",
        hint="Restore the file from a copy, or train the run again.",
    )


def _checksum_of(tensors: Mapping[str, Tensor], metadata: Mapping[str, str]) -> str:
    """The checksum of tensors and metadata, in whatever order a file has them."""

    def parts() -> Iterator[bytes | memoryview]:
        yield json.dumps(sorted(metadata.items())).encode()
        for name in sorted(tensors):
            tensor = tensors[name]
            yield f"{name} {tensor.dtype} {list(tensor.shape)}".encode()
            yield tensor.flatten().view(torch.uint8).numpy().data

    return checksum(*parts())
