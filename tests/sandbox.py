"""A folder in which the examples of a page run: small data and runs appear there when a command names them."""

from __future__ import annotations

import io
import json
import linecache
import random
import re
import shutil
import sys
import traceback
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from dataclasses import dataclass, field, replace
from functools import cache, partial
from itertools import repeat
from math import inf
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pandas as pd
import pytest
import records
from loopback import Answer, make_zip, running, serve
from matplotlib.layout_engine import ConstrainedLayoutEngine
from pages import ROOT, Block, Command, code_of, help_examples, pages, read
from typer.testing import CliRunner

from actsr_cli.app import app
from actsr_cli.config import RunConfig, refusals
from actsr_cli.data import fetch, synthetic
from actsr_cli.data.catalog import CATALOG, all_names
from actsr_cli.data.synthetic import generate_demo
from actsr_cli.evaluation import significance
from actsr_cli.inspection import faithfulness, importance
from actsr_cli.presets import load_preset, preset_names
from actsr_cli.tuning import output, planning, worker

AT_MOST: dict[str, dict[str, int | float]] = {
    "data": {"user_core": 2, "item_core": 2},
    "model": {"hidden_size": 16, "inner_size": 8, "layers": 1, "heads": 2, "neighbours": 10},
    "loss": {"negatives": 8},
    "training": {"epochs": 4, "batch_size": 64, "threads": 1, "ema": 0.0, "warmup": 0.0},
}
"""Settings above these are lowered, whatever layer they come from."""
AT_LEAST: dict[str, dict[str, int | float]] = {"training": {"learning_rate": 0.03}}
"""And those below these are raised: with so few steps, a model learns nothing at lower rates."""
TRIALS = 1
USERS, LENGTH, ITEMS = 30, 9, 24
DEMO_USERS = 200
NAMED_RUNS = {
    "first": ("ac-sasrec", 1),
    "second": ("sasrec", 1),
    "plain": ("sasrec", 1),
    "full": ("ac-sasrec", 1),
    "ac": ("ac-sasrec", 1),
    "five": ("ac-sasrec", 2),
    "20260131-101500": ("ac-sasrec", 1),
    "night": ("ac-sasrec", 1),
}
"""Runs that pages name without training them: model and number of seeds. A command that names one finds it."""
STOPPED = {"20260131-101500", "night"}
"""Those of them that have not finished."""
LATEST = re.compile(r"actsr (evaluate|recommend|similar|inspect-attention|runs|train --re|tune)|(load|evaluate)\(\)")
"""What may take the latest finished run."""


