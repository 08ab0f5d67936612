"""Helpers for tests of downloads: a small archive, fetched from a loopback server."""

from __future__ import annotations

from pathlib import Path

import pytest
from loopback import INTER, ITEM, LoopbackServer, beauty_zip

from actsr_cli.data.catalog import find_entry
from actsr_cli.data.fetch import Installed, fetch_dataset
from actsr_cli.data.retry import RetryPolicy
from actsr_cli.errors import DownloadError

BEAUTY = find_entry("beauty")
QUICK = RetryPolicy(retries=3, first_wait=0.001, longest_wait=0.01, timeout=5.0)
BODY = beauty_zip(padding=200_000)


def fetch(server: LoopbackServer, data_dir: Path, **options: object) -> Installed:
    return fetch_dataset(BEAUTY, data_dir, [server.url], **{"policy": QUICK, **options})  # type: ignore[arg-type]


def refusal(server: LoopbackServer, data_dir: Path, **options: object) -> str:
    """The message of the failing download, including its hint."""
    with pytest.raises(DownloadError) as caught:
        fetch(server, data_dir, **options)
    assert caught.value.hint is not None
    return f"{caught.value}\n{caught.value.hint}"


def assert_installed(data_dir: Path) -> None:
    folder = data_dir / "amazon-beauty"
    assert (folder / "amazon-beauty.inter").read_bytes() == INTER
    assert (folder / "amazon-beauty.item").read_bytes() == ITEM
    assert sorted(path.name for path in data_dir.iterdir()) == ["amazon-beauty"], "something was left behind"
