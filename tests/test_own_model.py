"""Runs the code of docs/your-own-model.md."""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from processes import SMALL, call, warm

from actsr_cli.data.synthetic import generate_demo
from actsr_cli.tuning import worker

DOCS = Path(__file__).parents[1] / "docs"
PAGE = (DOCS / "your-own-model.md").read_text(encoding="utf-8")
LOSS_PAGE = (DOCS / "your-own-loss.md").read_text(encoding="utf-8")
LOOP, LAYER, MODULE = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
COMMANDS = [line.partition("#")[0].split() for line in re.findall(r"^actsr .*$", PAGE, re.MULTILINE)]


def test_the_training_loop_learns_and_routes() -> None:
    torch.manual_seed(0)
    names: dict[str, Any] = {}
    exec(LOOP, names)  # noqa: S102 (the page's own code)
    starts = torch.randint(1, 90, (16, 1))
    items = starts + torch.arange(12)  # each item is followed by the next number
    targets = items + 1
    items[3, 7:] = targets[3, 7:] = 0
    losses = [names["train_step"](items, targets) for _ in range(60)]
    assert losses[-1] < 0.7 * losses[0]
    split = names["split"]
    assert len(split.adversary) == 4  # two maps, each with weight and bias
    assert all(parameter.grad is not None for parameter in split.adversary)
    model = names["model"].eval()
    before = model(items)
    changed = items.clone()
    changed[:, 6:] = 1
    torch.testing.assert_close(model(changed)[:, :6], before[:, :6])


@pytest.mark.parametrize("training", [True, False])
def test_it_fits_into_pytorch_layers(training: bool) -> None:
    names: dict[str, Any] = {}
    exec(LOOP + LAYER, names)  # noqa: S102
    layer = names["layer"].train(training)
    hidden = torch.randn(3, 5, 32)
    padding = torch.tensor([[False] * 5, [False] * 3 + [True] * 2, [False] * 5])
    stack = torch.nn.TransformerEncoder(layer, 2, enable_nested_tensor=False).train(training)
    with torch.set_grad_enabled(training):
        assert torch.isfinite(stack(hidden, src_key_padding_mask=padding)).all()


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working directory; what commands import from it is forgotten afterwards."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    for module in ("tiny", "hinge"):
        monkeypatch.delitem(sys.modules, module, raising=False)
    return tmp_path


@pytest.mark.slow
def test_its_entry_point_registers_the_model(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A package as installed by pip: the module, and metadata with the page's entry point."""
    (toml,) = re.findall(r"```toml\n(.*?)```", PAGE, re.DOTALL)
    points = tomllib.loads(toml)["project"]["entry-points"]["actsr.models"]
    package = folder / "site" / "tiny-1.0.dist-info"
    package.mkdir(parents=True)
    (package.parent / "tiny.py").write_text(MODULE)
    (package / "METADATA").write_text("Metadata-Version: 2.1\nName: tiny\nVersion: 1.0\n")
    lines = [f"{name} = {target}" for name, target in points.items()]
    (package / "entry_points.txt").write_text("\n".join(["[actsr.models]", *lines]))
    monkeypatch.syspath_prepend(package.parent)
    monkeypatch.setenv("COLUMNS", "100")

    call("download", "demo")
    call("preprocess", "demo")
    listed = call("models").stdout
    assert "tiny, ac-tiny" in listed
    assert "our own, unpublished" in listed
    assert "model.options.scale" in listed
    call("train", "--model", "ac-tiny", *SMALL, "--epochs", "1")
    assert "demo/ac-tiny/" in call("evaluate").stdout


@pytest.mark.slow
def test_its_commands_train_the_module(folder: Path) -> None:
    """The first in a process of its own, as from a shell; the others here."""
    (folder / "tiny.py").write_text(MODULE)
    (folder / "dataset" / "demo").mkdir(parents=True)
    generate_demo(folder / "dataset" / "demo", users=300)
    assert [command[1] for command in COMMANDS] == ["train", "train", "evaluate"]
    first, second, third = (command[1:] for command in COMMANDS)
    actsr = Path(sys.executable).parent / "actsr"
    done = subprocess.run([actsr, *first, "--epochs", "1"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    call(*second, "--epochs", "2")
    output = call(*third).stdout
    assert "demo/ac-Tiny/" in output
    assert "popularity" in output


@pytest.mark.slow
def test_it_is_compared_looked_into_and_tuned(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With a custom loss, and a search over options of both."""
    (folder / "dataset" / "demo").mkdir(parents=True)
    generate_demo(folder / "dataset" / "demo", users=300)
    for page, module in ((PAGE, "tiny"), (LOSS_PAGE, "hinge")):
        (folder / f"{module}.py").write_text(re.findall(r"```python\n(.*?)```", page, re.DOTALL)[-1])
    monkeypatch.setattr(worker, "get_context", lambda _: warm())  # trials import the module themselves, but not torch
    train = ("train", *SMALL, "--epochs", "1")
    call(*train, "--model", "tiny:Tiny", "--name", "plain")
    call(*train, "--model", "ac-tiny:Tiny", "--name", "full", "--set", "loss=hinge:Hinge")
    monkeypatch.setenv("ACTSR_TRUST_CODE", "1")
    assert "(1) demo/ac-Tiny/full against demo/Tiny/plain" in call("compare", "plain", "full").stdout
    shown = call("inspect-attention", "full", "--random", "1", "--sample", "20").stdout
    assert "ac-Tiny/full: user" in shown and "spatial" in shown and "calibrated" in shown
    (folder / "space.yaml").write_text("model.options.scale: [0.5, 1.0]\nloss.options.margin: {low: 1, high: 2}\n")
    chosen = ("--model", "ac-tiny:Tiny", "--set", "loss=hinge:Hinge", "--epochs", "1", "--space", "space.yaml")
    assert "2 finished" in call("tune", "--grid", "--preset", "demo", *chosen, "--trials", "2").stdout
    best = yaml.safe_load((folder / "runs/studies/demo/ac-Tiny/grid/best.yaml").read_text())
    assert best["model"]["options"]["scale"] in (0.5, 1.0) and best["loss"]["options"]["margin"] in (1, 2)
    call("train", "--preset", "runs/studies/demo/ac-Tiny/grid/best.yaml", "--epochs", "1", "--name", "best")
    assert "demo/ac-Tiny/best" in call("evaluate", "best").stdout