@dataclass
class Sandbox:
    """Runs the examples of one page in one folder; what goes wrong is kept.

    Attributes:
        folder: the working directory.
        names: those that the Python blocks share.
        failures: places, commands and outputs of the examples that failed.
        printed: what each command has printed last.
    """

    folder: Path
    names: dict[str, Any] = field(default_factory=dict)
    failures: list[str] = field(default_factory=list)
    printed: dict[str, str] = field(default_factory=dict)

    def run(self, command: Command) -> None:
        """Run a line that begins with `actsr`, with its pipes and redirections."""
        stages: list[list[str]] = [[]]
        words = command.words
        for word in words:
            if word in ("|", "&&", ";"):
                stages.append([])
            else:
                stages[-1].append(word)
        given = "y\n"
        for stage in stages:
            self.provide(stage)
            if stage[0] == "cat":
                given = Path(stage[1]).read_text(encoding="utf-8")
            elif stage[0] == "actsr":
                code, given, output = self._call(stage[1:], given)
                self.printed[command.text] = output
                if code != 0:
                    self.fail(command.place, command.text, f"exit code {code}\n{output}")
                    return

    def execute(self, block: Block) -> None:
        """Run a Python block; a block that is the content of a file becomes this file."""
        code, printed = code_of(block), io.StringIO()
        for name in re.findall(r"""["']([^"'\s]+)["']""", code):
            self.provide([name])
        if LATEST.search(code):
            self._provide_latest()
        name = f"{block.page} "  # never the file itself
        linecache.cache[name] = (len(code), None, ["\n"] * (block.line - 1) + code.splitlines(keepends=True), name)
        try:
            with redirect_stdout(printed), redirect_stderr(printed), warnings.catch_warnings(), here_first():
                warnings.simplefilter("error")
                exec(compile("\n" * (block.line - 1) + code, name, "exec"), self.names)  # noqa: S102
        except Exception as error:  # noqa: BLE001 (the test shows it)
            frames = [each.lineno for each in traceback.extract_tb(error.__traceback__) if each.filename == name]
            at = getattr(error, "lineno", None) if isinstance(error, SyntaxError) else (frames or [block.line])[0]
            line = linecache.getline(name, at or block.line).strip()
            self.fail(f"{block.page}:{at}", line, printed.getvalue() + traceback.format_exc())

    def start_anew(self, file: str) -> None:
        """Empty the folder; then there is only this file of interactions, with what goes along with it."""
        for path in self.folder.iterdir():
            shutil.rmtree(path) if path.is_dir() else path.unlink()
        self.copy_settings()
        write_input(Path(file))

    def copy_settings(self) -> None:
        """Put the settings of docs/ where the pages have them."""
        (self.folder / "docs").mkdir()
        for file in (ROOT / "docs").glob("*.yaml"):
            shutil.copy(file, self.folder / "docs")

    def fail(self, place: str, text: str, output: str) -> None:
        self.failures.append(f"{place}: {text}\n{output}")

    def check(self) -> None:
        """Raise if an example failed; the message shows all that did."""
        if self.failures:
            pytest.fail("\n\n".join(self.failures), pytrace=False)

    def provide(self, words: Sequence[str]) -> None:
        """Make the data, files and runs that a command names, where they are not there yet."""
        text = " ".join(words)
        brings_data = text.startswith("actsr download") or "--from-file" in words
        pairs = list(zip(["", *words], words, strict=False))
        for before, word in pairs:
            if word in FILES and not Path(word).exists():
                Path(word).parent.mkdir(parents=True, exist_ok=True)
                FILES[word](Path(word))
            elif before in WRITERS and not Path(word).exists() and word != "-":
                WRITERS[before](Path(word))
            if not brings_data:
                self._provide_data(word)
            if before not in ("--name", "--output") and word.rpartition("/")[2] in NAMED_RUNS:
                self._provide_run(word)
        if text.startswith("actsr export"):  # a transformer takes long, and test_exported.py exports them all
            self._provide_latest("--model", "popularity", "--dataset", "beauty")
        elif LATEST.match(text):
            self._provide_latest()
        if text.startswith("actsr models --dataset "):
            self._call(["preprocess", text.split()[3]], "")

    def _call(self, arguments: list[str], given: str) -> tuple[int, str, str]:
        """Exit code, standard output and all output of a call."""
        target = None
        if "<" in arguments:
            at = arguments.index("<")
            given = Path(arguments[at + 1]).read_text(encoding="utf-8")
            del arguments[at : at + 2]
        if ">" in arguments:
            at = arguments.index(">")
            target = Path(arguments[at + 1])
            del arguments[at : at + 2]
        before, sys.argv = sys.argv, ["actsr", *arguments]
        try:
            result = CliRunner().invoke(app, arguments, input=given)
        finally:
            sys.argv = before
        if target is not None:
            target.write_text(result.stdout, encoding="utf-8")
        output = result.output
        if result.exception is not None and not isinstance(result.exception, SystemExit):
            output += "".join(traceback.format_exception(result.exception))
        return result.exit_code, result.stdout, output

    def _provide_data(self, word: str) -> None:
        name = word.partition("/")[0]
        if name == "tiny" and not (self.folder / "dataset" / name).exists():
            write_of_recbole(self.folder / "dataset" / name / "tiny.inter")
        if word in preset_names():
            name = load_preset(word).config.dataset
        elif word.endswith(".yaml") and Path(word).exists():
            name = load_preset(word).values.get("dataset", "")
        if name not in {each for entry in CATALOG for each in all_names(entry.name)} | {"shop"}:
            return
        if any((self.folder / "dataset" / each).exists() for each in all_names(name)):
            return
        folder = self.folder / "dataset" / name
        folder.mkdir(parents=True)
        if name == "demo":
            generate_demo(folder, users=DEMO_USERS)
            return
        inter, item = atomic_files(name)
        (folder / f"{name}.inter").write_text(inter, encoding="utf-8")
        (folder / f"{name}.item").write_text(item, encoding="utf-8")

    def _provide_run(self, word: str) -> None:
        *above, name = word.split("/")
        model, seeds = NAMED_RUNS[name]
        model = above[-1] if above else model
        dataset = above[-2] if len(above) > 1 else "beauty"
        there = f"{dataset if len(above) > 1 else '*'}/{model if above else '*'}/{name}"
        runs = self.folder / "runs"
        if any(runs.glob(there)) or any(runs.glob(f"{there}-s0")):
            return
        more = ["--epochs", "1"] if name in STOPPED else ["--seeds", str(seeds)] if seeds > 1 else []
        self._train(["--model", model, "--preset", dataset, "--name", name, *more])
        if name in STOPPED:  # its settings ask for another epoch
            records.change_text(runs / dataset / model / name / "config.yaml", "epochs: 1\n", "epochs: 2\n")

    def _provide_latest(self, *model: str) -> None:
        if not any((self.folder / "runs").glob("*/*/*/run.json")):
            self._train([*(model or ("--model", "ac-sasrec", "--preset", "beauty")), "--name", "latest"])

    def _train(self, arguments: list[str]) -> None:
        for word in arguments:
            self._provide_data(word)
        code, _, output = self._call(["train", *arguments], "")
        assert code == 0, output


