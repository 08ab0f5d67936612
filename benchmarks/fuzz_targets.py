"""What `python -m benchmarks fuzz` gives mutated inputs to: everything in actsr that reads a file or a text."""

from __future__ import annotations

import io
import json
import shutil
import zipfile
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as parquet
import torch
from safetensors.torch import save

from actsr_cli import api, sealed
from actsr_cli.config.reading import read_yaml
from actsr_cli.data import store
from actsr_cli.data.archive import unpack_archive
from actsr_cli.data.synthetic import generate_demo
from actsr_cli.experiment.find import summaries
from actsr_cli.experiment.run import open_run
from actsr_cli.models.registry import build_model
from actsr_cli.presets import load_preset, resolve
from actsr_cli.recommending.reading import read_histories
from actsr_cli.tensors import load_tensors
from actsr_cli.training.checkpoint import load_checkpoint, load_model
from actsr_cli.training.losses import build_loss
from actsr_cli.training.trainer import Hooks, Trainer
from actsr_cli.tuning.space import grid, read_space

ATOMIC = b"user_id:token\titem_id:token\trating:float\ttimestamp:float\n" + b"".join(
    f"u{row % 5}\ti{row % 7}\t{row % 5 + 1}\t{1_300_000_000 + 1000 * row}\n".encode() for row in range(40)
)
CSV = b"user_id,item_id,rating,timestamp\n" + b"".join(
    f'u{row % 5},"i {row % 7}",{row % 5 + 1},2014-0{row % 9 + 1}-1{row % 9}\n'.encode() for row in range(40)
)
ITEMS = b"item_id:token\tmovie_title:token_seq\tclass:token_seq\n" + b"".join(
    f"i{item}\tTitle {item}\tAction Comedy\n".encode() for item in range(7)
)
REVIEWS = b"".join(
    json.dumps(
        {"reviewerID": f"u{row % 5}", "asin": f"i{row % 7}", "overall": 5.0, "unixReviewTime": 1_300_000_000 + row}
    ).encode()
    + b"\n"
    for row in range(40)
)
HISTORIES = (
    b"".join(
        json.dumps({"user": f"u{row}", "items": ["i1", "i2"], "timestamps": [1, 2]}).encode() + b"\n"
        for row in range(9)
    ),
    b'["i1", "i2"]\n["i3"]\n',
)
SPACE = b"training.learning_rate: {low: 5e-4, high: 2e-3, log: true, steps: 3}\nmodel.hidden_dropout: [0.1, 0.5]\n"
OVERRIDES = (b"model.name=sasrec", b"data.intervals={rating: [4, null]}", b"split={by: time, valid_from: 2014-01-01}")


@dataclass(frozen=True)
class Target:
    """Something that reads.

    Attributes:
        valid: inputs that it reads.
        read: reads an input in an empty folder, which it may fill.
    """

    valid: tuple[bytes, ...]
    read: Callable[[Path, bytes], object]


def build_base(folder: Path) -> None:
    """Put a small prepared data set and a run into a folder."""
    raw = folder / "dataset" / "demo"
    raw.mkdir(parents=True)
    generate_demo(raw, users=60)
    settings = {"model.hidden_size": 8, "model.inner_size": 8, "model.layers": 1, "training.epochs": 1}
    data, runs = folder / "dataset", folder / "runs"
    run = api.train("ac-sasrec", dataset="demo", settings=settings, name="one", data_dir=data, runs_dir=runs)
    api.evaluate(run, data_dir=data, runs_dir=runs)


@cache
def targets(base: Path) -> dict[str, Target]:
    """All targets by name.

    Args:
        base: a folder that `build_base` has filled.
    """
    run, (prepared,) = base / "runs/demo/ac-sasrec/one", (base / "dataset/demo/prepared").glob("[0-9a-f]*/")
    config = (run / "config.yaml").read_bytes()
    return {
        "atomic": Target((ATOMIC,), _reader("atomic", ".inter")),
        "csv": Target((CSV,), _reader("csv", ".csv")),
        "sequences": Target((b"1 5 3 2\n2 7 7 1\n3 1 2 3\n4 5\n",), _reader("sequences", ".txt")),
        "reviews": Target((REVIEWS,), _reader("json", ".json")),
        "parquet": Target((_table(),), _reader("parquet", ".parquet")),
        "items": Target((ITEMS,), _items),
        "histories": Target(HISTORIES, _histories),
        "config": Target((config, b"model: {name: gru4rec}\n"), read_config),
        "preset": Target((config + b"tune:\n  model.heads: [1, 2]\n",), read_preset),
        "space": Target((SPACE,), read_space_file),
        "override": Target(OVERRIDES, read_override),
        "archive": Target((_archive(),), _unpacked),
        "record": Target(((run / "run.json").read_bytes(),), _in_copy(run, "run.json", _open_all)),
        "record resealed": Target(
            ((run / "run.json").read_bytes(),), _in_copy(run, "run.json", _open_all, reseal=True)
        ),
        "run config": Target((config,), _in_copy(run, "config.yaml", _open_all)),
        "metrics": Target(
            ((run / "metrics.json").read_bytes(),), _in_copy(run, "metrics.json", _open_all, reseal=True)
        ),
        "vocabulary": Target(((run / "items.parquet").read_bytes(),), _in_copy(run, "items.parquet", _open_all)),
        "vocabulary unsealed": Target(
            ((run / "items.parquet").read_bytes(),), _in_copy(run, "items.parquet", _open_unsealed)
        ),
        **{
            f"{name} {kind}": Target((held(run / f"{name}.safetensors"),), _in_copy(run, f"{name}.safetensors", read))
            for name, read in (("model", _open_model), ("checkpoint", _open_checkpoint))
            for kind, held in (("sealed", Path.read_bytes), ("unsealed", _without_checksum))
        },
        "prepared record": Target(
            ((prepared / store.RECORD).read_bytes(),), _in_copy(prepared, store.RECORD, store.load, reseal=True)
        ),
        **{
            f"prepared {name}": Target(
                ((prepared / name).read_bytes(),), _in_copy(prepared, name, _open_prepared_unsealed)
            )
            for name in ("items.npy", "offsets.npy", "timestamps.npy", "users.parquet")
        },
    }


