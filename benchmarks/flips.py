"""Single flipped bits in everything that actsr writes and opens again: found, harmless, or silent."""

from __future__ import annotations

import random
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated

import typer

from actsr_cli.data import store
from actsr_cli.errors import ActsrError
from actsr_cli.experiment.run import open_run
from actsr_cli.tensors import load_tensors
from benchmarks.fuzz_targets import build_base
from benchmarks.options import Record
from benchmarks.output import new_table, remember, show
from benchmarks.process import in_a_new_process


@dataclass
class Flips:
    """What came of the flips in some files.

    Attributes:
        found: refused with an error that names a file.
        harmless: opened, and what was read is the same.
        silent: opened, and what was read differs.
        failed: another error.
    """

    found: int = 0
    harmless: int = 0
    silent: int = 0
    failed: int = 0


def flips(
    bits: Annotated[int, typer.Option(min=1, help="Number of flipped bits in each kind of file.")] = 200,
    seed: Annotated[int, typer.Option(help="Random seed.")] = 0,
    record: Record = None,
) -> None:
    """Flip random bits in the files of a run and of prepared data, one at a time, and open them again."""
    table = new_table(f"Flipped bits, seed {seed}", "files", "found", "harmless", "silent", "failed", texts=1)
    bad = 0
    with TemporaryDirectory() as folder:
        base = Path(folder)
        in_a_new_process(build_base, base)
        run = base / "runs/demo/ac-sasrec/one"
        (prepared,) = (base / "dataset/demo/prepared").glob("[0-9a-f]*/")
        for title, place, names, read in (
            ("weights", run, ("model.safetensors",), _tensors("model.safetensors")),
            ("checkpoint", run, ("checkpoint.safetensors",), _tensors("checkpoint.safetensors")),
            ("record, settings, metrics", run, ("run.json", "config.yaml", "metrics.json"), _record),
            ("vocabulary", run, ("items.parquet",), _record),
            ("prepared data", prepared, tuple(sorted(path.name for path in prepared.iterdir())), _prepared),
        ):
            result = _flip_all(place, names, read, bits, random.Random(seed))  # noqa: S311 (no secret)
            table.add_row(title, *(f"{each:,}" for each in vars(result).values()))
            remember(record, "flips", result, files=title, seed=seed)
            bad += result.silent + result.failed
    show(table)
    if bad:
        raise typer.Exit(1)


def _flip_all(
    folder: Path, names: tuple[str, ...], read: Callable[[Path], object], bits: int, chance: random.Random
) -> Flips:
    """Flip bits one by one, each at any place of any of the files, and read the folder."""
    result, whole = Flips(), read(folder)
    sizes = [(folder / name).stat().st_size for name in names]
    for _ in range(bits):
        (name,) = chance.choices(names, sizes) if chance.random() < 0.5 else (chance.choice(names),)
        with TemporaryDirectory() as scratch:
            copy = Path(scratch) / "copy"
            shutil.copytree(folder, copy, ignore=shutil.ignore_patterns("tensorboard"))
            content = bytearray((copy / name).read_bytes())
            content[chance.randrange(len(content))] ^= 1 << chance.randrange(8)
            (copy / name).write_bytes(content)
            try:
                same = read(copy) == whole
            except ActsrError:
                result.found += 1
            except Exception as error:  # noqa: BLE001 (that is what is counted)
                print(f"{name}: {error!r}")
                result.failed += 1
            else:
                result.harmless += same
                result.silent += not same
    return result


def _tensors(name: str) -> Callable[[Path], object]:
    def read(folder: Path) -> object:
        tensors, metadata = load_tensors(folder / name)
        return {key: (str(tensor.dtype), tensor.tolist()) for key, tensor in tensors.items()}, metadata

    return read


def _record(folder: Path) -> object:
    run = open_run(folder)
    vocabulary = run.vocabulary()
    return run.record, run.config, run.metrics, vocabulary.item_names, vocabulary.counts.tolist(), vocabulary.titles


def _prepared(folder: Path) -> object:
    data = store.load(folder)
    arrays = (data.items, data.offsets, data.timestamps, data.parts)
    return (
        store.load_record(folder),
        [None if each is None else each.tolist() for each in arrays],
        data.item_names,
        data.user_names,
        data.titles,
    )