@contextmanager
def sandbox(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Sandbox]:
    """A sandbox in an empty folder, which is the working directory until the end."""
    monkeypatch.chdir(folder)
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.setenv("ACTSR_DATA", str(folder / "dataset"))
    monkeypatch.setenv("ACTSR_RUNS", str(folder / "runs"))
    make_small(monkeypatch)
    before = set(sys.modules)
    with mirror() as url:
        monkeypatch.setenv("ACTSR_MIRROR", url)
        box = Sandbox(folder)
        box.copy_settings()
        yield box
    for name in set(sys.modules) - before:
        if str(getattr(sys.modules[name], "__file__", None) or "").startswith(str(folder)):
            del sys.modules[name]


@contextmanager
def here_first() -> Iterator[None]:
    """Modules are looked for in the working directory first, as in a notebook."""
    before, sys.path = sys.path, [str(Path.cwd()), *sys.path]
    try:
        yield
    finally:
        sys.path = before


def make_small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make all work short: settings, demo data, measurements, and studies, whose trials run in this process.

    Pictures of studies are not drawn, and in others parts may cover each other: `test_pictures.py` looks at them.
    """
    make_plan = planning.make_plan
    checked = refusals.checked

    def make_short_plan(*arguments: Any, **named: Any) -> Any:
        plan, report = make_plan(*arguments, **named)
        return replace(plan, trials=min(plan.trials or TRIALS, TRIALS)), report

    def checked_and_small(*arguments: Any) -> RunConfig:
        config = checked(*arguments)
        small = {name: _within(getattr(config, name), AT_MOST[name], AT_LEAST.get(name, {})) for name in AT_MOST}
        return config.model_copy(update=small)

    monkeypatch.setattr(refusals, "checked", checked_and_small)
    monkeypatch.setattr(planning, "make_plan", make_short_plan)
    monkeypatch.setattr(output, "_draw", lambda *_: None)
    monkeypatch.setattr(ConstrainedLayoutEngine, "execute", lambda *_: None)
    monkeypatch.setattr(importance, "PATH_STEPS", 4)
    monkeypatch.setattr(faithfulness, "SHARES", (0.0, 0.5, 1.0))
    monkeypatch.setattr(significance, "RESAMPLES", 100)
    for module in (fetch, synthetic):
        monkeypatch.setattr(module, "generate_demo", partial(generate_demo, users=DEMO_USERS))
    monkeypatch.setattr(worker, "get_context", lambda _: SimpleNamespace(Process=_Here))


def _within(section: Any, highest: dict[str, int | float], lowest: dict[str, int | float]) -> Any:
    """A section with what is outside of its limits moved to them."""
    values = {key: getattr(section, key, None) for key in {**highest, **lowest}}
    within = {
        key: max(min(value, highest.get(key, value)), lowest.get(key, -inf))
        for key, value in values.items()
        if value is not None
    }
    return section.model_copy(update=within)


class _Here:
    """A process of a study that runs in this one."""

    exitcode = 0

    def __init__(self, target: Callable[..., None], args: tuple[Any, ...]) -> None:
        self.target, self.args = target, args

    def start(self) -> None:
        self.target(*self.args)

    def is_alive(self) -> bool:
        return False

    def join(self, timeout: float | None = None) -> None:
        """Do nothing: it has ended."""


@contextmanager
def mirror() -> Iterator[str]:
    """A server that has the archives of all data sets of the catalogue; its address."""
    archives = {entry.archive: archive(entry.archive_name.removesuffix(".zip")) for entry in CATALOG if entry.archive}

    def answer(request: Answer) -> None:
        serve(archives[request.path.removeprefix("/mirror/")])(request)

    with running(b"") as server:
        server.script.extend(repeat(answer, 100))
        yield server.url


def archive(stem: str) -> bytes:
    """The zip archive of a data set."""
    inter, item = (text.encode() for text in atomic_files(stem))
    return make_zip({f"{stem}/{stem}.inter": inter, f"{stem}/{stem}.item": item})


@cache
def named_ids() -> tuple[list[str], list[str]]:
    """The raw ids of users and items that the documentation names: of Amazon, and of the demo data."""
    helps = [example.text for examples in help_examples().values() for example in examples]
    text = "\n".join([*map(read, pages()), *helps])
    users = {each for each in re.findall(r"\bA[0-9A-Z]{5,14}\b", text) if any(sign.isdigit() for sign in each)}
    users |= set(re.findall(r"\bu\d{4}\b", text))
    return sorted(users), sorted(set(re.findall(r"\b(?:B0[0-9A-Z]{8}|i\d{3})\b", text)))


@cache
def interactions() -> list[tuple[str, str, int]]:
    """A small log of users, items and times, from January to June 1998; it has all ids that the documentation names."""
    users, items = ([*ids, *(f"{letter}{n}" for n in range(99))] for ids, letter in zip(named_ids(), "ui", strict=True))
    chance, found = random.Random(0), []  # noqa: S311 (no secret)
    for number, user in enumerate(users[:USERS]):
        start = chance.randrange(ITEMS)
        for step in range(LENGTH):
            time = 883_612_800 + 86_400 * chance.randrange(6) + (20 * 86_400) * step + 60 * number
            found.append((user, items[(start + step * chance.choice([1, 1, 1, 2])) % ITEMS], time))
    return found


def atomic_files(name: str = "") -> tuple[str, str]:
    """The contents of a `.inter` and a `.item` file. Those of Yelp are of the year that its presets keep, 2019."""
    later = 21 * 365 * 86_400 + 6 * 86_400 if name == "yelp" else 0
    rows = [f"{user}\t{item}\t{1 + time % 5}\t{time + later}\n" for user, item, time in interactions()]
    items = sorted({item for _, item, _ in interactions()})
    titles = [f"{item}\tTitle of {item}\t{'soap' if at % 2 else 'comb'}\n" for at, item in enumerate(items)]
    return (
        "user_id:token\titem_id:token\trating:float\ttimestamp:float\n" + "".join(rows),
        "item_id:token\ttitle:token_seq\tcategories:token_seq\n" + "".join(titles),
    )


def sequences() -> dict[str, list[str]]:
    """The items of each user in order."""
    found: dict[str, list[str]] = {}
    for user, item, _ in sorted(interactions(), key=lambda each: each[2]):
        found.setdefault(user, []).append(item)
    return found


def write_sequences(path: Path) -> None:
    path.write_text("".join(" ".join([user, *items]) + "\n" for user, items in sequences().items()))


def write_table(path: Path) -> None:
    """A table whose columns have the names of the pages and usual ones."""
    rows = (f"{user},{item},{time},{item},{time}\n" for user, item, time in interactions())
    path.write_text("who,what,when,item_id,timestamp\n" + "".join(rows))


def write_of_rectools(path: Path) -> None:
    """A table with the columns of RecTools' interactions."""
    rows = pd.DataFrame(interactions(), columns=["user_id", "item_id", "datetime"])
    rows["datetime"] = pd.to_datetime(rows["datetime"], unit="s")
    rows.insert(2, "weight", 1.0)
    rows.to_parquet(path) if path.suffix == ".parquet" else rows.to_csv(path, index=False)


