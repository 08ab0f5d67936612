"""YAML of settings: plain values are read; tags, aliases and all that grows are refused in one line."""

from __future__ import annotations

import time
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from actsr_cli.config.reading import parse_override, parse_yaml, read_yaml
from actsr_cli.errors import ActsrError, ConfigError
from actsr_cli.presets import load_preset, resolve

LETTERS = "abcdefghijklmnopqrst"
BOMB = "a: &a [x, x]\n" + "".join(f"{b}: &{b} [*{a}, *{a}]\n" for a, b in pairwise(LETTERS))


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("{a: 1e-3, b: [yes, null, 2, x]}", {"a": 1e-3, "b": [True, None, 2, "x"]}),
        ("2020-01-01", "2020-01-01"),
        ("2020-13-45", "2020-13-45"),
        ("a: &a {b: 1}\nc: {<<: *a, d: *a}", {"a": {"b": 1}, "c": {"b": 1, "d": {"b": 1}}}),
        ("", None),
        ("'quoted'", "quoted"),
        ("{1: 2, true: no, null: on, 1e3: x}", {"1": 2, "true": False, "null": True, "1e3": "x"}),
    ],
)
def test_plain_values(text: str, value: object) -> None:
    assert parse_yaml(text) == value


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("!!int ''", "could not determine what tag 'tag:yaml.org,2002:int' means: leave it out"),
        ("!!python/object/apply:os.system [ls]", "could not determine what tag"),
        ("!own {a: 1}", "could not determine what tag"),
        (BOMB, "it has more than 20000 values"),
        ("a: &a [*a]", "line 1, column 8: '*a' stands within what it repeats"),
        ("&a [*a]", "stands within"),
        ("&a {<<: *a}", "stands within"),
        ("a: *b", "found undefined alias"),
        ("[" * 100_000, "nested too deeply"),
        ("{a: " * 1_000 + "}" * 1_000, "nested too deeply"),
        ("".join(f"{' ' * depth}a:\n" for depth in range(100)), "nested too deeply"),
        ("- " * 1_000 + "x", "nested too deeply"),
        ("model: {name: sasrec, name: gru4rec}", "line 1, column 23: key 'name' is given twice"),
        ("a: 1\na: 2", "line 2, column 1: key 'a' is given twice"),
        ("? [a, b]\n: 1", "a key must be a text"),
        ("?", "line 1, column 2: a key must be a text"),
        ("1" * 5_000, "digits"),
        ("x" * 300_000, "larger than 256 KB"),
        ("a: b: c", "mapping values are not allowed here"),
        ("\x00", "special characters are not allowed"),
        ("\udcff", "special characters are not allowed"),
        ("'", "found unexpected end of stream"),
    ],
)
def test_what_is_refused(text: str, problem: str, tmp_path: Path) -> None:
    for read in (parse_yaml, lambda value: parse_override(f"model.name={value}")):
        started = time.process_time()
        with pytest.raises(ConfigError) as caught:
            read(text)
        assert problem in caught.value.message and "\n" not in caught.value.message
        assert len(caught.value.message) < 500
        assert time.process_time() - started < 10
    file = tmp_path / "settings.yaml"
    file.write_bytes(text.encode("utf-8", "surrogateescape"))
    with pytest.raises(ConfigError) as caught:
        read_yaml(file)
    assert caught.value.message.startswith(f"{file} is not well-formed YAML: ")


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    (tmp_path / "latin.yaml").write_bytes("description: größe".encode("latin-1"))
    for name, problem in (
        ("none.yaml", "no file"),
        ("", "cannot be read: Is a directory"),
        ("latin.yaml", "not well-formed YAML: byte 16 is no utf-8"),
        ("x" * 1_000, "cannot be read: File name too long"),
        ("a\0b", "no file"),
    ):
        with pytest.raises(ConfigError, match=problem):
            read_yaml(tmp_path / name)


@pytest.mark.parametrize("name", ["x" * 1_000, "../../etc/passwd", "a\0b", "\udcff", ".", "..", "", "a\nb", "/"])
def test_names_of_presets(name: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load_preset(name)
    assert len(caught.value.message) < 300


@pytest.mark.parametrize(
    "override",
    [
        "dataset=2020-13-45",
        "dataset=..",
        "dataset=/etc",
        "dataset=a\x1b",
        f"dataset={'x' * 1_000}",
        "." * 10_000 + "=1",
        "a." * 10_000 + "a=1",
        "model.layers=" + "9" * 4_000,
        "model.name=[1, 2]",
        "model=1",
        "training.learning_rate=.inf",
        "training.learning_rate=.nan",
        "=1",
        "1=1",
        "model={1: 2}",
        "tune=1",
        "data.intervals=1",
    ],
)
def test_overrides_are_taken_or_refused_in_one_line(override: str) -> None:
    try:
        resolve(overrides=[override])
    except ActsrError as error:
        assert len(error.message) < 500
    else:
        assert override == "dataset=2020-13-45"


@given(st.text(alphabet="ab:1-[]{}!&*'\"#|>%@,.?<= \n\t\\~\x00\ud800", max_size=60))
def test_any_text_is_read_or_refused(text: str) -> None:
    for read in (parse_yaml, lambda value: resolve(overrides=[f"model.name={value}"]), parse_override):
        try:
            read(text)
        except ConfigError as error:
            assert error.message
