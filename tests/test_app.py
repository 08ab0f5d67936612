"""The command line of actsr: help, errors, exit codes, --quiet, completion and start time."""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer.main
import yaml
from processes import completions
from typer.testing import CliRunner, Result

from actsr_cli import __version__, console
from actsr_cli.app import app
from actsr_cli.config import RunConfig
from actsr_cli.data.synthetic import generate_demo
from actsr_cli.errors import RunError
from actsr_cli.models.registry import model_names
from actsr_cli.presets import load_preset, preset_folder, preset_names, resolve, shipped_presets

COMMANDS = [
    "combine",
    "compare",
    "doctor",
    "download",
    "evaluate",
    "export",
    "import",
    "inspect-attention",
    "models",
    "preprocess",
    "presets",
    "presets show",
    "recommend",
    "runs",
    "runs delete",
    "runs show",
    "serve",
    "similar",
    "train",
    "tune",
]
HEAVY = (
    "einops",
    "fastapi",
    "filelock",
    "httpx",
    "matplotlib",
    "numpy",
    "optuna",
    "pandas",
    "pyarrow",
    "safetensors",
    "scipy",
    "sqlalchemy",
    "tabulate",
    "tensorboard",
    "torch",
    "uvicorn",
)
"""What takes long to import, and what only tensors, tables and downloads need."""
EXAMPLE = re.compile(r"\[bold\]Example:\[/\] *(actsr .*)")


@pytest.fixture(autouse=True)
def _terminal(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """80 columns without colours; resets --quiet afterwards."""
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setenv("NO_COLOR", "1")
    yield
    console.be_quiet(False)


def actsr(*arguments: str | Path) -> Result:
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def process(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *arguments], capture_output=True, text=True, timeout=60, env={**os.environ, **environment}
    )


def command_named(path: str) -> Any:
    """The Typer command behind `presets show`."""
    command: Any = typer.main.get_command(app)
    for name in path.split():
        command = command.commands[name]
    return command


def all_commands(group: Any, above: str = "") -> Iterator[str]:
    for name, command in group.commands.items():
        yield above + name
        if hasattr(command, "commands"):
            yield from all_commands(command, f"{above}{name} ")


