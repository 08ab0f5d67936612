"""Runs the code of docs/your-own-loss.md."""

from __future__ import annotations

import re
import sys
from importlib.metadata import EntryPoint
from pathlib import Path

import pytest
import torch
import yaml
from typer.testing import CliRunner

from actsr_cli import plugins
from actsr_cli.app import app
from actsr_cli.config import CustomLoss, LossOptions, section
from actsr_cli.data.synthetic import generate_demo
from actsr_cli.errors import ConfigError
from actsr_cli.presets import resolve
from actsr_cli.training.losses import build_loss

PAGE = (Path(__file__).parents[1] / "docs" / "your-own-loss.md").read_text(encoding="utf-8")
(MODULE,) = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
COMMANDS = [line.split()[1:] for line in re.findall(r"^actsr .*$", PAGE, re.MULTILINE)]
COUNTS = torch.tensor([0, 3, 2, 1])
BROKEN = """
from hinge import Hinge

class Needy(Hinge):
    def __init__(self, options, n_items, item_counts):
        self.width = options.options["width"]

not_a_loss = 3
"""


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working directory with the page's module."""
    (tmp_path / "hinge.py").write_text(MODULE)
    (tmp_path / "odd.py").write_text(BROKEN)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    for name in ("hinge", "odd"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    return tmp_path


def build(options: LossOptions) -> float:
    """The loss of two targets whose scores exceed those of their negatives by 1 and 3."""
    plugins.trust("hinge:Hinge")  # a run of another test may name it
    loss = build_loss(options, 3, COUNTS)
    items = torch.tensor([[0.0], [1.0], [2.0], [5.0]])
    drawn = loss.draw(torch.tensor([2, 3]))
    assert drawn is not None and drawn.shape == (2,)
    return loss(torch.ones(2, 1), items, torch.tensor([2, 3]), torch.tensor([1, 2])).item()


def test_by_hand() -> None:
    assert build(CustomLoss(name="hinge:Hinge")) == 0
    assert build(CustomLoss(name="hinge:Hinge", options={"margin": 2.0})) == pytest.approx(0.5)


def test_its_entry_point_registers_it(monkeypatch: pytest.MonkeyPatch) -> None:
    point = EntryPoint(name="hinge", value="hinge:Hinge", group="actsr.losses")
    monkeypatch.setattr(section, "entry_points", lambda group: [point] if group == "actsr.losses" else [])
    config = resolve(overrides=["loss=hinge", "loss.options.margin=2"]).config
    assert build(config.loss) == pytest.approx(0.5)


@pytest.mark.parametrize(
    ("name", "options", "problem"),
    [
        ("hinge:Hinge", {"margn": 1}, r"unknown key 'loss\.options\.margn' for Hinge; did you mean 'margin'"),
        ("odd:Needy", {}, "loss 'odd:Needy' cannot be built: KeyError: 'width'"),
        ("odd:Nothing", {}, "odd has no such class"),
        ("odd:not_a_loss", {}, "odd holds something that is not a loss class"),
        ("nowhere:Loss", {}, "loss 'nowhere:Loss' cannot be imported: ModuleNotFoundError"),
    ],
)
def test_classes_that_cannot_be_used(name: str, options: dict[str, int], problem: str) -> None:
    with pytest.raises(ConfigError, match=problem):
        build_loss(CustomLoss(name=name, options=options), 3, COUNTS)


@pytest.mark.slow
def test_its_commands_train(folder: Path) -> None:
    (folder / "dataset" / "demo").mkdir(parents=True)
    generate_demo(folder / "dataset" / "demo", users=300)
    assert len(COMMANDS) == 2
    for command in COMMANDS:
        result = CliRunner().invoke(app, [*command, "--epochs", "1", "--threads", "1"])
        assert result.exit_code == 0, result.output
    settings = [yaml.safe_load(file.read_text()) for file in (folder / "runs").glob("*/*/*/config.yaml")]
    assert sorted(str(each["loss"]["options"]) for each in settings) == ["{'margin': 2}", "{}"]
    assert all(each["loss"]["name"] == "hinge:Hinge" for each in settings)
