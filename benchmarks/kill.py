"""Kills commands at random moments, continues them, and compares the results with those of undisturbed ones."""

from __future__ import annotations

import io
import random
import shutil
import zipfile
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated

import typer

from actsr_cli.data.synthetic import generate_demo
from benchmarks.options import Record
from benchmarks.output import new_table, remember, show
from benchmarks.sameness import differences, files_in, finished_epochs, saved_epochs, trials
from benchmarks.victims import Ended, Moment, carry_out, load_libraries, mirror

KINDS = ("train", "tune", "preprocess", "download")
_USERS = 200
_SMALL = ("--set=model.hidden_size=8", "--set=training.batch_size=128")
_TRAIN = ("train", "--preset", "demo", "--name", "one", "--model")
_TUNE = ("tune", "--grid", "--preset", "demo", "--name", "grid")
_WITHIN = ("--checkpoint-minutes", "0.0001")
_SPACE = "training.learning_rate: [1.0e-3, 1.0e-2]\nmodel.hidden_dropout: [0.1, 0.3]\n"


@dataclass(frozen=True)
class Scenario:
    """A command, and what is tried after a kill until it is finished.

    Attributes:
        name: shown in the table.
        command: its arguments.
        resume: the arguments that continue it; if they fail, or are empty, `command` is called again.
        processes: number of processes that share a training.
    """

    name: str
    command: tuple[str, ...]
    resume: tuple[str, ...] = ()
    processes: int = 1

    @property
    def kind(self) -> str:
        return self.command[0]


def _training(name: str, model: str, *options: str, processes: int = 1) -> Scenario:
    command = (*_TRAIN, model, *_SMALL, "--epochs", "3", "--threads", "1", *options)
    return Scenario(name, command, ("train", "--resume", "one"), processes)


SCENARIOS = (
    _training("ac-sasrec", "ac-sasrec"),
    _training("ac-bert4rec, within epochs", "ac-bert4rec", *_WITHIN),
    _training("ac-sse-pt, average, cosine", "ac-sse-pt", "--set=training.ema=0.9", "--set=training.schedule=cosine"),
    _training("ac-tisasrec, warm-up", "ac-tisasrec", "--set=training.warmup=1", "--set=training.gradient_clip=1"),
    _training("gru4rec, sampled, within epochs", "gru4rec", "--set=loss=sampled", "--set=training.ema=0.9", *_WITHIN),
    Scenario("item-knn", (*_TRAIN, "item-knn")),
    _training("ac-sasrec, 2 processes, within epochs", "ac-sasrec", *_WITHIN, processes=2),
    Scenario("tune", (*_TUNE, "--model", "sasrec", *_SMALL, "--epochs", "2", "--space", "SPACE")),
    Scenario("preprocess", ("preprocess", "demo", "--user-core", "3")),
    Scenario("download", ("download", "beauty", "--mirror", "MIRROR")),
)


@dataclass(frozen=True)
class Outcome:
    """What a kill has done.

    Attributes:
        killed: whether the command was still running.
        lost: number of finished epochs, or of finished trials, that were lost.
        different: files and trials that differ from those of an undisturbed command.
        unresumable: what the command said that could not be continued, or nothing.
        left: files that an undisturbed command does not leave.
        when: the moment, as text.
    """

    killed: bool
    lost: int
    different: tuple[str, ...]
    unresumable: str
    left: tuple[str, ...]
    when: str

    @property
    def fine(self) -> bool:
        return not (self.lost or self.different or self.unresumable or self.left)


@dataclass(frozen=True)
class Count:
    """The kills of one scenario."""

    kills: int
    after_the_end: int
    lost: int
    different: int
    unresumable: int
    left_over: int


def kill(
    kills: Annotated[int, typer.Option(min=1, help="Number of kills.")] = 100,
    seed: Annotated[int, typer.Option(help="Random seed of the moments.")] = 0,
    what: Annotated[str, typer.Option(help=f"Commands, comma-separated: {', '.join(KINDS)}.")] = ",".join(KINDS),
    only: Annotated[str, typer.Option(help="Only scenarios whose name contains this text.")] = "",
    jobs: Annotated[int, typer.Option(min=1, help="Number of kills at a time.")] = 1,
    record: Record = None,
) -> None:
    """Kill commands at random moments; count what is lost, different, not resumable or left over.

    Half of the kills come at a random moment, half just before a random change of a file. What goes wrong is printed
    to standard error at once.
    """
    if unknown := sorted(set(what.split(",")) - set(KINDS)):
        raise typer.BadParameter(f"'{unknown[0]}' is not one of {', '.join(KINDS)}", param_hint="--what")
    scenarios = [each for each in SCENARIOS if each.kind in what.split(",") and only in each.name]
    if not scenarios:
        raise typer.BadParameter(f"no scenario is called '{only}'", param_hint="--only")
    numbers = range(kills)
    chosen = [scenarios[number % len(scenarios)] for number in numbers]
    with (
        TemporaryDirectory() as folder,
        ProcessPoolExecutor(jobs, mp_context=get_context("spawn"), initializer=load_libraries) as pool,
    ):
        used = list(dict.fromkeys(chosen))
        whole = dict(zip(used, pool.map(partial(undisturbed, Path(folder)), used), strict=True))
        work = partial(kill_once, Path(folder), seed)
        done = []
        for each in zip(chosen, pool.map(work, numbers, chosen, [whole[each] for each in chosen]), strict=True):
            done.append(each)
            for problem in _problems([each]):
                typer.echo(problem, err=True)
    _report(used, done, seed, record)