class TestHelp:
    def test_these_are_the_commands(self) -> None:
        assert sorted(all_commands(typer.main.get_command(app))) == COMMANDS

    @pytest.mark.parametrize("path", COMMANDS)
    def test_says_what_it_does_and_gives_an_example_within_80_columns(self, path: str) -> None:
        result = actsr(*path.split(), "--help")
        assert result.exit_code == 0
        lines = result.stdout.splitlines()
        assert max(map(len, lines)) <= 80
        assert re.search(rf"Example: +actsr {path}", result.stdout)
        assert result.stdout == actsr(*path.split(), "-h").stdout

    @pytest.mark.parametrize("path", COMMANDS)
    def test_every_option_is_explained(self, path: str) -> None:
        assert [parameter.name for parameter in command_named(path).params if not parameter.help] == []

    @pytest.mark.parametrize("path", ["download", "evaluate", "preprocess", "train"])
    def test_options_stand_in_panels(self, path: str) -> None:
        panels = {getattr(parameter, "rich_help_panel", None) for parameter in command_named(path).params} - {None}
        assert len(panels) >= 3
        shown = actsr(path, "--help").stdout
        for panel in panels:
            assert f"╭─ {panel} ─" in shown

    @pytest.mark.parametrize("path", COMMANDS)
    def test_examples_are_commands_that_parse(self, path: str) -> None:
        examples = EXAMPLE.findall(command_named(path).help)
        assert examples
        for example in examples:
            words = shlex.split(example.partition(" > ")[0])[1:]
            command = command_named(path)
            with command.make_context(path, words[len(path.split()) :]) as context:
                assert words[: len(path.split())] == path.split()
                assert not context.resilient_parsing

    def test_of_the_whole(self) -> None:
        result = actsr("--help")
        assert max(map(len, result.stdout.splitlines())) <= 80
        for name in ("download", "preprocess", "train", "evaluate", "presets", "models"):
            assert re.search(rf"^│ {name} ", result.stdout, re.MULTILINE)
        assert "actsr --quiet evaluate" in result.stdout

    def test_paragraphs_wrap_at_the_terminal_and_not_where_the_source_does(self) -> None:
        text = " ".join(actsr("train", "--help").stdout.split())
        assert "Settings: defaults < preset < --config < --set < the options below." in text
        wide = CliRunner().invoke(app, ["train", "--help"], env={"COLUMNS": "300"}).stdout
        paragraph = next(line for line in wide.splitlines() if "Settings: defaults" in line)
        assert "--resume continues with the next batch." in paragraph


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Prepared data and two runs, as environment variables."""
    place = tmp_path_factory.mktemp("place")
    where = {"ACTSR_DATA": str(place / "data"), "ACTSR_RUNS": str(place / "runs")}
    (place / "data" / "demo").mkdir(parents=True)
    generate_demo(place / "data" / "demo", users=300)
    for name in ("first", "second"):
        command = ["train", "--preset", "demo", "--model", "popularity", "--name", name]
        assert CliRunner().invoke(app, command, env=where).exit_code == 0
    return where


TOLD = [
    [],
    ["--help"],
    ["--version"],
    *([*path.split(), "--help"] for path in COMMANDS),
    ["download", "--list"],
    ["models"],
    ["presets"],
    ["presets", "show", "beauty"],
    ["presets", "show", "beauty", "--resolved", "--set", "loss=bpr"],
    ["runs"],
    ["runs", "--json"],
    ["runs", "show", "first"],
    ["runs", "show", "first", "--json"],
]
"""What only tells what there is."""


def unneeded(arguments: list[str]) -> set[str]:
    """The modules that one of these commands must not import: texts need no pydantic, and lists no schema."""
    texts = arguments[-1:] in (["--help"], ["--version"]) or arguments == ["presets"]
    below_runs = arguments[:1] == ["runs"] and len(arguments) > 2  # Typer first reads the options of `runs`
    lists = arguments in (["--help"], ["--version"], ["presets"], ["runs"], ["download", "--list"])
    return {*HEAVY, *(["pydantic"] if texts and not below_runs else []), *(["actsr_cli.config"] if lists else [])}


class TestStart:
    def test_version(self) -> None:
        assert actsr("--version").stdout == f"actsr {__version__}\n"
        assert process("-m", "actsr_cli", "--version").stdout == f"actsr {__version__}\n"

    def test_without_a_command_it_shows_the_way_to_a_recommendation(self) -> None:
        result = actsr()
        assert result.exit_code == 2
        shown = result.stdout
        commands = re.findall(r"^  actsr (.+?)  ", shown, re.MULTILINE)
        assert commands == ["download demo", "train --model ac-sasrec --preset demo", "recommend"]
        assert len(shown.splitlines()) == 7 and shown.endswith("\nAll commands: actsr --help\n")

    def imported(self, arguments: list[str], where: dict[str, str]) -> set[str]:
        """The modules that a process has after a command, packages with their parts."""
        code = (
            "import atexit, sys\n"
            "atexit.register(lambda: print(*sys.modules, sep='\\n', file=sys.stderr))\n"
            "from actsr_cli.app import main\n"
            "sys.argv = ['actsr', *sys.argv[1:]]\n"
            "main()"
        )
        result = process("-c", code, *arguments, **where)
        assert result.returncode == (0 if arguments else 2) and result.stdout, result.stderr
        return set(result.stderr.splitlines())

    @pytest.mark.parametrize("arguments", TOLD, ids=lambda arguments: " ".join(arguments) or "(none)")
    def test_nothing_heavy_is_imported_to_tell_what_there_is(self, arguments: list[str], place: dict[str, str]) -> None:
        assert not self.imported(arguments, place) & unneeded(arguments)

    def test_deleting_a_run_imports_the_lock_alone(self, place: dict[str, str]) -> None:
        code = (
            "import sys; from actsr_cli.app import app; app(sys.argv[1:], standalone_mode=False)\nprint(*sys.modules)"
        )
        modules = process("-c", code, "runs", "delete", "second", "--yes", **place).stdout.split()
        assert set(modules) & set(HEAVY) == {"filelock"}

    def test_a_command_does_not_import_the_others(self, place: dict[str, str]) -> None:
        modules = self.imported(["runs"], place)
        assert {name for name in modules if name.startswith("actsr_cli.commands.")} == {
            "actsr_cli.commands.completion",
            "actsr_cli.commands.options",
            "actsr_cli.commands.runs",
            "actsr_cli.commands.tables",
        }

    def test_unknown_names_are_usage_errors(self) -> None:
        for arguments in (["trian"], ["train", "--epoch", "3"], ["presets", "beauty"], ["--loud"]):
            result = actsr(*arguments)
            assert result.exit_code == 2
            assert result.stdout == ""
            assert "Error" in result.stderr


def failing_with(error: BaseException, monkeypatch: pytest.MonkeyPatch) -> None:
    """Make `actsr models` raise `error`."""

    def fail() -> tuple[object, ...]:
        raise error

    monkeypatch.setattr("actsr_cli.commands.models.all_models", fail)


class TestErrors:
    def test_one_line_a_hint_and_exit_code_1(self) -> None:
        result = actsr("presets", "show", "beuty")
        assert result.exit_code == 1
        assert result.stdout == ""
        assert result.stderr == "error: unknown preset 'beuty'; did you mean 'beauty'?\nAll: actsr presets\n"

    def test_debug_shows_the_traceback_first(self) -> None:
        result = actsr("--debug", "presets", "show", "beuty")
        assert result.exit_code == 1
        assert result.stderr.startswith("Traceback (most recent call last):")
        assert "presets.py" in result.stderr
        assert result.stderr.endswith("error: unknown preset 'beuty'; did you mean 'beauty'?\nAll: actsr presets\n")

    def test_long_lines_and_brackets_stay_as_they_are(self, monkeypatch: pytest.MonkeyPatch) -> None:
        text = "no [bold]run[/] " + "x" * 200
        failing_with(RunError(text), monkeypatch)
        assert actsr("models").stderr == f"error: {text}\n"

    @pytest.mark.parametrize(
        ("error", "line"),
        [
            (PermissionError(13, "Permission denied", "some/file"), "some/file: Permission denied"),
            (OSError(28, "No space left on device"), "No space left on device"),
            (OSError(18, "Invalid cross-device link", "a", None, "b"), "a -> b: Invalid cross-device link"),
            (TimeoutError("the disk sleeps"), "the disk sleeps"),
        ],
    )
    def test_the_system_s_errors_name_their_file(
        self, error: OSError, line: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        failing_with(error, monkeypatch)
        result = actsr("models")
        assert (result.exit_code, result.stderr) == (1, f"error: {line}\n")

    def test_a_mistake_of_ours_is_not_hidden(self, monkeypatch: pytest.MonkeyPatch) -> None:
        failing_with(ZeroDivisionError("ours"), monkeypatch)
        assert isinstance(actsr("models").exception, ZeroDivisionError)

    def test_ctrl_c_is_one_line_and_exit_code_130(self) -> None:
        code = (
            "import os, signal, sys\n"
            "import actsr_cli.app, actsr_cli.commands.models as command\n"
            "command.all_models = lambda: os.kill(os.getpid(), signal.SIGINT)\n"
            "sys.argv = ['actsr', 'models']\n"
            "actsr_cli.app.main()"
        )
        result = process("-c", code)
        assert (result.returncode, result.stdout, result.stderr) == (130, "", "error: interrupted\n")

    @pytest.mark.parametrize("arguments", [["presets"], ["presets", "show", "beauty", "--resolved"], ["--help"]])
    def test_a_reader_that_leaves_hears_no_complaint(self, arguments: list[str]) -> None:
        reading, writing = os.pipe()
        os.close(reading)
        try:
            result = subprocess.run(
                [sys.executable, "-m", "actsr_cli", *arguments], stdout=writing, stderr=subprocess.PIPE, timeout=60
            )
        finally:
            os.close(writing)
        assert (result.returncode, result.stderr) == (1, b"")


class TestQuiet:
    def test_notes_go_and_results_stay(self, tmp_path: Path) -> None:
        loud = actsr("download", "demo", "--data-dir", tmp_path)
        quiet = actsr("--quiet", "download", "demo", "--data-dir", tmp_path, "--force")
        assert "Next: actsr preprocess demo" in loud.stderr
        assert quiet.stderr == ""
        assert quiet.stdout == loud.stdout != ""

    def test_errors_stay(self) -> None:
        assert actsr("-q", "presets", "show", "beuty").stderr == actsr("presets", "show", "beuty").stderr != ""


class TestPresets:
    def test_a_line_for_each(self) -> None:
        stdout = actsr("presets").stdout
        for name in preset_names():
            config = load_preset(name).config
            assert re.search(rf"^{name} +{config.dataset} +ac-sasrec +{config.description}$", stdout, re.MULTILINE)
        assert len(stdout.splitlines()) == 1 + len(preset_names())

    def test_the_list_reads_what_the_schema_reads(self) -> None:
        for each in shipped_presets():
            config = load_preset(each.name).config
            assert (each.dataset, each.description) == (config.dataset, config.description)
            assert (each.model, each.calibration) == (config.model.name, config.calibration.kind)

    def test_json(self) -> None:
        told = json.loads(actsr("presets", "--json").stdout)
        assert [each["name"] for each in told] == preset_names()
        assert told[0].keys() == {"name", "dataset", "model", "calibration", "description"}
        beauty = json.loads(actsr("presets", "show", "beauty", "--set", "loss=bpr", "--json").stdout)
        assert beauty["settings"]["loss"] == {"name": "bpr"} and "evaluation" not in beauty["settings"]
        assert beauty["tune"] == load_preset("beauty").space and beauty["preset"] == "beauty"
        resolved = json.loads(actsr("presets", "show", "beauty", "--resolved", "--json").stdout)
        assert RunConfig.model_validate(resolved["settings"]) == resolve(preset="beauty").config
        assert resolved["sources"] == resolve(preset="beauty").sources

    @pytest.mark.parametrize("name", preset_names())
    def test_show_prints_the_file(self, name: str) -> None:
        text = (preset_folder() / f"{name}.yaml").read_text(encoding="utf-8")
        assert actsr("presets", "show", name).stdout == text

    def test_what_is_shown_can_be_changed_and_used(self, tmp_path: Path) -> None:
        mine = tmp_path / "mine.yaml"
        mine.write_text(actsr("presets", "show", "yelp", "--set", "training.learning_rate=1e-5").stdout)
        assert resolve(preset=mine).config == resolve(preset="yelp", overrides=["training.learning_rate=1e-5"]).config
        assert yaml.safe_load(mine.read_text()).keys() == {*load_preset("yelp").values, "tune"}
        assert load_preset(mine).space == load_preset("yelp").space

    @pytest.mark.parametrize("name", preset_names())
    def test_resolved_is_yaml_of_every_key_and_its_source(self, name: str, tmp_path: Path) -> None:
        file = tmp_path / "file.yaml"
        file.write_text("training: {patience: 2}")
        arguments = ("--resolved", "--config", file, "--set", "training.epochs=1e2")
        stdout = actsr("presets", "show", name, *arguments).stdout
        resolved = resolve(preset=name, file=file, overrides=["training.epochs=1e2"])
        assert RunConfig.model_validate(yaml.safe_load(stdout)) == resolved.config
        comments = re.findall(r"^ *([a-z_]+): .*# (.*)$", stdout, re.MULTILINE)
        assert comments == [(key.rpartition(".")[2], source) for key, source in resolved.sources.items()]
        assert ("patience", f"file {file}") in comments
        assert ("epochs", "--set") in comments
        assert ("dataset", f"preset {name}") in comments
        assert ("precision", "default") in comments


def test_models_are_listed() -> None:
    stdout = actsr("models").stdout
    for name in model_names():
        assert re.search(rf"(^|, ){name}\b", stdout, re.MULTILINE)


class TestCompletion:
    def test_of_commands(self) -> None:
        assert completions("actsr pre") == ["preprocess", "presets"]
        assert completions("actsr presets s") == ["show"]

    def test_of_presets_and_models(self) -> None:
        assert completions("actsr train --preset be") == ["beauty", "beauty-published"]
        assert completions("actsr preprocess beauty --preset to") == ["toys", "toys-published"]
        assert completions("actsr presets show ") == preset_names()
        assert completions("actsr train --model ") == model_names()

    def test_of_data_sets_and_options(self) -> None:
        assert "amazon-beauty" in completions("actsr download ama")
        assert completions("actsr train --resu") == ["--resume"]

    @pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
    def test_each_shell_gets_its_script(self, shell: str) -> None:
        code = "from actsr_cli.app import app; app(prog_name='actsr')"
        script = process("-c", code, _ACTSR_COMPLETE=f"source_{shell}").stdout
        assert "_ACTSR_COMPLETE=complete_" + shell in script
