"""`actsr runs`."""

from __future__ import annotations

import json
import re
from datetime import datetime
from pathlib import Path

import pytest
from processes import SMALL, call
from records import change, change_text
from typer.testing import CliRunner

from actsr_cli.app import app
from actsr_cli.commands.tables import duration
from actsr_cli.experiment.record import read_record


@pytest.fixture
def trained(place: Path) -> Path:
    call("train", "--model", "popularity", "--name", "floor", *SMALL[:4])
    call("train", "--model", "sasrec", "--name", "first", *SMALL, "--epochs", "1")
    call("train", "--model", "sasrec", "--name", "broken", *SMALL, "--set", "training.learning_rate=1e30", exit_code=1)
    return place / "runs"


def test_listed_shown_and_deleted(trained: Path, tmp_path: Path) -> None:
    listed = json.loads(call("runs", "--json").stdout)
    assert [(run["run"], run["status"]) for run in listed] == [
        ("demo/popularity/floor", "finished"),
        ("demo/sasrec/first", "finished"),
        ("demo/sasrec/broken", "failed"),
    ]
    floor, first, broken = listed
    metrics = json.loads((trained / "demo" / "sasrec" / "first" / "metrics.json").read_text())
    assert len(metrics.pop("checksum")) == 8
    assert first["value"] == metrics["valid/exclude"]["ndcg@10"] and first["monitor"] == "ndcg@10"
    assert first["seconds"] > 0 and floor["best_epoch"] == 1 and broken["value"] is None

    for filters, expected in (
        (("--model", "sasrec"), {"demo/sasrec/first", "demo/sasrec/broken"}),
        (("--model", "sasrec", "--status", "failed"), {"demo/sasrec/broken"}),
        (("--dataset", "beauty"), set()),
    ):
        assert {run["run"] for run in json.loads(call("runs", *filters, "--json").stdout)} == expected
    head, *rows = (line.split("  ") for line in call("runs").stdout.splitlines())
    assert [row[0] for row in rows] == [each["run"] for each in listed] and head[0].strip() == "run"
    started = datetime.fromisoformat(first["started"]).astimezone().strftime("%Y-%m-%d %H:%M")
    assert started in rows[1] and first["started"].endswith("+00:00")
    assert f"ndcg@10 {first['value']:.4f}" in rows[1] and duration(first["seconds"]) in rows[1]
    assert "There is no such run" in call("runs", "--dataset", "beauty").stderr

    shown = json.loads(call("runs", "show", "first", "--json").stdout)
    assert shown["metrics"] == metrics and shown["settings"]["training"]["epochs"] == 1
    readable = call("runs", "show", "first").stdout
    assert "Protocol B, seen items excluded" in readable
    assert not re.search(r"\d\.\d{5}", readable)  # numbers are rounded
    assert re.search(r"^train_seconds +\d+\.\d s$", readable, re.MULTILINE)
    assert re.search(rf"^value +{first['value']:.4f}$", readable, re.MULTILINE)
    assert re.search(rf"^started +{started}$", readable, re.MULTILINE) and shown["started"] == first["started"]
    assert "hidden_size: 16" in readable and f"{metrics['valid/exclude']['hit@10']:.4f}" in readable
    assert json.loads(call("runs", "show", "broken", "--json").stdout)["error"].startswith("RunError: ")

    asked = CliRunner().invoke(app, ["runs", "delete", "first"], input="n\n")
    assert asked.exit_code == 1 and (trained / "demo" / "sasrec" / "first").exists()
    assert "no run 'nothing'" in call("runs", "delete", "first", "nothing", "--yes", exit_code=1).stderr
    assert (trained / "demo" / "sasrec" / "first").exists()
    call("runs", "delete", "sasrec/first", "demo/sasrec/broken", "--yes")
    assert not (trained / "demo" / "sasrec").exists() and (trained / "demo" / "popularity").exists()
    call("runs", "delete", "floor", "--yes")
    assert [path.name for path in trained.iterdir()] == [".lock"]


def test_runs_elsewhere_are_not_deleted(trained: Path, tmp_path: Path) -> None:
    elsewhere = trained / "demo" / "sasrec" / "first"
    refused = call("runs", "delete", str(elsewhere), "--yes", "--runs-dir", str(tmp_path / "other"), exit_code=1)
    assert "delete it by hand" in refused.stderr and elsewhere.exists()


def test_a_run_without_settings_is_listed_as_unreadable(trained: Path) -> None:
    (trained / "demo" / "popularity" / "floor" / "config.yaml").unlink()
    assert [run["status"] for run in json.loads(call("runs", "--json").stdout)] == ["unreadable", "finished", "failed"]


def test_a_run_of_another_version_is_listed_and_can_be_deleted(trained: Path) -> None:
    config = trained / "demo" / "sasrec" / "first" / "config.yaml"
    change_text(config, "hidden_size: 16", "hiden_size: 16")
    environment = read_record(config.parent).environment.model_dump(mode="json")
    change(config.with_name("run.json"), environment=environment | {"actsr": "0.1.9"})
    assert [run["status"] for run in json.loads(call("runs", "--json").stdout)] == ["finished", "unreadable", "failed"]
    assert "unreadable" in call("runs", "--status", "unreadable").stdout
    said = " ".join(call("runs", "show", "first", exit_code=1).stderr.split())
    assert "config.yaml cannot be read: model.hiden_size: extra inputs are not permitted" in said
    call("runs", "delete", "first", "--yes")
    assert not config.exists()