def _reader(format_name: str, suffix: str) -> Callable[[Path, bytes], object]:
    def read(folder: Path, content: bytes) -> object:
        file = folder / f"raw{suffix}"
        file.write_bytes(content)
        return api.prepare(
            "raw", file, format=format_name, skip_bad_lines=len(content) % 2 == 0, data_dir=folder / "data"
        )

    return read


def _items(folder: Path, content: bytes) -> object:
    (folder / "raw.inter").write_bytes(ATOMIC)
    file = folder / ("details.item" if len(content) % 2 else "details.csv")
    file.write_bytes(content)
    return api.prepare("raw", folder / "raw.inter", items=file, data_dir=folder / "data")


def _histories(folder: Path, content: bytes) -> object:
    file = folder / "histories.jsonl"
    file.write_bytes(content)
    return list(read_histories(file))


def read_config(folder: Path, content: bytes) -> object:
    file = folder / "config.yaml"
    file.write_bytes(content)
    return resolve(file=file)


def read_preset(folder: Path, content: bytes) -> object:
    file = folder / "preset.yaml"
    file.write_bytes(content)
    return load_preset(file)


def read_space_file(folder: Path, content: bytes) -> object:
    file = folder / "space.yaml"
    file.write_bytes(content)
    return grid(read_space(read_yaml(file), str(file)))


def read_override(_: Path, content: bytes) -> object:
    return resolve(overrides=[content.decode("utf-8", "surrogateescape")])


def _unpacked(folder: Path, content: bytes) -> object:
    file, inside = folder / "archive.zip", folder / "unpacked"
    file.write_bytes(content)
    inside.mkdir()
    unpack_archive(file, inside, "demo")
    return inside


def _in_copy(
    original: Path, name: str, read: Callable[[Path], object], *, reseal: bool = False
) -> Callable[[Path, bytes], object]:
    """Reads a copy of a folder in which one file is replaced.

    Args:
        original: the folder.
        name: the file.
        read: reads the copy.
        reseal: whether a JSON object gets a checksum that fits, as a forger would write it.
    """

    def run(folder: Path, content: bytes) -> object:
        copy = folder / "demo" / "ac-sasrec" / "one"
        shutil.copytree(original, copy, ignore=shutil.ignore_patterns("tensorboard"))
        file = copy / name
        try:
            values = json.loads(content) if reseal else None
        except (ValueError, RecursionError):
            values = None
        if isinstance(values, dict):
            values.pop("checksum", None)
            file.write_text(
                json.dumps({**values, "checksum": sealed.checksum(json.dumps(values, sort_keys=True).encode())})
            )
        else:
            file.write_bytes(content)
        return read(copy)

    return run


def _without_checksum(path: Path) -> bytes:
    """A safetensors file as earlier versions wrote it: the checks behind the checksum must hold, too."""
    return save(*load_tensors(path))


def _open_all(folder: Path) -> object:
    summaries(folder.parents[2])  # never fails, whatever is in one run
    run = open_run(folder)
    return run.metrics, run.vocabulary(), run.status


def _open_unsealed(folder: Path) -> object:
    return _without(folder / "run.json", "files", lambda: open_run(folder).vocabulary())


def _open_prepared_unsealed(folder: Path) -> object:
    return _without(folder / store.RECORD, "checksums", lambda: store.load(folder))


def _without(record: Path, key: str, read: Callable[[], object]) -> object:
    """Read what a record guards, without its checksums: the checks behind them must hold, too."""
    values, _ = sealed.read_json(record)
    values.pop(key, None)
    sealed.write_json(record, values)
    return read()


def _open_model(folder: Path) -> object:
    run = open_run(folder)
    record = run.record
    return load_model(run.model_file, build_model(run.config.model, run.config.calibration, record.items, record.users))


class _NoBatches:
    n_batches = 1

    def epoch(self, _: torch.Generator) -> Iterable[object]:
        return ()


def _open_checkpoint(folder: Path) -> object:
    run = open_run(folder)
    config, items = run.config, run.record.items
    model = build_model(config.model, config.calibration, items, run.record.users)
    loss = build_loss(config.loss, items, torch.ones(items + 1, dtype=torch.int64))
    trainer = Trainer(model, config.training, _NoBatches(), loss, Hooks())  # type: ignore[arg-type]
    load_checkpoint(run.checkpoint_file, trainer)
    trainer.optimizer.forget_gradients()
    for parameter in model.parameters():
        parameter.grad = torch.zeros_like(parameter)
    trainer.optimizer.step()  # reads the moments
    return trainer.state


def _table() -> bytes:
    rows = np.arange(40)
    columns: Mapping[str, object] = {
        "user_id": [f"u{row % 5}" for row in rows],
        "item_id": [f"i{row % 7}" for row in rows],
        "timestamp": 1_300_000_000 + 1000 * rows,
    }
    file = io.BytesIO()
    parquet.write_table(pa.table(columns), file)
    return file.getvalue()


def _archive() -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("demo/demo.inter", ATOMIC)
        archive.writestr("demo/demo.item", ITEMS)
    return file.getvalue()
