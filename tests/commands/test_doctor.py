"""`actsr doctor`."""

from __future__ import annotations

import json
from importlib.metadata import version
from pathlib import Path

import pytest
from typer.testing import CliRunner

from actsr_cli.app import app
from actsr_cli.experiment import doctor
from actsr_cli.training import checkpoint

CHECKS = ["versions", "libraries", "bytecode", "machine", "data folder", "runs folder", "training", "checkpoint"]


def examined(folder: Path, *options: str, code: int = 0) -> dict[str, tuple[str, str]]:
    """Verdict and text of each check."""
    places = ["--data-dir", str(folder / "data"), "--runs-dir", str(folder / "runs")]
    result = CliRunner().invoke(app, ["doctor", "--json", *places, *options])
    assert result.exit_code == code, result.output
    findings = json.loads(result.stdout)
    assert [each["check"] for each in findings] == CHECKS
    return {each["check"]: (each["verdict"], each["text"]) for each in findings}


def test_a_sound_installation(tmp_path: Path) -> None:
    found = examined(tmp_path)
    assert "failed" not in {verdict for verdict, _ in found.values()}
    assert version("torch") in found["versions"][1]
    assert found["checkpoint"][1].endswith("a resumed training equals one that never stopped")
    assert list(tmp_path.iterdir()) == []


def test_the_table(tmp_path: Path) -> None:
    result = CliRunner().invoke(app, ["doctor", "--data-dir", str(tmp_path), "--runs-dir", str(tmp_path)])
    lines = result.stdout.splitlines()
    assert lines[0].split() == ["check", "result"] and len(lines) == len(CHECKS) + 1
    assert all(line.startswith(check) for line, check in zip(lines[1:], CHECKS, strict=True))


def test_what_is_wrong_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "data").write_text("a file")
    monkeypatch.setattr(doctor, "requires", lambda _: ["numpy>=2.0", "torch>=99", 'rich>=99; extra == "dev"'])
    monkeypatch.setattr(doctor, "version", lambda name: "1.26.4" if name == "numpy" else version(name))
    found = examined(tmp_path, "--device", "cuda:77", code=1)
    assert found["libraries"][0] == "failed"
    assert "numpy is 1.26.4, needed is >=2.0" in found["libraries"][1] and "torch is" in found["libraries"][1]
    assert "rich" not in found["libraries"][1]
    assert found["machine"] == ("failed", "ConfigError: device 'cuda:77' is not available here")
    assert found["data folder"][0] == "failed" and "is a file" in found["data folder"][1]
    assert found["runs folder"][0] == "ok"
    assert found["training"][0] == "failed" and found["checkpoint"][0] == "failed"


def test_a_missing_library_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "requires", lambda _: ["no-such-library>=1"])
    assert "no-such-library is missing" in examined(tmp_path, code=1)["libraries"][1]


@pytest.mark.parametrize(("set_", "why"), [(True, "PYTHONDONTWRITEBYTECODE is set"), (False, "cannot be written")])
def test_bytecode_that_is_not_kept_is_a_warning(monkeypatch: pytest.MonkeyPatch, set_: bool, why: str) -> None:
    monkeypatch.setattr(doctor, "cache_from_source", lambda path: f"{path}.missing")
    monkeypatch.setattr("sys.dont_write_bytecode", set_)
    verdict, text = doctor._bytecode()
    assert verdict is doctor.Verdict.WARNING and why in text and "-m compileall" in text


def test_a_state_that_is_not_restored_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checkpoint, "_set_random_states", lambda _: None)  # dropout then draws other numbers
    verdict, text = examined(tmp_path, code=1)["checkpoint"]
    assert verdict == "failed" and "differs from one that never stopped" in text
