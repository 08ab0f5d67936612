"""Follows the recipes of CONTRIBUTING.md: puts the code where the page says, and tests what it promises."""

from __future__ import annotations

import json
import os
import re
import runpy
import shlex
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch
import yaml
from machine_code import share_machine_code
from processes import SEVERAL, SMALL, call
from safetensors.torch import load_file
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from actsr_cli.commands.completion import complete_model
from actsr_cli.config import LOSSES, MODELS
from actsr_cli.data.readers import registry as readers
from actsr_cli.data.synthetic import generate_demo
from actsr_cli.evaluation.metrics import registry as metrics

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
RECIPES = re.findall(r"^### (A new .*)$", PAGE, re.MULTILINE)
METRIC, LOSS, BACKBONE, FORMAT = RECIPES
TRAIN = ("train", *SMALL, "--epochs", "2")
RATINGS = "".join(f"{user}::{item}::{1 + (user + item) % 5}::{item}\n" for user in range(9) for item in range(6))


@dataclass(frozen=True)
class Block:
    """Code of a recipe: a new file, or the end of an existing file."""

    is_new: bool
    place: str
    code: str

    @property
    def of_tests(self) -> bool:
        return self.place.startswith("tests/")

    @property
    def module(self) -> str:
        return self.place.removesuffix(".py").replace("/", ".")


def blocks(title: str) -> list[Block]:
    recipe = PAGE.partition(f"\n### {title}\n")[2].partition("\n### ")[0]
    found = re.findall(r"(New|end)\s(?:file|of)\s`([\w/.]+)`:\n\n```python\n(.*?)```", recipe, re.DOTALL)
    assert len(found) == recipe.count("```python") >= 2
    return [Block(how == "New", place, code) for how, place, code in found]


Follow = Callable[[str], None]


@pytest.fixture
def follow(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Follow]:
    """A function that applies a recipe to the imported package; undone after the test."""
    for owner, name in ((metrics, "_METRICS"), (readers, "_READERS"), (MODELS, "by_name"), (LOSSES, "by_name")):
        monkeypatch.setattr(owner, name, dict(getattr(owner, name)))
    added = []

    def add_file(block: Block) -> None:
        file = tmp_path / "new" / block.place
        file.parent.mkdir(parents=True)
        file.write_text(block.code)
        package = import_module(block.module.rpartition(".")[0])
        monkeypatch.setattr(package, "__path__", [*package.__path__, str(file.parent)])
        added.append(block.module)

    def add_entry(block: Block) -> None:
        module = import_module(block.module)
        namespace = dict(vars(module))
        exec(block.code, namespace)  # noqa: S102 (the page's own code)
        for name in namespace.keys() - vars(module).keys():
            monkeypatch.setattr(module, name, namespace[name], raising=False)

    def apply(title: str) -> None:
        for block in blocks(title):
            if not block.of_tests:
                (add_file if block.is_new else add_entry)(block)

    yield apply
    for name in added:
        sys.modules.pop(name, None)


def run_its_tests(title: str) -> None:
    (block,) = (block for block in blocks(title) if block.of_tests)
    namespace: dict[str, Any] = {}
    exec(block.code, namespace)  # noqa: S102
    tests = [value for name, value in namespace.items() if name.startswith("test_")]
    assert tests
    for test in tests:
        test()


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data root with a small demo data set."""
    data = tmp_path_factory.mktemp("data")
    (data / "demo").mkdir()
    generate_demo(data / "demo", users=300)
    return data


@pytest.fixture
def runs(data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A root of runs on the demo data."""
    monkeypatch.setenv("ACTSR_DATA", str(data))
    monkeypatch.setenv("ACTSR_RUNS", str(tmp_path / "runs"))
    return tmp_path / "runs" / "demo"


def one_line(text: str) -> str:
    return " ".join(text.split())


def refused(*arguments: str) -> str:
    outcome = call(*arguments, exit_code=1)
    assert "Traceback" not in outcome.output
    return one_line(outcome.stderr)


