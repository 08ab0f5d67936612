"""`actsr models`."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from actsr_cli.app import app
from actsr_cli.data.synthetic import generate_demo
from actsr_cli.models.registry import all_models, names_of


def models(*arguments: str) -> tuple[str, str]:
    result = CliRunner().invoke(app, ["models", *arguments])
    assert result.exit_code == 0, result.output
    return result.stdout, result.stderr


def prepare(*arguments: str) -> None:
    assert CliRunner().invoke(app, ["preprocess", *arguments]).exit_code == 0


@pytest.fixture
def data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("ACTSR_DATA", str(tmp_path))
    return tmp_path


def test_sizes_are_shown_when_a_data_set_is_named(data: Path) -> None:
    listed, noted = models()
    for name, model in all_models().items():
        assert ", ".join(names_of(name, model)) in listed
        assert model.paper in listed
        assert all(f"model.{key}" in listed for key in model.model_fields if key != "name")
    assert "needs    users" in listed and "needs    timestamps" in listed
    assert " on " not in listed.replace(" on the", "")
    assert "actsr models --dataset NAME" in noted


def test_sizes_are_those_of_the_data_set(data: Path) -> None:
    (data / "lists.txt").write_text("".join(f"u{user} 1 2 3 4 {5 + user}\n" for user in range(9)))
    prepare("lists", "--from-file", str(data / "lists.txt"), "--format", "sequences")
    listed, _ = models("--dataset", "lists")
    assert "  size     14 on lists" in listed  # popularity: 13 items plus padding
    assert "cannot be trained on lists, which has no timestamps" in listed
    (data / "demo").mkdir()
    generate_demo(data / "demo", users=300)
    prepare("demo")
    latest, _ = models("--preset", "beauty")
    assert "on demo" in latest and "on lists" not in latest
    assert models("--dataset", "demo")[0] != latest
    assert models("--dataset", "lists")[0] == listed


def test_json(data: Path) -> None:
    told = {each["names"][0]: each for each in json.loads(models("--json")[0])}
    assert list(told) == list(all_models())
    assert told["sse-pt"]["needs_users"] and told["tisasrec"]["needs_timestamps"]
    assert told["sasrec"]["names"] == ["sasrec", "ac-sasrec"] and "model.heads" in told["sasrec"]["options"]
    assert {(each["dataset"], each["sizes"], each["problem"]) for each in told.values()} == {(None, None, None)}
    (data / "lists.txt").write_text("".join(f"u{user} 1 2 3 4 {5 + user}\n" for user in range(9)))
    prepare("lists", "--from-file", str(data / "lists.txt"), "--format", "sequences")
    told = {each["names"][0]: each for each in json.loads(models("--dataset", "lists", "--json")[0])}
    assert told["popularity"]["sizes"] == {"popularity": 14} and told["popularity"]["dataset"] == "lists"
    assert told["sasrec"]["sizes"].keys() == {"sasrec", "ac-sasrec"}
    assert told["tisasrec"]["sizes"] is None and "no timestamps" in told["tisasrec"]["problem"]


def test_a_data_set_that_is_unknown_or_not_prepared(data: Path) -> None:
    assert CliRunner().invoke(app, ["models", "--dataset", "nothing"]).exit_code == 1
    (data / "demo").mkdir()
    generate_demo(data / "demo", users=30)
    for arguments, said in (
        (
            ("--dataset", "demo"),
            "error: 'demo' is not prepared yet, so there are no sizes\nFirst: actsr preprocess demo",
        ),
        (
            ("--preset", "demo"),
            "error: no data set is prepared yet, so there are no sizes\nFirst: actsr preprocess demo",
        ),
    ):
        result = CliRunner().invoke(app, ["models", *arguments])
        assert (result.exit_code, result.stderr.strip()) == (1, said)
