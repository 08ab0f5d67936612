"""What is executed: no pickles, and no code that only a run's folder names."""

from __future__ import annotations

import ast
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import records
import torch
from processes import SMALL, call

import actsr_cli as actsr
from actsr_cli import plugins
from actsr_cli.errors import ConfigError, DataError
from actsr_cli.models.reference import read_published

PACKAGE = Path(actsr.__file__).parent
CODE = """
from pathlib import Path
from torch import nn
from actsr_cli.models.base import CustomModel

Path("imported").write_text("")


class Mine(CustomModel):
    def __init__(self, options, calibration, n_items, n_users=0):
        super().__init__(options, calibration, n_items, n_users)
        self.items = nn.Embedding(n_items + 1, options.hidden_size)

    def forward(self, batch):
        return self.items(batch.item_ids)

    def item_vectors(self):
        return self.items.weight
"""


FORBIDDEN = ("eval", "exec", "pickle.load", "pickle.loads", "pd.read_pickle", "yaml.unsafe_load")


def calls(tree: ast.AST) -> Iterator[tuple[str, ast.Call]]:
    """The calls of a module by the dotted name of what is called."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            yield ast.unparse(node.func), node


def test_pickles_are_opened_by_the_import_of_weights_alone() -> None:
    opened = []
    for path in sorted(PACKAGE.rglob("*.py")):
        tree, name = ast.parse(path.read_text(encoding="utf-8")), str(path.relative_to(PACKAGE))
        imported = {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}
        imported |= {node.module or "" for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
        assert not imported & {"dill", "cloudpickle", "joblib", "shelve", "marshal"}, name
        assert "pickle" not in imported or name in ("models/pickles.py", "models/reference.py")
        for called, node in calls(tree):
            given = {keyword.arg: ast.unparse(keyword.value) for keyword in node.keywords}
            assert called not in FORBIDDEN, name
            if called == "torch.load":
                opened.append((name, given["weights_only"]))
            if called in ("np.load", "numpy.load", "np.save"):
                assert given["allow_pickle"] == "False", name
            if called == "yaml.load":
                assert ast.unparse(node.args[1]) in ("_Loader", "_fast_loader()"), name
    assert opened == [("models/pickles.py", "True"), ("models/reference.py", "True")]


class Bomb:
    def __reduce__(self) -> tuple[object, tuple[str]]:
        return print, ("exploded",)


def test_a_pickle_with_code_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    torch.save({"state_dict": {"a": torch.ones(1)}, "bomb": Bomb()}, tmp_path / "bad.pth")
    (tmp_path / "noise.pth").write_bytes(b"\x80\x04nonsense")
    (tmp_path / "bad.npz").write_bytes(b"PK\x03\x04nonsense")
    for name in ("bad.pth", "noise.pth", "bad.npz"):
        with pytest.raises(DataError):
            read_published(tmp_path / name)
    assert "exploded" not in capsys.readouterr().out


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a run of a model of one's own, and its module."""
    folder = tmp_path_factory.mktemp("trained")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.syspath_prepend(folder)
        (folder / "mine_of_trust.py").write_text(CODE)
        call("download", "demo")
        call("train", "--model", "mine_of_trust:Mine", *SMALL, "--epochs", "1", "--name", "own")
    return folder


@pytest.fixture
def place(trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the folder in which nothing has been imported yet, as when it comes from elsewhere."""
    shutil.copytree(trained, tmp_path / "here")
    (tmp_path / "here" / "imported").unlink()
    monkeypatch.chdir(tmp_path / "here")
    monkeypatch.syspath_prepend(tmp_path / "here")
    monkeypatch.delitem(sys.modules, "mine_of_trust", raising=False)
    monkeypatch.delenv(plugins.TRUST, raising=False)
    plugins.trust_nothing()
    return tmp_path / "here"


@pytest.mark.parametrize(
    "command",
    [
        ("evaluate", "own"),
        ("recommend", "own"),
        ("similar", "x", "--run", "own"),
        ("inspect-attention", "own"),
        ("train", "--resume", "own", "--epochs", "2"),
        ("train", "--resume", "own", "--refit"),
        ("tune", "--random", "--trials", "1"),
    ],
)
def test_a_run_cannot_make_a_command_import_code(place: Path, command: tuple[str, ...]) -> None:
    said = " ".join(call(*command, exit_code=1).stderr.split())
    assert not (place / "imported").exists()
    assert "model 'mine_of_trust:Mine' is code that only the folder of a run names" in said
    assert "--trust-code" in said and "ACTSR_TRUST_CODE=1" in said


def test_listing_showing_and_deleting_import_nothing(place: Path) -> None:
    call("runs")
    call("runs", "show", "own")
    call("runs", "delete", "own", "--yes")
    assert not (place / "imported").exists()


def test_it_is_imported_when_it_is_trusted(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert "demo/Mine/own" in call("evaluate", "own", "--trust-code").stdout
    assert (place / "imported").exists()
    call("evaluate", "own", exit_code=1)  # one command trusts nothing for the next
    monkeypatch.setenv(plugins.TRUST, "1")
    call("evaluate", "own")


def test_python_trusts_what_it_names(place: Path) -> None:
    with pytest.raises(ConfigError, match="only the folder of a run names"):
        actsr.evaluate("own")
    with pytest.raises(ConfigError, match="only the folder of a run names"):
        actsr.load("own")
    assert actsr.load("own", trust_code=True).name == "demo/Mine/own"
    assert actsr.evaluate("own").run == "demo/Mine/own"  # it is trusted from now on


def test_what_the_user_names_is_trusted(place: Path) -> None:
    """In settings of one's own, even if a run names it, too."""
    with pytest.raises(ConfigError):
        actsr.load("own")
    settings = {"training.epochs": 1, "model.hidden_size": 8}
    run = actsr.train("mine_of_trust:Mine", dataset="demo", settings=settings, name="again")
    assert actsr.evaluate(run).run == "demo/Mine/again"


def test_a_search_space_that_only_a_run_names_is_not_trusted(place: Path) -> None:
    """Its record may name a preset file in the folder of the run itself."""
    call("train", "--model", "sasrec", *SMALL, "--epochs", "1", "--name", "plain")
    run = place / "runs" / "demo" / "sasrec" / "plain"
    preset = (run / "config.yaml").read_text().partition("# checksum")[0]
    (run / "p.yaml").write_text(f"{preset}tune: {{model.name: [sasrec, 'mine_of_trust:Mine']}}\n")
    records.change(run / "run.json", preset=str(run / "p.yaml"))
    said = " ".join(call("tune", "--random", "--trials", "1", exit_code=1).stderr.split())
    assert "class 'mine_of_trust:Mine' is code that only the folder of a run names" in said
    assert not (place / "imported").exists()


def test_what_an_installed_package_registers_is_trusted(place: Path) -> None:
    """Even if a run names its class, too."""
    plugins.named_by_run("mine_of_trust:Mine")
    with pytest.raises(ConfigError, match="only the folder of a run names"):
        plugins.check_trusted(plugins.registered("mine_of_trust:Mine", {}), "model")
    plugins.check_trusted(plugins.registered("mine", {"mine": "mine_of_trust:Mine"}), "model")
