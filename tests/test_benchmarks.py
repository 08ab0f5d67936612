"""Every benchmark runs on small data, and its table contains numbers."""

from __future__ import annotations

import json
import math
import pickle
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple, TypeVar

import pandas as pd
import pytest
import torch
import typer
from processes import warm
from typer.testing import CliRunner

from actsr_cli.config import RunConfig
from actsr_cli.data.batches import TrainingBatches
from actsr_cli.data.vocabulary import Vocabulary
from actsr_cli.recommending.recommender import Recommender
from benchmarks import (
    bound,
    kill,
    peers,
    recommending,
    serving,
)
from benchmarks.__main__ import app
from benchmarks.beauty import beauty
from benchmarks.curves import PrefixBatches
from benchmarks.models import built
from benchmarks.peer_runners import Library, Timed, ndcg
from benchmarks.process import in_a_new_process, peak_megabytes

T = TypeVar("T")
NUMBER = re.compile(r"\d[\d,]*(?:\.\d+)?(?:e[-+]\d+)?")
MAY_BE_ZERO = {
    *("increase MB", "table MB", "per pair MB", "memory ratio"),
    *("build s", "ranked exactly"),
    *("after the end", "lost", "different", "unresumable", "left over"),
}
"""Columns of memory, which may be 0 because the process already had it, of what the exact ranking does not need, and of
what should not happen."""


class Small(NamedTuple):
    """A benchmark on small data.

    Attributes:
        arguments: its options.
        columns: columns of its table; those in `texts` hold no numbers.
        rows: number of rows of its table.
        record: the option that names a JSON file, if there is one.
    """

    arguments: str
    columns: tuple[str, ...]
    rows: int
    texts: tuple[str, ...] = ()
    record: str | None = "--record"


KILLS = ("command", "kills", "after the end", "lost", "different", "unresumable", "left over")
CURVES = ("epoch", "fast", "plain")
FUZZED = ("target", "inputs", "opened", "refused", "failed", "slowest s")
FLIPPED = ("files", "found", "harmless", "silent", "failed")
SMALL = {
    "training": [
        Small(
            "--users 30 --models sasrec,ac-bert4rec --threads 1 --precisions float32,bf16 --batches 1",
            ("model", "precision", "threads", "epoch s", "bound s", "efficiency", "targets/s", "peak MB"),
            rows=4,
            texts=("model", "precision"),
        )
    ],
    "evaluation": [
        Small(
            "--users 30 --threads 1",
            ("data", "seen", "users", "items", "seconds", "bound s", "peak MB", "increase MB"),
            rows=3,
            texts=("data", "seen"),
        )
    ],
    "recommending": [
        Small(
            "--users 30 --histories 40 --threads 1",
            ("way", "users", "seconds", "users/s", "increase MB"),
            rows=3,
            texts=("way",),
        )
    ],
    "serving": [
        Small(
            "--users 30 --seconds 0.1 --threads 1",
            ("way", "clients", "users/s", "p50 ms", "p99 ms"),
            rows=7,
            texts=("way",),
        )
    ],
    "preparation": [
        Small(
            arguments,
            ("interactions", "seconds", "CPU seconds", "µs each", "of parsing alone", "peak MB"),
            rows=2,
        )
        for arguments in ("--sizes 2000,4000", "--sizes 2000,4000 --per-user 50 --parquet")
    ],
    "catalogue": [
        Small(
            "--items 300,400 --models sasrec --batches 1 --threads 1",
            ("items", "model", "item_updates", "ms per step", "CPU ms", "peak MB", "increase MB"),
            rows=4,
            texts=("model", "item_updates"),
        )
    ],
    "index": [
        Small(
            "--items 300 --trained 400 --searches 8,32 --users 20 --threads 1",
            ("vectors", "items", "way", "recall@10", "users/s", "build s", "increase MB", "ranked exactly"),
            rows=6,
            texts=("vectors", "way"),
        )
    ],
    "peers": [
        Small(
            "--names pmixer --users 30 --batches 1 --rounds 1",
            ("library", "epoch s", "epoch CPU s", "times actsr"),
            rows=1,
            texts=("library",),
        )
    ],
    "reaching": [
        Small(
            "--names= --users 30 --epochs 2 --goal 1",
            ("library", "epochs", "NDCG@10", "seconds", "CPU s", "times actsr"),
            rows=1,
            texts=("library",),
            record=None,
        )
    ],
    "curves": [
        Small(
            f"--model {model} --users 30 --seeds 2 --epochs 1 --layers 1 --threads 1", CURVES, rows=2, record="--output"
        )
        for model in ("sasrec", "ac-sasrec")
    ],
    "fuzz": [Small("--inputs 9 --only override", FUZZED, rows=1, texts=FUZZED)],
    "flips": [Small("--bits 3", FLIPPED, rows=5, texts=FLIPPED)],
    "kill": [Small("--kills 2 --what preprocess", KILLS, rows=2, texts=KILLS[:1])],
    "intervals": [
        Small(
            "--lengths 10 --repeats 1 --threads 1",
            ("length", "table MB", "per pair MB", "memory ratio", "table ms", "per pair ms", "time ratio"),
            rows=1,
            record=None,
        )
    ],
}
COMMANDS = [command.callback.__name__ for command in app.registered_commands if command.callback is not None]