def write_u_data(path: Path) -> None:
    """A table without header, with tabs, as MovieLens 100K has it."""
    path.write_text("".join(f"{user}\t{item}\t5\t{time}\n" for user, item, time in interactions()))


def write_ratings_dat(path: Path) -> None:
    """A table without header, with `::`, as MovieLens 1M has it."""
    path.write_text("".join(f"{user}::{item}::5::{time}\n" for user, item, time in interactions()))


def write_pairs(path: Path) -> None:
    path.write_text("".join(f"{user} {item}\n" for user, item, _ in interactions()))


def write_histories(path: Path) -> None:
    lines = ({"user": user, "items": items[:3]} for user, items in list(sequences().items())[:5])
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))


def write_users(path: Path) -> None:
    path.write_text("".join(f"{user}\n" for user in list(sequences())[:5]))


def write_items(path: Path) -> None:
    path.write_text("".join(f"{item}\n" for item in sorted({item for _, item, _ in interactions()})[:12]))


def write_titles(path: Path) -> None:
    rows = sorted({f"{item},Title of {item},soap|comb\n" for _, item, _ in interactions()})
    path.write_text("item_id,title,categories\n" + "".join(rows))


def write_of_recbole(path: Path) -> None:
    """A file that RecBole has written or read, from the folder of that name."""
    path.parent.mkdir(parents=True, exist_ok=True)
    shutil.copy(ROOT / "tests" / "from_recbole" / path.name, path)


