"""A page: one self-contained HTML file, made from the files beside this one and those of its package."""

from __future__ import annotations

import html
import json
from dataclasses import dataclass
from importlib.resources import files
from importlib.resources.abc import Traversable
from typing import Any

from actsr_cli.version import __version__


@dataclass(frozen=True)
class Page:
    """The contents of a page.

    Attributes:
        kind: what kind of page it is, a line above the title.
        title: the headline.
        about: a sentence below the headline.
        place: the folder with its body.html, script.js and style.css.
        data: what its script shows, as JSON values.
    """

    kind: str
    title: str
    about: str
    place: Traversable
    data: Any


def page_html(page: Page) -> str:
    """The HTML of a page. It loads no other files."""
    shared = files("actsr_cli.pages")
    parts = {
        "kind": html.escape(page.kind),
        "version": html.escape(__version__),
        "style": _text(shared, "style.css") + _text(page.place, "style.css"),
        "body": _text(page.place, "body.html"),
        "script": _text(shared, "charts.js") + _text(page.place, "script.js"),
        "about": html.escape(page.about),
        "title": html.escape(page.title),
        "data": json.dumps(page.data, separators=(",", ":")).replace("<", "\\u003c"),
    }
    pieces = _text(shared, "frame.html").split("{{")
    return pieces[0] + "".join(parts[key] + rest for key, _, rest in (piece.partition("}}") for piece in pieces[1:]))


def _text(folder: Traversable, name: str) -> str:
    return (folder / name).read_text(encoding="utf-8")
