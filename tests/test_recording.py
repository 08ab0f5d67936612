"""The picture of a terminal in the documentation."""

from __future__ import annotations

import re
from html import unescape
from pathlib import Path

import pytest
from browser import complaints, open_page
from selenium.webdriver import Chrome

from tools.recording import PAGE, PICTURE, picture, printed, shown_in_picture


def lines(svg: str) -> list[str]:
    """The text of a picture, line by line."""
    rows: dict[float, str] = {}
    for place, text in re.findall(
        r'<text class="actsr-r\d+" x="[\d.]+" y="([\d.]+)"[^>]*>(.*?)</text>', svg, re.DOTALL
    ):
        rows[float(place)] = rows.get(float(place), "") + unescape(text).replace("\xa0", " ").rstrip()
    return [text for _, text in sorted(rows.items()) if text]


def test_the_picture_shows_the_page() -> None:
    """`tests/test_docs.py` compares the page with what the commands print today."""
    shown = shown_in_picture(PAGE.read_text(encoding="utf-8"))
    assert lines(PICTURE.read_text(encoding="utf-8")) == [line for line in shown.splitlines() if line]
    assert [line.split()[2] for line in shown.splitlines() if line.startswith("$")] == [
        "train",
        "evaluate",
        "recommend",
    ]


def test_it_loads_nothing(chromium: Chrome) -> None:
    open_page(chromium, PICTURE)
    assert complaints(chromium) == []
    assert "url(http" not in PICTURE.read_text(encoding="utf-8")


def test_what_is_not_plain_text_is_escaped() -> None:
    assert "<b>" not in picture("$ actsr\n<b>[red]&\n") and lines(picture("<b>[red]&\n")) == ["<b>[red]&"]


def test_many_epochs_are_shortened(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    code = "print(*(f'epoch   {n}   loss' for n in range(1, 8)), 'end', sep=chr(10))"
    program = tmp_path / "python"
    program.write_text(f'#!/bin/sh\necho Compiling the attention\nexec python3 -c "{code}"\n')
    program.chmod(0o755)
    monkeypatch.setattr("tools.recording.sys.executable", str(program))
    shown = printed("train", tmp_path).splitlines()
    assert [line.split()[-2] if "epoch" in line else line for line in shown] == ["1", "2", "...", "5", "6", "7", "end"]
