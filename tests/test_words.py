"""Names that people may choose, and text that is safe to show."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from actsr_cli.errors import ActsrError
from actsr_cli.words import LONGEST_NAME, command, name_problem, shortened, visible


@pytest.mark.parametrize("name", ["one", "my run", "a-b_c.d", "größe", "数据", "x" * LONGEST_NAME, "run:2", "-x"])
def test_names(name: str) -> None:
    assert name_problem(name) is None


@pytest.mark.parametrize(
    ("name", "problem"),
    [
        ("", "empty"),
        ("  ", "empty"),
        ("a/b", "slashes"),
        ("a\\b", "slashes"),
        ("/etc", "slashes"),
        (".", "dot"),
        ("..", "dot"),
        (".hidden", "dot"),
        ("a\nb", "cannot be printed"),
        ("a\x1b[31m", "cannot be printed"),
        ("a\0", "cannot be printed"),
        ("a\u202eb", "cannot be printed"),
        ("\udcff", "cannot be printed"),
        (" a", "blank"),
        ("x" * (LONGEST_NAME + 1), "longer than"),
        ("ü" * (LONGEST_NAME // 2 + 1), "longer than"),
    ],
)
def test_what_is_no_name(name: str, problem: str) -> None:
    assert problem in (name_problem(name) or "")


def test_visible_by_hand() -> None:
    assert visible("a\x1b[31m\u202eb\udcff\x9b\n") == "a\\x1b[31m\\u202eb\\udcff\\x9b\\n"
    assert visible("a\tb\nc", keep="\n") == "a\\tb\nc"
    for text in ("Ünïcode 数据 :x: [bold]", "全角\u3000空白", "a\xa0b", "a\u200cb"):
        assert visible(text) == text


@given(st.text(alphabet=st.characters()))
def test_what_is_visible_can_be_printed(text: str) -> None:
    shown = visible(text)
    assert not any(each in shown for each in map(chr, (*range(32), *range(127, 160), 0x2028, 0x202E)))
    assert visible(shown) == shown
    shown.encode("utf-8")


def test_shortened() -> None:
    assert shortened("abc", 3) == "abc"
    assert shortened("abcd", 3) == "ab…"


def test_an_error_is_one_line_whatever_it_quotes() -> None:
    assert ActsrError("a\x1b[31m\nb").message == r"a\x1b[31m\nb"
    long = ActsrError(f"line 3: '{'9' * 5_000}' is no number").message
    assert len(long) < 1_010 and long.startswith("line 3: '99") and long.endswith("99' is no number")


def test_commands_can_be_typed_in_a_shell() -> None:
    assert command("evaluate", "demo/ac-sasrec/20260131-101500") == "actsr evaluate demo/ac-sasrec/20260131-101500"
    assert command("runs", "delete", "demo/sasrec/my run's") == """actsr runs delete 'demo/sasrec/my run'"'"'s'"""
