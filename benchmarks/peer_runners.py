"""Trains plain SASRec in another library: `PYTHON benchmarks/peer_runners.py LIBRARY < task.json`.

It times some batches or, if the task has a goal, trains until validation reaches it.

It runs in an environment that has the library and not actsr, and imports only what it uses of the library's public
interface. It prints one line of JSON. `benchmarks/peers.py` and `benchmarks/reaching.py` start it.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass
from importlib import import_module
from itertools import islice
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

MARK = "measured: "
"""Begins the line with the result; libraries print other lines."""


class Task(NamedTuple):
    """What to train.

    Attributes:
        sequences: the training items of each user, from 1, in order.
        width: number of numbers of a hidden state.
        layers: number of layers.
        heads: number of heads.
        dropout: probability of each dropout.
        length: number of latest items kept.
        targets: targets per batch.
        threads: number of CPU threads.
        batches: number of timed batches.
        warm_up: number of batches before them.
        wanted: the next item of each user, for validation; empty if nothing is validated.
        goal: mean NDCG@10 of `wanted` over the whole catalogue at which training ends; None times batches.
        epochs: number of epochs after which training ends without it.
    """

    sequences: list[list[int]]
    width: int
    layers: int
    heads: int
    dropout: float
    length: int
    targets: int
    threads: int
    batches: int
    warm_up: int
    wanted: list[int]
    goal: float | None
    epochs: int

    @property
    def users_per_batch(self) -> int:
        """As many users as have `targets` targets on average, for libraries whose batches are of users."""
        return max(1, round(self.targets * len(self.sequences) / sum(len(each) - 1 for each in self.sequences)))


@dataclass
class Timed:
    """Time of some batches.

    Attributes:
        seconds: wall time of the timed batches.
        cpu_seconds: time of all threads on a processor in it.
        batches: number of timed batches.
        per_epoch: number of batches in an epoch.
    """

    seconds: float
    cpu_seconds: float
    batches: int
    per_epoch: int


@dataclass
class Reached:
    """A training up to a goal.

    Attributes:
        seconds: wall time of its epochs, without validation.
        cpu_seconds: time of all threads on a processor in it.
        curve: NDCG@10 of validation after each epoch.
    """

    seconds: float
    cpu_seconds: float
    curve: list[float]


@dataclass
class Library:
    """What a plain loop over batches needs of a library.

    Attributes:
        model: the model.
        loader: its batches.
        loss_of: the loss of a batch.
        scores: (rows, items) scores of items 1, 2, … after each of some histories.
    """

    model: Any
    loader: Any
    loss_of: Callable[[Any], Any]
    scores: Callable[[list[list[int]]], Any]


class Clock:
    """Starts after the batches of the warm-up, and stops after the timed ones."""

    def __init__(self, task: Task) -> None:
        self.task, self.done = task, 0
        self.started = self.on_cpu = self.seconds = self.cpu_seconds = 0.0

    def batch_finished(self) -> None:
        self.done += 1
        if self.done == self.task.warm_up:
            self.started, self.on_cpu = time.perf_counter(), time.process_time()
        if self.done == self.task.warm_up + self.task.batches:
            self.seconds, self.cpu_seconds = time.perf_counter() - self.started, time.process_time() - self.on_cpu

    def timed(self, per_epoch: int) -> Timed:
        if not self.seconds:
            raise SystemExit(f"there were only {self.done} batches: ask for fewer")
        return Timed(self.seconds, self.cpu_seconds, self.task.batches, per_epoch)


def trainer_of(package: str, task: Task, clock: Clock) -> Any:
    """A Lightning trainer (of `lightning` or `pytorch_lightning`) that ends with the clock."""
    lightning = import_module(package)

    class Stopwatch(lightning.Callback):  # type: ignore[misc,name-defined]
        def on_train_batch_end(self, *_: object, **__: object) -> None:
            clock.batch_finished()

    return lightning.Trainer(
        max_epochs=1,
        accelerator="cpu",
        limit_train_batches=task.warm_up + task.batches,
        limit_val_batches=0,
        callbacks=[Stopwatch()],
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )


def table(task: Task, user: str, item: str, when: str) -> Any:
    """All interactions as a data frame with these columns."""
    rows = [(number, each, place) for number, items in enumerate(task.sequences) for place, each in enumerate(items)]
    return import_module("pandas").DataFrame(rows, columns=[user, item, when])


def rectools(task: Task) -> Timed:
    """RecTools' SASRecModel with the softmax over the catalogue."""
    columns = import_module("rectools").Columns
    frame = table(task, columns.User, columns.Item, columns.Datetime)
    frame[columns.Datetime] = import_module("pandas").to_datetime(frame[columns.Datetime], unit="D")
    frame[columns.Weight] = 1.0
    dataset = import_module("rectools.dataset").Dataset.construct(frame)
    clock = Clock(task)
    model = import_module("rectools.models").SASRecModel(
        n_blocks=task.layers,
        n_heads=task.heads,
        n_factors=task.width,
        dropout_rate=task.dropout,
        session_max_len=task.length,
        loss="softmax",
        batch_size=task.users_per_batch,
        epochs=1,
        get_trainer_func=lambda: trainer_of("pytorch_lightning", task, clock),
    )
    model.fit(dataset)
    return clock.timed(-(-len(task.sequences) // task.users_per_batch))


def rectools_fast(task: Task) -> Library:
    """RecTools' `fast_transformers`: their net and batches, in a plain loop, as there is no model of SASRec there."""
    torch, fast = import_module("torch"), import_module("rectools.fast_transformers")
    columns = [torch.tensor(column) for column in table(task, "user", "item", "when").to_numpy().T]
    inputs, targets, items, _ = fast.build_sequences(*columns, max_len=task.length)
    net = fast.FlatSASRecNet(len(items), task.width, task.layers, task.heads, task.length, task.dropout)
    for weights in net.parameters():
        if weights.dim() > 1:  # as RecTools' SASRecModel does; from the net's own initial weights it hardly learns
            torch.nn.init.xavier_normal_(weights)
    loader = torch.utils.data.DataLoader(fast.SequenceBatchDataset(inputs, targets), task.users_per_batch, shuffle=True)

    def loss_of(batch: Any) -> Any:
        logits, wanted = net(batch), batch["y"]
        return torch.nn.functional.cross_entropy(logits.flatten(0, 1), wanted.flatten() - 1, ignore_index=-1)

    def scores(histories: list[list[int]]) -> Any:
        last = torch.tensor([[0] * (task.length - len(kept)) + kept for kept in latest(task, histories)])
        places = torch.searchsorted(items, last) + 1  # items are sorted; the padding becomes 0 again
        found = net.encode_last(torch.where(last > 0, places, 0)) @ net.all_item_embeddings().T
        return torch.full((len(last), int(items.max())), -torch.inf).index_copy(1, items - 1, found)

    return Library(net, loader, loss_of, scores)


def recbole(task: Task) -> Library:
    """RecBole's SASRec with its loss CE: each prefix is a sequence."""
    with TemporaryDirectory() as folder:
        (Path(folder) / "peers").mkdir()
        frame = table(task, "user_id:token", "item_id:token", "timestamp:float")
        frame.to_csv(Path(folder) / "peers" / "peers.inter", sep="\t", index=False)
        settings = {
            "data_path": folder,
            "USER_ID_FIELD": "user_id",
            "ITEM_ID_FIELD": "item_id",
            "TIME_FIELD": "timestamp",
            "load_col": {"inter": ["user_id", "item_id", "timestamp"]},
            "MAX_ITEM_LIST_LENGTH": task.length,
            "n_layers": task.layers,
            "n_heads": task.heads,
            "hidden_size": task.width,
            "inner_size": task.width,
            "hidden_dropout_prob": task.dropout,
            "attn_dropout_prob": task.dropout,
            "loss_type": "CE",
            "train_neg_sample_args": None,
            "train_batch_size": task.targets,
            "eval_args": {"split": {"RS": [1, 0, 0]}, "order": "TO", "mode": "full", "group_by": "user"},
            "use_gpu": False,
            "show_progress": False,
            "state": "ERROR",
        }
        config = import_module("recbole.config").Config("SASRec", "peers", config_dict=settings)
        data = import_module("recbole.data")
        loader, _, _ = data.data_preparation(config, data.create_dataset(config))
        model = import_module("recbole.model.sequential_recommender").SASRec(config, loader.dataset)
    torch, interaction = import_module("torch"), import_module("recbole.data.interaction").Interaction
    tokens = loader.dataset.field2id_token["item_id"]
    items = torch.tensor([int(token) for token in tokens[1:]])  # RecBole numbers them anew
    numbers = {int(token): number for number, token in enumerate(tokens[1:], 1)}

    def scores(histories: list[list[int]]) -> Any:
        rows = [[numbers[item] for item in kept] for kept in latest(task, histories)]
        padded = torch.tensor([row + [0] * (task.length - len(row)) for row in rows])
        lengths = torch.tensor([len(row) for row in rows])
        found = model.full_sort_predict(interaction({"item_id_list": padded, "item_length": lengths}))
        return torch.full((len(rows), int(items.max())), -torch.inf).index_copy(1, items - 1, found[:, 1:])

    return Library(model, loader, model.calculate_loss, scores)


def replay(task: Task) -> Timed:
    """RePlay's SasRec with its loss CE."""
    data, nn, sasrec = (
        import_module(name) for name in ("replay.data", "replay.data.nn", "replay.models.nn.sequential.sasrec")
    )
    kind, hint = data.FeatureType, data.FeatureHint
    schema = data.FeatureSchema(
        [
            data.FeatureInfo("user", kind.CATEGORICAL, hint.QUERY_ID),
            data.FeatureInfo("item", kind.CATEGORICAL, hint.ITEM_ID),
            data.FeatureInfo("when", kind.NUMERICAL, hint.TIMESTAMP),
        ]
    )
    dataset = data.Dataset(schema, interactions=table(task, "user", "item", "when"))
    items = nn.TensorSchema(
        nn.TensorFeatureInfo(
            "items",
            kind.CATEGORICAL,
            is_seq=True,
            feature_hint=hint.ITEM_ID,
            feature_sources=[nn.TensorFeatureSource(data.FeatureSource.INTERACTIONS, "item")],
        )
    )
    sequences = nn.SequenceTokenizer(items).fit_transform(dataset)
    loader = import_module("torch.utils.data").DataLoader(
        sasrec.SasRecTrainingDataset(sequences, task.length), task.users_per_batch, shuffle=True
    )
    model = sasrec.SasRec(
        items,
        block_count=task.layers,
        head_count=task.heads,
        hidden_size=task.width,
        max_seq_len=task.length,
        dropout_rate=task.dropout,
        loss_type="CE",
    )
    clock = Clock(task)
    trainer_of("lightning", task, clock).fit(model, loader)
    return clock.timed(len(loader))


def latest(task: Task, histories: list[list[int]]) -> list[list[int]]:
    """The items of each history that the model reads."""
    return [items[-task.length :] for items in histories]


def timed(task: Task, library: Library) -> Timed:
    """Time steps of Adam over some batches."""
    clock = Clock(task)
    for _ in islice(steps(library), task.warm_up + task.batches):
        clock.batch_finished()
    return clock.timed(len(library.loader))


def trained(task: Task, library: Library) -> Reached:
    """Train until validation reaches the goal, or to the last epoch."""
    reached, stepped = Reached(0.0, 0.0, []), steps(library)
    for _ in range(task.epochs):
        started, on_cpu = time.perf_counter(), time.process_time()
        for _ in islice(stepped, len(library.loader)):
            pass
        reached.seconds += time.perf_counter() - started
        reached.cpu_seconds += time.process_time() - on_cpu
        reached.curve.append(ndcg(task, library))
        if task.goal is not None and reached.curve[-1] >= task.goal:
            break
    return reached


def steps(library: Library) -> Iterator[None]:
    """Steps of Adam, epoch after epoch."""
    optimizer = import_module("torch").optim.Adam(library.model.parameters(), lr=1e-3)
    for batch in _endless(library.loader):
        library.model.train()
        optimizer.zero_grad()
        library.loss_of(batch).backward()
        optimizer.step()
        yield


def ndcg(task: Task, library: Library, rows: int = 256) -> float:
    """Mean NDCG@10 of the wanted items over the whole catalogue, seen items included."""
    torch = import_module("torch")
    library.model.eval()
    total = 0.0
    with torch.no_grad():
        for start in range(0, len(task.wanted), rows):
            scores = library.scores(task.sequences[start : start + rows])
            own = scores.gather(1, torch.tensor(task.wanted[start : start + rows]).unsqueeze(1) - 1)
            ranks = (scores > own).sum(1) + 1
            total += float(torch.where(ranks <= 10, 1 / torch.log2(ranks + 1.0), 0.0).sum())
    return total / len(task.wanted)


def _endless(loader: Iterable[Any]) -> Iterator[Any]:
    while True:
        yield from loader


OF_LIGHTNING: dict[str, Callable[[Task], Timed]] = {"rectools": rectools, "replay": replay}
"""Libraries that train in Lightning's loop: their batches are timed only."""
PLAIN: dict[str, Callable[[Task], Library]] = {"rectools-fast": rectools_fast, "recbole": recbole}


def main() -> None:
    """Measure the library that the first argument names."""
    task = Task(**json.load(sys.stdin))
    os.environ["OMP_NUM_THREADS"] = str(task.threads)
    import_module("torch").set_num_threads(task.threads)
    name = sys.argv[1]
    if name in OF_LIGHTNING:
        result: Timed | Reached = OF_LIGHTNING[name](task)
    else:
        result = (timed if task.goal is None else trained)(task, PLAIN[name](task))
    print(MARK + json.dumps(asdict(result)))


if __name__ == "__main__":
    main()