def losses_of(run: Path) -> list[float]:
    return pd.read_csv(run / "history.csv")["loss/calibrated"].tolist()


class TestThePage:
    def test_it_has_four_recipes_and_links_them(self) -> None:
        assert RECIPES == ["A new metric", "A new loss", "A new backbone", "A new format"]
        assert all(f"[{title}](#{title.lower().replace(' ', '-')})" in PAGE for title in RECIPES)

    def test_its_house_is_that_of_the_import_rule(self) -> None:
        rules = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["importlinter"]
        layers = [room for layer in rules["contracts"][0]["layers"] for room in layer.split(" | ")]
        assert ["__main__", *re.findall(r"^\| `(\w+)` \|", PAGE, re.MULTILINE)] == layers

    @pytest.mark.parametrize("title", RECIPES)
    def test_its_files_are_new_or_there(self, title: str) -> None:
        for block in blocks(title):
            assert (ROOT / block.place).exists() != block.is_new, block.place


class TestMetric:
    def test_it_is_measured_watched_compared_and_written(self, follow: Follow, runs: Path, tmp_path: Path) -> None:
        follow(METRIC)
        run_its_tests(METRIC)
        call(*TRAIN, "--model", "sasrec", "--name", "one", "--set", "training.monitor=rbp@10")
        one = runs / "sasrec" / "one"
        record = json.loads((one / "run.json").read_text())
        assert record["monitor"] == "rbp@10" and record["value"] > 0
        curve = EventAccumulator(str(next(one.glob("**/events.*")).parent)).Reload().Scalars("valid/rbp@10")
        assert [event.step for event in curve] == [1, 2]
        assert max(event.value for event in curve) == pytest.approx(record["value"], rel=1e-6)

        ranks = tmp_path / "ranks.csv"
        shown = call("evaluate", "one", "--metrics", "hit,rbp", "--k", "5,10", "--per-user", str(ranks)).stdout
        assert re.search(r"sasrec +RBP ", shown)
        told = json.loads((one / "metrics.json").read_text())["test/exclude"]
        assert pd.read_csv(ranks)["rbp@5"].mean() == pytest.approx(told["rbp@5"])
        assert "RBP" in call("evaluate", "one", "--metrics", "all").stdout
        assert "RBP" in call("runs", "show", "one").stdout
        assert "unknown metric 'rpb' (metrics); did you mean 'rbp'?" in refused("evaluate", "--metrics", "rpb")

        every = ("--set", "evaluation.metrics=[hit, rbp]", "--set", "evaluation.k=[10]")
        call(*TRAIN, "--model", "sasrec", "--name", "two", "--seed", "1", *every)
        assert {"hit@10", "rbp@10", "ndcg@10"} <= set(pd.read_csv(runs / "sasrec/two/history.csv"))
        compared = call("compare", "one", "two", "--metrics", "rbp", "--output", str(tmp_path / "out")).stdout
        assert "RBP@10 ↑ by history length" in one_line(compared)
        assert pd.read_csv(tmp_path / "out" / "differences.csv")["metric"].tolist() == ["rbp@10"]
        assert "RBP@10" in (tmp_path / "out" / "compare.md").read_text()

    def test_without_it_the_package_is_as_before(self, runs: Path) -> None:
        assert "rbp" not in {metric.name for metric in metrics.all_metrics()}
        assert "top1" not in LOSSES.by_name and "sine-sasrec" not in MODELS.by_name
        assert "movielens" not in readers.format_names()


