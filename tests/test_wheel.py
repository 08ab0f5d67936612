"""The built wheel works without the checkout."""

from __future__ import annotations

import shutil
import subprocess
import sys
import venv
from pathlib import Path
from zipfile import ZipFile

import pytest
from machine_code import share_machine_code
from processes import SEVERAL

from actsr_cli import __version__
from actsr_cli.presets import load_preset, preset_folder, preset_names
from tools.release import CheckError, build, check_description, check_version, check_wheels, description, run

ROOT = Path(__file__).parents[1]
PAGE_FILES = (".html", ".css", ".js")
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel, built from the source distribution like a release."""
    wheel = build(tmp_path_factory.mktemp("dist"))
    assert wheel.with_name(f"actsr-{__version__}.tar.gz").is_file()
    return wheel


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The bin folder of a new environment with the wheel.

    The dependencies come from the environment of the tests, so that no network is needed. Its editable installation of
    the checkout is not visible, because Python ignores `.pth` files in folders that a `.pth` file adds.
    """
    folder = tmp_path_factory.mktemp("empty") / "venv"
    venv.create(folder, with_pip=False)
    python = folder / "bin" / "python"
    pip = [sys.executable, "-m", "pip", "--python", str(python)]
    install = [*pip, "install", "--quiet", "--no-deps", "--no-index", str(wheel)]
    subprocess.run(install, check=True, capture_output=True)
    site_packages = next((folder / "lib").glob("python*/site-packages"))
    share_machine_code(site_packages / "actsr_cli")
    dependencies = [path for path in sys.path if path.endswith("site-packages")]
    (site_packages / "dependencies.pth").write_text("\n".join(dependencies))
    return folder / "bin"


def test_it_holds_the_package_the_presets_and_nothing_else(wheel: Path) -> None:
    names = ZipFile(wheel).namelist()
    assert {name.partition("/")[0] for name in names} == {"actsr_cli", f"actsr-{__version__}.dist-info"}
    assert "actsr_cli/py.typed" in names
    assert f"actsr-{__version__}.dist-info/licenses/LICENSE" in names
    presets = [Path(name).stem for name in names if name.startswith("actsr_cli/preset_files/")]
    assert sorted(presets) == preset_names()
    modules = {str(path.relative_to(ROOT)) for path in (ROOT / "actsr_cli").rglob("*.py")}
    assert modules == {name for name in names if name.endswith(".py")}
    pages = {str(path.relative_to(ROOT)) for path in (ROOT / "actsr_cli").rglob("*.*") if path.suffix in PAGE_FILES}
    assert len(pages) > 6 and pages == {name for name in names if Path(name).suffix in PAGE_FILES}


def test_it_equals_the_one_that_is_built_directly(wheel: Path, tmp_path: Path) -> None:
    direct = build(tmp_path / "direct", "--wheel")
    assert check_wheels(wheel, direct).startswith(f"actsr-{__version__}-py3-none-any.whl, ")
    other = tmp_path / "other.whl"
    shutil.copy(direct, other)
    with ZipFile(other, "a") as opened:
        opened.writestr("actsr_cli/more.py", "")
    with pytest.raises(CheckError, match=r"differs in actsr_cli/more\.py"):
        check_wheels(wheel, other)


def test_its_description_renders_without_the_repository(wheel: Path) -> None:
    text = description(wheel)
    assert check_description(text).startswith("README.md renders")
    assert "| Beauty | .1026" in text and "## Citing" in text and "## Documentation" not in text
    with pytest.raises(CheckError, match=r"do not have: docs/a\.png, docs/b\.md"):
        check_description("# actsr\n\n![a](docs/a.png) [b](docs/b.md) [c](https://example.org)")
    with pytest.raises(CheckError, match="no title"):
        check_description("actsr")


def test_the_version_is_the_same_everywhere(tmp_path: Path) -> None:
    assert check_version().startswith(f"version {__version__}, in actsr_cli/version.py and CHANGELOG.md")
    (tmp_path / "docs").mkdir()
    (tmp_path / "CHANGELOG.md").write_text("# Changes\n\n## 0.0.1\n\n## 0.0.0\n")
    (tmp_path / "CITATION.cff").write_text("version: 0.0.2\n")
    (tmp_path / "README.md").write_text("Install actsr==0.0.3. Measured with actsr 0.0.4.\n")
    with pytest.raises(CheckError) as raised:
        check_version(tmp_path)
    wrong = {"CHANGELOG.md": "0.0.1", "CITATION.cff": "0.0.2", "README.md": "0.0.3"}
    assert str(raised.value) == f"actsr_cli/version.py says {__version__}, but {wrong}"


def test_presets_are_there_away_from_the_checkout(installed: Path, tmp_path: Path) -> None:
    where = run(installed / "python", "-c", "import actsr_cli; print(actsr_cli.__file__)", folder=tmp_path)
    assert Path(where.strip()).is_relative_to(installed.parent)
    listed = [line.split()[0] for line in run(installed / "actsr", "presets", folder=tmp_path).splitlines()]
    assert set(preset_names()) <= set(listed)
    shown = run(installed / "actsr", "presets", "show", "beauty", folder=tmp_path)
    assert shown == load_preset("beauty").path.read_text(encoding="utf-8")
    assert preset_folder() == ROOT / "presets"  # the tests themselves use the presets of the checkout


def test_a_model_trains_away_from_the_checkout(installed: Path, tmp_path: Path) -> None:
    run(installed / "actsr", "download", "demo", folder=tmp_path)
    sizes = "--set model.layers=1 --set model.hidden_size=8 --set model.inner_size=8"
    train = f"train --model ac-sasrec --preset demo --epochs 1 --batch-size 2048 --threads 1 {sizes}"
    inspect = "inspect-attention --random 1 --sample 20 --output looks"
    shown = run(installed / "python", "-c", SEVERAL, train, "evaluate", inspect, folder=tmp_path)
    assert "test split" in shown and "Hit" in shown.partition("test split")[2]
    assert (tmp_path / "looks" / "report.html").stat().st_size > 10_000
