"""What people see: texts as they are, and nothing that a terminal would act on."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator

import pytest
from rich.table import Table
from rich.text import Text

from actsr_cli import console
from actsr_cli.commands import tables

HOSTILE = "\x1b[2J:x:[bold]b[/bold]\u202e\udcff\x9b"
SHOWN = r"\x1b[2J:x:[bold]b[/bold]\u202e\udcff\x9b"


@pytest.fixture(params=["terminal", "pipe"])
def shown(
    request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Iterator[Callable[[], str]]:
    """What is printed, on a terminal or in a pipe."""
    console._results.cache_clear()
    console._messages.cache_clear()
    if request.param == "terminal":
        monkeypatch.setenv("FORCE_COLOR", "1")
        monkeypatch.setattr(console, "on_terminal", lambda: True)
    monkeypatch.setenv("COLUMNS", "300")
    monkeypatch.setenv("TERM", "dumb")  # no styles
    yield lambda: "".join(capsys.readouterr())
    console._results.cache_clear()
    console._messages.cache_clear()


def test_messages(shown: Callable[[], str]) -> None:
    console.note(HOSTILE)
    console.warn(HOSTILE)
    console.show_error(HOSTILE, f"{HOSTILE}\nsecond line")
    console.note(HOSTILE)  # now the console of messages exists
    assert shown().split("\n") == [
        SHOWN,
        f"warning: {SHOWN}",
        f"error: {SHOWN}",
        SHOWN,
        "second line",
        SHOWN,
        "",
    ]


def test_results(shown: Callable[[], str]) -> None:
    console.echo(f"{HOSTILE}\nsecond line")
    assert shown() == f"{SHOWN}\nsecond line\n"


def test_tables(shown: Callable[[], str]) -> None:
    tables.print_rows(("item", "title"), [(HOSTILE, "b"), (f"a\n{HOSTILE}", "c")])
    tables.print_line(HOSTILE, style="bold")
    text = shown()
    assert text.count(SHOWN) == 3 and rf"a\n{SHOWN}" in text
    assert "\x1b[2J" not in text and "\u202e" not in text and "\udcff" not in text


def test_drawn_tables(shown: Callable[[], str]) -> None:
    table = Table(title=HOSTILE, caption=HOSTILE)
    table.add_column(HOSTILE)
    table.add_row(Text(HOSTILE))
    table.add_row(HOSTILE)
    console.results.print(table)
    text = shown()
    assert text.count(r"\x1b[2J:x:[bold]") == 5
    assert not {"\u202e", "\udcff", "\x9b"} & set(text)


def test_progress(shown: Callable[[], str]) -> None:
    with console.step_progress() as progress:
        progress.add_task(HOSTILE, total=3, status=HOSTILE)
    with console.working(HOSTILE) as say:
        say(HOSTILE)
    assert not {"\u202e", "\udcff", "\x9b", "❌"} & set(shown())


def test_json_is_unchanged_but_safe(shown: Callable[[], str]) -> None:
    console.print_json({"ö": [HOSTILE, "全 \n"]})
    text = shown()
    assert json.loads(text) == {"ö": [HOSTILE, "全 \n"]}
    assert "ö" in text and "全" in text and text.replace("\n", "").isprintable()