class TestLoss:
    def test_it_trains_and_owns_its_options(self, follow: Follow, runs: Path, tmp_path: Path) -> None:
        follow(LOSS)
        run_its_tests(LOSS)
        call(*TRAIN, "--model", "sasrec", "--name", "plain", "--set", "loss=top1")
        weighted = ("--set", "loss.name=top1", "--set", "loss.score_weight=0.5")
        call(*TRAIN, "--model", "ac-sasrec", "--name", "full", *weighted)
        for run in (runs / "sasrec" / "plain", runs / "ac-sasrec" / "full"):
            assert losses_of(run)[1] < losses_of(run)[0]
        kept = yaml.safe_load((runs / "ac-sasrec" / "full" / "config.yaml").read_text())["loss"]
        assert kept == {"name": "top1", "negatives": 256, "score_weight": 0.5}
        call("train", "--resume", "plain", "--epochs", "3")
        assert "sasrec  NDCG" in call("evaluate", "plain").stdout

        said = refused(*TRAIN, "--set", "loss=bpr", "--set", "loss.score_weight=2")
        assert "loss.score_weight (--set): loss bpr has no such key, it belongs to top1" in said
        assert "must be greater than or equal to 0" in refused(*TRAIN, *weighted[:2], "--set", "loss.score_weight=-1")
        assert "did you mean 'top1'?" in refused(*TRAIN, "--set", "loss=top")

        preset = tmp_path / "mine.yaml"
        preset.write_text("dataset: demo\nloss: top1\n")
        assert "score_weight: 1.0" in call("presets", "show", str(preset), "--resolved").stdout


class TestBackbone:
    def test_it_is_listed_trained_resumed_and_inspected(self, follow: Follow, runs: Path) -> None:
        follow(BACKBONE)
        run_its_tests(BACKBONE)
        own = ("--set", "model.wave_height=0.1")
        for name in ("parts", "whole"):
            epochs = "1" if name == "parts" else "2"
            call(*TRAIN, "--model", "ac-sine-sasrec", "--name", name, *own, "--epochs", epochs)
        call("train", "--resume", "parts", "--epochs", "2")
        whole, parts = (
            load_file(runs / "ac-sine-sasrec" / name / "checkpoint.safetensors") for name in ("whole", "parts")
        )
        assert whole.keys() == parts.keys() and all(torch.equal(whole[name], parts[name]) for name in whole)

        listed = call("models", "--dataset", "demo").stdout
        assert "sine-sasrec, ac-sine-sasrec" in listed and "model.wave_height" in listed
        assert re.search(r"Attention Is All You Need.*?\n.*\n +options .*\n +size +[\d,]+, [\d,]+ on demo", listed)
        assert complete_model("ac-si") == ["ac-sine-sasrec"]
        for calibration in ("none", "spatial", "adversarial"):
            call(*TRAIN, "--model", "sine-sasrec", "--calibration", calibration, "--epochs", "1", "--name", "short")
        call(*TRAIN, "--model", "sine-sasrec", "--name", "plain")
        assert losses_of(runs / "sine-sasrec" / "plain")[1] < losses_of(runs / "sine-sasrec" / "plain")[0]
        assert "ac-sine-sasrec  NDCG" in call("evaluate", "whole").stdout
        assert "ac-sine-sasrec/whole: user" in call("inspect-attention", "whole", "--random", "1").stdout
        assert "against demo/sine-sasrec/plain" in one_line(call("compare", "plain", "whole").stdout)

        said = refused(*TRAIN, "--model", "sasrec", *own)
        assert "model.wave_height (--set): sasrec has no such key, it belongs to sine-sasrec" in said
        assert "did you mean 'sine-sasrec'?" in refused(*TRAIN, "--model", "sin-sasrec")
        assert "sine-sasrec" in refused(*TRAIN, "--model", "gru4rec", "--calibration", "full")