def as_if_in_a_new_process(measure: Callable[..., T], *arguments: object) -> T:
    """Call a function in this process, which is faster, but pickle arguments and result as for another process."""
    there, sent = pickle.loads(pickle.dumps((measure, arguments)))  # noqa: S301
    result: T = pickle.loads(pickle.dumps(there(*sent)))  # noqa: S301
    return result


@pytest.fixture
def _starts_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bound, "SIZES", bound.SIZES[:1])
    for module in (kill, serving):
        monkeypatch.setattr(module, "get_context", lambda _: warm())
    those = [module for name, module in sys.modules.items() if name.startswith("benchmarks.")]
    for module in (each for each in those if hasattr(each, "in_a_new_process")):
        monkeypatch.setattr(module, "in_a_new_process", as_if_in_a_new_process)


def cells(line: str) -> list[str]:
    return [cell.strip() for cell in re.split("[│┃]", line)[1:-1]]


def table(output: str) -> tuple[list[str], list[list[str]]]:
    """Columns and rows of the only table in a command's output."""
    [columns] = [cells(line) for line in output.splitlines() if line.startswith("┃")]
    return columns, [cells(line) for line in output.splitlines() if line.startswith("│")]


def check_number(column: str, cell: str) -> None:
    numbers = [float(number.replace(",", "")) for number in NUMBER.findall(cell)]
    assert numbers or (column == "memory ratio" and not cell), f"{column} is {cell!r}"
    assert not re.search("nan|inf", cell), f"{column} is {cell!r}"
    assert column in MAY_BE_ZERO or all(0 < number < math.inf for number in numbers), f"{column} is {cell!r}"


def run(command: str, *arguments: str | Path) -> str:
    result = CliRunner().invoke(app, [command, *map(str, arguments)], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.stdout


@pytest.mark.usefixtures("_starts_at_once")
@pytest.mark.parametrize(
    ("command", "small"),
    # fails if a command is missing in SMALL
    [pytest.param(name, small, id=f"{name}-{index}") for name in COMMANDS for index, small in enumerate(SMALL[name])],
)
def test_a_measurement_fills_its_table(command: str, small: Small, tmp_path: Path) -> None:
    record = tmp_path / "results.json"
    recording: list[str | Path] = [small.record, record] if small.record else []
    columns, rows = table(run(command, *small.arguments.split(), *recording))
    assert columns == list(small.columns)
    assert len(rows) == small.rows
    for row in rows:
        for column, cell in zip(columns, row, strict=True):
            if column in small.texts or cell == "s per epoch":
                assert cell
            else:
                check_number(column, cell)
    if small.record:
        assert json.loads(record.read_text(encoding="utf-8"))


@pytest.mark.usefixtures("_starts_at_once")
def test_results_are_appended_and_drawn(tmp_path: Path) -> None:
    record, plot = tmp_path / "results.json", tmp_path / "growth.svg"
    for _ in range(2):
        run("preparation", "--sizes", "2000", "--record", record, "--plot", plot)
    first, second = json.loads(record.read_text(encoding="utf-8"))
    assert first.keys() == second.keys() >= {"benchmark", "date", "torch", "interactions", "seconds", "megabytes"}
    assert first["interactions"] == second["interactions"] == 2000
    assert "<svg" in plot.read_text(encoding="utf-8")


def test_every_small_measurement_is_a_command() -> None:
    assert sorted(SMALL) == sorted(COMMANDS)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["training", "--models", "sasrek"], "did you mean 'sasrec'"),
        (["curves", "--model", "bert4rec", "--users", "30"], "does not train prefixes"),
        (["curves", "--model", "popularity", "--users", "30"], "popularity has no such key"),
        (["evaluation", "--users", "0"], "--users"),
        (["kill", "--what", "train,trian"], "'trian' is not one of train, tune, preprocess, download"),
        (["peers", "--names", "torch"], "there is no library 'torch'; there are recbole, rectools"),
        (["reaching", "--names", "replay"], "'replay' is not one of rectools-fast, recbole"),
        (["kill", "--only", "nothing"], "no scenario is called 'nothing'"),
    ],
)
def test_what_cannot_be_measured_is_refused(arguments: list[str], message: str) -> None:
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 2
    assert message in " ".join(re.sub("[│╭╮╰╯─]", " ", result.stderr).split())


@pytest.mark.usefixtures("_starts_at_once")
def test_a_library_that_is_not_installed_is_left_out(tmp_path: Path) -> None:
    options = ("--users", "30", "--batches", "1", "--rounds", "1", "--environments", str(tmp_path))
    result = CliRunner().invoke(app, ["peers", "--names", "replay,pmixer", *options], catch_exceptions=False)
    _, rows = table(result.stdout)
    assert [row[0] for row in rows] == ["actsr"]
    said = "".join(result.stderr.split())
    assert f"RePlay0.22isleftout:python3-mvenv{tmp_path}/replay&&" in said
    assert "pmixer/SASRec.pytorchisleftout:itisnotinapackageindex" in said