def write_space(path: Path) -> None:
    path.write_text("tune:\n  training.learning_rate: [1.0e-3, 2.0e-3]\n")


def write_archive(path: Path) -> None:
    path.write_bytes(archive(path.stem))


def write_input(path: Path) -> None:
    """A file of interactions in the format of its suffix."""
    by_suffix = {".zip": write_archive, ".csv": write_table, ".txt": write_sequences, ".parquet": write_folder}
    by_suffix.get(path.suffix, write_parts)(path)


def write_folder(path: Path) -> None:
    """A folder of Parquet parts."""
    path.mkdir(parents=True)
    rows = pd.DataFrame(interactions(), columns=["user", "item", "time"])
    for part in range(2):
        rows[part::2].to_parquet(path / f"part-{part}.parquet")
    (path / "_SUCCESS").touch()


def write_parts(path: Path) -> None:
    """A `.inter` file; NAME.train.inter with the two other parts beside it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    header, *rows = atomic_files()[0].splitlines(keepends=True)
    stem, part, _ = f"{path.name}".rsplit(".", 2) if path.name.count(".") == 2 else (path.stem, "", "")
    if not part:
        path.write_text(header + "".join(rows))
        return
    for at, name in enumerate(("train", "valid", "test")):
        kept = [row for n, row in enumerate(rows) if (max(0, n % LENGTH - LENGTH + 3)) == at]
        path.with_name(f"{stem}.{name}.inter").write_text(header + "".join(kept))


FILES: dict[str, Callable[[Path], None]] = {
    "new.jsonl": write_histories,
    "users.txt": write_users,
    "log.csv": write_table,
    "Beauty.txt": write_sequences,
    "u.data": write_u_data,
    "ratings.dat": write_ratings_dat,
    "pairs.txt": write_pairs,
    "interactions.csv": write_of_rectools,
    "interactions.parquet": write_of_rectools,
    "tiny.inter": write_of_recbole,
    "SASRec.pth": write_of_recbole,
    "BERT4Rec.pth": write_of_recbole,
    "tokens.txt": write_of_recbole,
}
"""What a file holds that pages name without making it."""
WRITERS: dict[str, Callable[[Path], None]] = {
    "--from-file": write_input,
    "--histories": write_histories,
    "--users": write_users,
    "--only": write_items,
    "--without": write_items,
    "--space": write_space,
    "--items": write_titles,
}
"""What a file holds that an option names."""