def undisturbed(root: Path, scenario: Scenario) -> Ended:
    """Carry out a command without a kill; its results stay in a folder of `root`.

    Raises:
        RuntimeError: it fails.
    """
    folder = _whole(root, scenario)
    _provide(folder)
    ended = _carry_out(scenario, scenario.command, folder)
    if ended.exit_code != 0:
        raise RuntimeError(f"{scenario.name} fails without a kill: {ended.output}")
    return ended


def kill_once(root: Path, seed: int, number: int, scenario: Scenario, whole: Ended) -> Outcome:
    """Kill a command, continue it until it is finished, and compare the results.

    Args:
        root: has the results of the undisturbed command.
        seed: random seed of all moments.
        number: of this kill.
        scenario: the command.
        whole: duration of the undisturbed command, and how often it changes a file.
    """
    chance = random.Random(f"{seed}-{number}")  # noqa: S311 (no secret)
    by_event = chance.random() < 0.5
    share = chance.random()
    moment = Moment(event=1 + int(share * whole.events)) if by_event else Moment(seconds=share * whole.seconds)
    folder, reference = root / f"kill-{number}", _whole(root, scenario)
    _provide(folder)
    ended = _carry_out(scenario, scenario.command, folder, moment)
    runs = folder / "runs"
    lost = max(0, finished_epochs(runs) - saved_epochs(runs))
    before = trials(runs)
    problem = "" if _is_finished(folder, ended) else _finish(scenario, folder)
    lost += (before - trials(runs)).total()
    left, different = sorted(files_in(folder) - files_in(reference)), differences(reference, folder)
    if scenario.kind == "tune":  # trials that were killed stay as runs, and are trained again under other numbers
        left = [name for name in left if Path(name).name.startswith(".")]
        different = sorted((trials(reference / "runs") - trials(runs)) + (trials(runs) - trials(reference / "runs")))
    shutil.rmtree(folder)
    when = f"change {moment.event} of {whole.events}" if by_event else f"{moment.seconds:.2f} of {whole.seconds:.2f} s"
    return Outcome(
        ended.exit_code is None, lost, () if problem else tuple(different), problem, tuple(left), f"{number}: {when}"
    )


def _finish(scenario: Scenario, folder: Path) -> str:
    """Continue a killed command, or call it again; returns what was said if neither is possible."""
    said = []
    for command in filter(None, (scenario.resume, scenario.command)):
        ended = _carry_out(scenario, command, folder)
        if ended.exit_code == 0:
            return ""
        said.append(ended.output.strip())
    return " | ".join(said)


def _is_finished(folder: Path, ended: Ended) -> bool:
    """Whether there is nothing to continue: the command has ended, or its run says that it is finished."""
    records = list((folder / "runs").glob("*/*/one/run.json"))
    return ended.exit_code == 0 or any('"status": "finished"' in path.read_text(encoding="utf-8") for path in records)


def _carry_out(scenario: Scenario, command: Sequence[str], folder: Path, moment: Moment | None = None) -> Ended:
    if scenario.kind == "download":
        with mirror(_archive()) as address:
            filled = [address if word == "MIRROR" else word for word in command]
            return carry_out(filled, folder, moment)
    filled = [str(folder / "space.yaml") if word == "SPACE" else word for word in command]
    return carry_out(filled, folder, moment, scenario.processes)


def _provide(folder: Path) -> None:
    """The raw files that the commands read."""
    (folder / "data" / "demo").mkdir(parents=True)
    generate_demo(folder / "data" / "demo", users=_USERS)
    (folder / "space.yaml").write_text(_SPACE, encoding="utf-8")


def _archive() -> bytes:
    """A small archive of Amazon Beauty."""
    rows = "".join(f"u{row % 400}\ti{row * 7 % 91}\t5\t{row}\n" for row in range(20_000))
    items = "".join(f"i{item}\tTitle {item}\n" for item in range(91))
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED) as archive:
        header = "user_id:token\titem_id:token\trating:float\ttimestamp:float\n"
        archive.writestr("Amazon_Beauty/Amazon_Beauty.inter", header + rows)
        archive.writestr("Amazon_Beauty/Amazon_Beauty.item", "item_id:token\ttitle:token_seq\n" + items)
    return buffer.getvalue()


def _whole(root: Path, scenario: Scenario) -> Path:
    return root / f"whole-{SCENARIOS.index(scenario)}"


def _report(used: list[Scenario], done: list[tuple[Scenario, Outcome]], seed: int, record: Path | None) -> None:
    """Print the counts of each scenario and of all."""
    columns = ("command", "kills", "after the end", "lost", "different", "unresumable", "left over")
    table = new_table("Killed and continued", *columns, texts=1)
    rows = [(each.name, [outcome for scenario, outcome in done if scenario == each]) for each in used]
    for name, outcomes in [*rows, ("all", [outcome for _, outcome in done])]:
        count = Count(
            kills=len(outcomes),
            after_the_end=sum(not each.killed for each in outcomes),
            lost=sum(bool(each.lost) for each in outcomes),
            different=sum(bool(each.different) for each in outcomes),
            unresumable=sum(bool(each.unresumable) for each in outcomes),
            left_over=sum(bool(each.left) for each in outcomes),
        )
        table.add_row(name, *map(str, vars(count).values()))
        remember(record, "kill", count, scenario=name, seed=seed)
    show(table)


def _problems(done: list[tuple[Scenario, Outcome]]) -> Iterator[str]:
    for scenario, outcome in done:
        if not outcome.fine:
            facts = {"lost": outcome.lost, "different": outcome.different, "left over": outcome.left}
            said = [f"{name}: {value}" for name, value in facts.items() if value]
            yield f"{scenario.name}, kill {outcome.when}: {'; '.join([*said, outcome.unresumable])}"