def test_a_library_is_timed_over_the_same_data(tmp_path: Path) -> None:
    """`fake` stands for an environment: a program that checks what it gets, and answers."""
    fake = tmp_path / "replay" / "bin" / "python"
    fake.parent.mkdir(parents=True)
    fake.write_text(
        "#!/usr/bin/env python3\nimport json, sys\n"
        "assert sys.argv[1:] == [sys.argv[1], 'replay'] and sys.argv[1].endswith('peer_runners.py')\n"
        "task = json.load(sys.stdin)\nprint('a word')\n"
        "per_epoch = sum(len(items) - 1 for items in task['sequences'])\n"
        "timed = dict(seconds=2.0, cpu_seconds=4.0, batches=task['batches'], per_epoch=per_epoch)\n"
        "print('measured: ' + json.dumps(timed))\n"
    )
    fake.chmod(0o755)
    config = RunConfig()
    task = peers.task_of(config, 5, 40)
    timed = Timed(**peers.run_peer(tmp_path, "replay", task))
    assert timed.per_epoch == TrainingBatches(beauty(users=40), max_length=50, batch_size=512).n_targets
    assert peers.epoch_of([timed], ours=2.0) == peers.Compared(
        2 / 5 * timed.per_epoch, 4 / 5 * timed.per_epoch, 2 / 5 * timed.per_epoch
    )
    fake.write_text("#!/bin/sh\necho broken >&2\nexit 1\n")
    with pytest.raises(typer.BadParameter, match="replay has failed in its environment: broken"):
        peers.run_peer(tmp_path, "replay", task)


def test_a_library_is_validated_by_the_ranks_in_the_whole_catalogue() -> None:
    """Ranks 1, 2 and 11 of 12 items."""
    rows = {1: torch.arange(12, 0, -1.0), 2: torch.tensor([5.0, 9.0, *[0.0] * 10]), 3: torch.arange(12.0)}
    library = Library(
        torch.nn.Identity(), [], lambda _: None, lambda seen: torch.stack([rows[each[0]] for each in seen])
    )
    task = peers.task_of(RunConfig(), 1, 40)._replace(sequences=[[1, 4], [2, 4], [3, 4]], wanted=[1, 1, 2])
    assert ndcg(task, library, rows=2) == pytest.approx((1 + 1 / math.log2(3)) / 3)


def test_both_paths_train_the_same_targets() -> None:
    data = beauty(users=40)
    plain = PrefixBatches(data, max_length=8, batch_size=64)
    fast = TrainingBatches(data, max_length=8, batch_size=64)

    def pairs(batches: PrefixBatches | TrainingBatches) -> list[tuple[int, int]]:
        """The latest item and the target of each trained row."""
        epoch = [batch for batch in batches.epoch(torch.Generator().manual_seed(0)) if batch is not None]
        items = torch.cat([batch.item_ids[batch.rows] for batch in epoch])
        targets = torch.cat([batch.targets for batch in epoch])
        return sorted(zip(items.tolist(), targets.tolist(), strict=True))

    assert pairs(plain) == pairs(fast)
    assert len(pairs(plain)) == fast.n_targets


def test_all_ways_recommend_the_same(tmp_path: Path) -> None:
    data = beauty(users=40)
    torch.manual_seed(0)
    model, vocabulary = built(RunConfig(), data.n_items).eval(), Vocabulary.of(data, users=False)
    file = tmp_path / "histories.jsonl"
    recommending.write_histories(file, data, 60)
    recommender = Recommender(model, vocabulary, name="sasrec", device=torch.device("cpu"))
    recommending.stream(file, tmp_path / "stream.parquet", recommender)
    expected = pd.read_parquet(tmp_path / "stream.parquet")
    assert len(expected) == 600
    for batch_size in (1, 7):
        recommending.loop(file, tmp_path / "loop.parquet", model, vocabulary, batch_size)
        found = pd.read_parquet(tmp_path / "loop.parquet")
        assert found[["user", "rank", "item"]].equals(expected[["user", "rank", "item"]].astype({"rank": "int64"}))


def test_a_new_process_has_a_peak_of_its_own() -> None:
    before = in_a_new_process(peak_megabytes)
    held = torch.ones(2**27)  # 512 MB
    assert peak_megabytes() > held.nbytes / 2**20
    assert 0 < in_a_new_process(peak_megabytes) < before + 100


@pytest.mark.slow
@pytest.mark.usefixtures("_starts_at_once")
def test_nothing_is_lost_by_kills(tmp_path: Path) -> None:
    """Two kills of one process, and two of one of two that share a training; the figures are in docs/reliability.md."""
    record = tmp_path / "kills.json"
    done = CliRunner().invoke(app, ["kill", "--kills", "4", "--only", "ac-sasrec", "--record", str(record)])
    *_, total = json.loads(record.read_text(encoding="utf-8"))
    wrong = {name: total[name] for name in ("lost", "different", "unresumable", "left_over")}
    assert (total["scenario"], total["kills"], wrong) == ("all", 4, dict.fromkeys(wrong, 0)), done.stderr
    assert total["after_the_end"] < 4
