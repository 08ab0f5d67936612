"""`actsr inspect-attention`."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from processes import SMALL, call
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from actsr_cli.attention import STAGES
from actsr_cli.data.synthetic import generate_demo

FOUR_HEADS = ("--set", "model.heads=4", "--epochs", "2")


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with demo data and a few runs on them."""
    place = tmp_path_factory.mktemp("inspect")
    (place / "data" / "demo").mkdir(parents=True)
    generate_demo(place / "data" / "demo", users=300)
    where = ("--data-dir", str(place / "data"), "--runs-dir", str(place / "runs"))
    call("train", "--model", "gru4rec", "--name", "gru", *SMALL, "--epochs", "1", *where)
    call("train", "--model", "tisasrec", "--name", "times", *SMALL, "--epochs", "1", *where)
    call("train", "--model", "sasrec", "--name", "plain", *SMALL, *FOUR_HEADS, *where)
    side_by_side = ("--set", "calibration.two_level=false", "--epochs", "1")
    call("train", "--model", "ac-sasrec", "--name", "beside", *SMALL, *side_by_side, *where)
    call("train", "--model", "ac-sasrec", "--name", "ac", *SMALL, *FOUR_HEADS, *where)
    return place


@pytest.fixture
def place(trained: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("ACTSR_DATA", str(trained / "data"))
    monkeypatch.setenv("ACTSR_RUNS", str(trained / "runs"))
    return trained


def inspect(*arguments: str, exit_code: int = 0) -> Any:
    return call("inspect-attention", *arguments, exit_code=exit_code)


def _shown(importance: float) -> str:
    return re.sub(r"[+-](0\.00)", r"\1", f"{importance:+.2f}")


@pytest.mark.usefixtures("place")
class TestTheTerminal:
    @pytest.mark.parametrize("columns", [80, 200])
    def test_three_users_of_the_latest_run(self, columns: int, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("actsr_cli.console.results._width", columns)
        shown = inspect().stdout
        assert shown.count("demo/ac-sasrec/ac: user u") == 3 == shown.count("without calibration")
        assert max(map(len, shown.splitlines())) <= columns
        assert "plain" in shown and "spatial" in shown and "mask" in shown and "calibrated" in shown
        assert re.search(r"coffee|kettle|gift card|[a-z]+ [a-z]+ ", shown)  # titles, not ids
        numbers = [
            int(line.split("│")[1]) for line in shown.splitlines() if line.startswith("│") and "item" not in line
        ]
        assert numbers.count(1) == 3 and max(numbers) == len(set(numbers))
        assert shown == inspect().stdout

    def test_five_stages_fit_beside_one_another(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("actsr_cli.console.results._width", 80)
        shown = inspect("beside", "--random", "1").stdout
        assert max(map(len, shown.splitlines())) <= 80
        first = next(line for line in shown.splitlines() if re.match(r"│ *1 │", line))
        assert len(re.findall(r"\d+\.\d +│", first)) == 5

    def test_percentages_of_a_stage_add_up(self) -> None:
        shown = inspect("--random", "1").stdout
        rows = [line for line in shown.splitlines() if re.match(r"│ *\d+ │", line)]
        columns = np.array([[float(cell.split()[-1]) for cell in row.split("│")[4:-1]] for row in rows])
        assert columns.shape[1] == 4
        np.testing.assert_allclose(columns.sum(axis=0), 100, atol=0.05 * len(rows) + 0.01)

    def test_why_an_item_is_recommended(self) -> None:
        asked = ("--user", "u0007", "--sample", "30")
        (of_target,) = json.loads(inspect(*asked, "--json").stdout)[0]["histories"]
        (of_best,) = json.loads(inspect(*asked, "--explain", "recommended", "--json").stdout)[0]["histories"]
        assert of_target["explained"] == of_target["target"]
        assert of_best["explained"] == of_best["recommended"][0]["item"] != of_best["target"]
        assert len(of_best["importance"]) == len(of_best["places"])
        assert of_best["importance"] != of_target["importance"]
        shown = inspect(*asked, "--explain", "recommended").stdout
        assert f"the log-probability of {of_best['explained']} (integrated" in " ".join(shown.split())
        rows = [line.split("│") for line in shown.splitlines() if re.match(r"│ *\d+ │", line)]
        assert [row[3].strip() for row in rows] == [_shown(value) for value in of_best["importance"]]

    def test_every_layer_and_head(self) -> None:
        shown = inspect("--random", "1", "--layer", "all", "--head", "all").stdout
        assert [f"layer 1, head {head}" in shown for head in range(1, 6)] == [True] * 4 + [False]
        assert "head 2" in inspect("--random", "1", "--head", "2").stdout
        assert "--head takes a number from 1 to 4" in inspect("--head", "5", exit_code=1).stderr
        assert "--layer takes a number from 1 to 1" in inspect("--layer", "top", exit_code=1).stderr
        assert "--head takes a number from 1 to 4" in inspect("--head", "5", "--json", exit_code=1).stderr

    def test_users_by_name_and_by_what_calibration_did(self) -> None:
        assert "user u0007" in inspect("--user", "u0007").stdout
        for option, worse in (("--improved", False), ("--worsened", True)):
            shown = inspect(option, "2").stdout
            pairs = re.findall(r"rank ([\d.,]+), without calibration ([\d.,]+)", shown)
            assert len(pairs) == 2
            for ranks in pairs:
                calibrated, plain = (float(rank.replace(",", "").rstrip(".")) for rank in ranks)
                assert (calibrated > plain) == worse

    def test_a_history_of_ones_own(self) -> None:
        shown = inspect("--history", "i085 i157,i215").stdout
        assert "a history of 3 items" in shown and "rank" not in shown
        assert "recommended (not in the history)" in shown
        assert "rank" in inspect("--history", "i085 i157", "--target", "i215").stdout

    def test_json(self) -> None:
        arguments = ("--user", "u0007", "--against", "plain", "--noise", "0.2", "--sample", "20", "--threads", "1")
        result = inspect(*arguments, "--json")
        assert torch.get_num_threads() == 1
        ac, plain = json.loads(result.stdout)
        assert (ac["run"], plain["run"]) == ("demo/ac-sasrec/ac", "demo/sasrec/plain")
        assert ac["protocol"] == plain["protocol"] == "rank"
        (seen,), (beside,) = ac["histories"], plain["histories"]
        assert seen["user"] == beside["user"] == "u0007" and seen["target"] == beside["target"]
        assert seen["rank"] >= 1 and 0 < seen["probability"] < 1 and len(seen["recommended"]) == 5
        (layer,) = seen["attention"]
        assert list(layer) == ["plain", "spatial", "mask", "calibrated"] and list(beside["attention"][0]) == ["plain"]
        weights = np.array(layer["calibrated"])
        assert weights.shape == (4, len(seen["places"]))
        np.testing.assert_allclose(weights.sum(axis=1), 1, rtol=1e-5)
        assert ac["measured"]["users"] == 20 and len(ac["measured"]["robustness"]) == 4
        assert [each["changed"] > 0 for each in ac["measured"]["robustness"]] == [False, True, True, True]
        assert json.loads(inspect("--random", "1", "--json").stdout)[0]["measured"] is None

    def test_side_by_side(self) -> None:
        shown = inspect("--user", "u0007", "--against", "plain").stdout
        assert "demo/ac-sasrec/ac: user u0007" in shown and "demo/sasrec/plain: user u0007" in shown

    @pytest.mark.parametrize(
        ("arguments", "message"),
        [
            (("--user", "nobody"), "unknown user 'nobody'"),
            (("--history", "i085 x9"), "unknown item 'x9'"),
            (("--history", " "), "the history is empty"),
            (("--target", "i085"), "--target needs --history"),
            (("--noise", "0.1,much"), "--noise takes shares above 0"),
            (("gru",), "no calibrated or plain attention"),
            (("plain", "--improved", "1"), "not calibrated"),
            (("times", "--history", "i085"), "needs timestamps"),
            (("nothing",), "no run 'nothing'"),
        ],
    )
    def test_what_cannot_be_done(self, arguments: tuple[str, ...], message: str) -> None:
        assert message in " ".join(inspect(*arguments, exit_code=1).stderr.split())

    def test_runs_on_other_data(self, place: Path) -> None:
        (place / "data" / "other").mkdir(exist_ok=True)
        for suffix in ("inter", "item"):
            (place / "data" / "other" / f"other.{suffix}").write_bytes(
                (place / "data" / "demo" / f"demo.{suffix}").read_bytes()
            )
        call("train", "--model", "sasrec", "--name", "x", *SMALL, "--dataset", "other", "--epochs", "1")
        assert "other data" in inspect("ac", "--against", "other/sasrec/x", exit_code=1).stderr


@pytest.mark.usefixtures("place")
class TestTheFiles:
    def test_what_is_written(self, tmp_path: Path) -> None:
        looks = tmp_path / "looks"
        inspect("ac", "--user", "u0007", "--against", "plain", "--output", str(looks))
        names = {str(path.relative_to(looks)) for path in looks.rglob("*") if path.is_file()}
        files = {f"attention.{suffix}" for suffix in ("png", "csv", "json", "npz")}
        assert names == {f"{run}/u0007/{file}" for run in ("users", "against") for file in files} | {
            "measured.json",
            "report.html",
            "tables/looked-at.csv",
            "tables/noise-items.csv",
        }
        folder = looks / "users" / "u0007"
        tensors = np.load(folder / "attention.npz")
        table, record = pd.read_csv(folder / "attention.csv"), json.loads((folder / "attention.json").read_text())
        length = len(record["places"])
        assert tensors["layer1.plain"].shape == (4, length, length)
        np.testing.assert_allclose(record["layer1.mask"], tensors["layer1.mask"])
        np.testing.assert_allclose(
            table["calibrated"].to_numpy().reshape(4, length, length), tensors["layer1.calibrated"]
        )
        assert table["query_item"].unique().tolist() == list(dict.fromkeys(record["places"]))
        assert (folder / "attention.png").read_bytes().startswith(b"\x89PNG")

    def test_a_stage_has_one_name_everywhere(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        stages = ["plain", "spatial", "mask", "adversarial", "calibrated"]
        assert [stage for stage in STAGES if stage != "perturbed"] == stages  # in the order of computation
        monkeypatch.setattr("actsr_cli.console.results._width", 120)
        shown = inspect("beside", "--user", "u0007", "--sample", "20", "--output", str(tmp_path)).stdout
        assert re.search(r"item *┃ importance ┃ " + r" *┃ ".join(stages) + r" *┃", shown)
        assert re.search(r"^share of +" + r" +".join(stages) + r" *$", shown, re.MULTILINE)
        folder = tmp_path / "users" / "u0007"
        readings = ["order", "distance", "gate"]
        tensors = [name.removeprefix("layer1.") for name in np.load(folder / "attention.npz") if "layer1." in name]
        assert tensors == [*stages, *readings]
        table = pd.read_csv(folder / "attention.csv")
        assert list(table.columns) == ["layer", "head", "query", "query_item", "key", "key_item", *stages, *readings]
        record = json.loads((folder / "attention.json").read_text())
        assert [name.removeprefix("layer1.") for name in record if "layer1." in name] == [*stages, *readings]
        (measured,) = json.loads((tmp_path / "measured.json").read_text())
        assert list(measured["effective_share"]) == stages == list(measured["curves"][0]["weights"])
        page = (tmp_path / "report.html").read_text(encoding="utf-8")
        data = json.loads(re.findall(r'id="data">(.*?)</script>', page, re.DOTALL)[0])
        assert data["runs"][0]["stages"] == stages == list(data["users"][0]["views"][0]["weights"])

    def test_faithfulness_and_noise(self, tmp_path: Path) -> None:
        shown = inspect("ac", "--faithfulness", "--noise", "0.2", "--sample", "12", "--output", str(tmp_path)).stdout
        assert "is the attention faithful? 12" in shown and "attention on noise items" in shown
        (measured,) = json.loads((tmp_path / "measured.json").read_text())
        assert measured["users"] == 12 and measured["curves"][0]["order"] and measured["noise_mass"]
        assert {"calibrated, rollout", "integrated gradients"} < set(measured["faithfulness"]["explanations"])
        assert [each["kind"] for each in measured["robustness"]] == ["none", "insert", "shuffle", "drop"]
        tables = {path.stem for path in (tmp_path / "tables").iterdir()}
        assert tables == {"looked-at", "noise-items", "faithfulness", "robustness", "injected-items"}
        for picture in ("faithfulness.png", "robustness.png"):
            assert (tmp_path / picture).read_bytes().startswith(b"\x89PNG")

    def test_an_earlier_inspection_is_replaced(self, tmp_path: Path) -> None:
        looks = ("--sample", "12", "--output", str(tmp_path))
        inspect("ac", "--user", "u0007", "--against", "plain", "--faithfulness", *looks)
        (tmp_path / "notes.txt").write_text("mine")
        inspect("beside", "--user", "u0117", *looks)
        names = {str(path.relative_to(tmp_path)) for path in tmp_path.glob("*/*")}
        assert names == {"users/u0117", "tables/looked-at.csv", "tables/noise-items.csv"}
        assert {path.name for path in tmp_path.iterdir() if path.is_file()} == {
            "measured.json",
            "notes.txt",
            "report.html",
        }
        (measured,) = json.loads((tmp_path / "measured.json").read_text())
        assert measured["run"] == "demo/ac-sasrec/beside"

    def test_other_folders_are_refused_before_anything_is_measured(self, tmp_path: Path) -> None:
        (tmp_path / "thesis.txt").write_text("mine")
        for folder, message in (
            (tmp_path, f"{tmp_path} holds something else than an earlier inspection"),
            (tmp_path / "thesis.txt", "thesis.txt is a file, not a folder"),
            (tmp_path / "thesis.txt" / "looks", "thesis.txt is a file, not a folder"),
        ):
            refused = inspect("ac", "--faithfulness", "--output", str(folder), exit_code=1)
            assert message in refused.stderr and refused.stdout == ""
        assert [path.name for path in tmp_path.iterdir()] == ["thesis.txt"]


class TestTensorBoard:
    def test_heat_maps_of_the_same_users_every_few_epochs(self, place: Path) -> None:
        options = ("--epochs", "2", "--set", "training.log_attention=2")
        call("train", "--model", "ac-sasrec", "--name", "watched", *SMALL, *FOUR_HEADS, *options)
        run = place / "runs" / "demo" / "ac-sasrec" / "watched"
        events = EventAccumulator(str(run / "tensorboard"), {"images": 0}).Reload()
        tags = events.Tags()["images"]
        assert len(tags) == 4 and all(tag.startswith("attention/u") for tag in tags)
        assert [[image.step for image in events.Images(tag)] for tag in tags] == [[0, 2]] * 4
        unwatched = place / "runs" / "demo" / "ac-sasrec" / "ac"
        assert (run / "model.safetensors").read_bytes() == (unwatched / "model.safetensors").read_bytes()

    def test_a_model_without_attention(self, place: Path) -> None:
        options = ("--epochs", "1", "--set", "training.log_attention=1", "--name", "blind")
        result = call("train", "--model", "gru4rec", *SMALL, *options, exit_code=1)
        assert "training.log_attention must be 0: GRU4Rec has no attention" in result.stderr
        assert not (place / "runs" / "demo" / "gru4rec" / "blind").exists()