class TestFormat:
    def test_it_is_guessed_read_and_named(self, follow: Follow, runs: Path, tmp_path: Path) -> None:
        follow(FORMAT)
        file = tmp_path / "ratings.dat"
        file.write_text(RATINGS)
        prepare = ("preprocess", "ml-1m", "--from-file", str(file))
        assert "9 users / 6 items / 54 interactions" in call(*prepare).stdout
        assert call("preprocess", "ml-1m").stdout == call(*prepare, "--format", "movielens").stdout
        call("train", "--dataset", "ml-1m", "--model", "item-knn")
        kept = call(*prepare, "--interval", "rating=4:", "--interval", "timestamp=:4").stdout
        assert f"/ {sum(1 for u in range(9) for i in range(5) if (u + i) % 5 >= 3)} interactions" in kept

        file.write_text(f"{RATINGS}1::2\n7::7::high::7\n")
        assert "ratings.dat, line 55: 4 fields expected, 2 found" in refused(*prepare)
        skipped = call(*prepare, "--on-bad-line", "skip")
        assert "2 lines skipped" in one_line(skipped.stderr) and "/ 54 interactions" in skipped.stdout
        assert "unknown format 'movielense'; did you mean 'movielens'?" in refused(*prepare, "--format", "movielense")
        assert "the format movielens has no separator to choose" in refused(*prepare, "--separator", ";")
        other = file.rename(tmp_path / "ratings.xyz")
        assert "|movielens" in refused("preprocess", "other", "--from-file", str(other)).replace(" ", "")
        assert "|movielens" in refused("preprocess", "nothing").replace(" ", "")

    def test_its_sample_passes_the_tests_of_all_formats(
        self, follow: Follow, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        follow(FORMAT)
        (block,) = (block for block in blocks(FORMAT) if block.of_tests)
        monkeypatch.syspath_prepend(str(ROOT / "tests" / "data"))
        namespace = runpy.run_path(str(ROOT / block.place))
        exec(block.code, namespace)  # noqa: S102
        for name in ("recognised_and_brings_what_it_declares", "takes_the_options_that_it_declares_and_no_other"):
            (test,) = (value for key, value in namespace.items() if key.startswith("test_every") and key.endswith(name))
            test(tmp_path, readers.find_reader("movielens"))


@pytest.fixture(scope="module")
def copy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the package with all four recipes applied."""
    copy = tmp_path_factory.mktemp("copy")
    for folder in ("actsr_cli", "presets", "tests/data"):
        shutil.copytree(ROOT / folder, copy / folder)
    shutil.copy(ROOT / "pyproject.toml", copy)
    for block in (block for title in RECIPES for block in blocks(title)):
        file = copy / block.place
        file.parent.mkdir(parents=True, exist_ok=True)
        before = "" if block.is_new else file.read_text(encoding="utf-8") + "\n" * (2 if block.code[0] in "@d" else 0)
        file.write_text(before + block.code, encoding="utf-8")
    share_machine_code(copy / "actsr_cli")
    return copy


def test_the_code_is_as_the_linter_wants_it(copy: Path) -> None:
    places = [block.place for title in RECIPES for block in blocks(title)]
    for check in (["check"], ["format", "--check", "--diff"]):
        ruff = [sys.executable, "-m", "ruff", *check, *places]
        done = subprocess.run(ruff, cwd=copy, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.slow
def test_all_four_together(copy: Path) -> None:
    """A study in several processes with the new backbone, loss and metric, on data in the new format."""
    (copy / "ratings.dat").write_text(RATINGS)
    (copy / "space.yaml").write_text("loss.score_weight: [0.5, 1.0]\nmodel.wave_height: [0.1]\n")

    chosen = ("--model", "ac-sine-sasrec", "--dataset", "ml", "--set", "loss=top1", "--set", "training.monitor=rbp@5")
    tune = ("tune", "--grid", *SMALL[:2], *SMALL[4:], *chosen, "--epochs", "1", "--space", "space.yaml")
    commands = ["preprocess ml --from-file ratings.dat", shlex.join(tune)]
    environment = {**os.environ, "PYTHONPATH": str(copy)}
    python = [sys.executable, "-c", SEVERAL, *commands]
    done = subprocess.run(python, cwd=copy, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "2 finished" in done.stdout
    best = yaml.safe_load((copy / "runs/studies/ml/ac-sine-sasrec/grid/best.yaml").read_text())
    assert best["loss"]["name"] == "top1" and best["model"]["wave_height"] == 0.1
