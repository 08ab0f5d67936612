"""What answers: the model that is served now, its batches and its numbers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from actsr_cli.experiment.recommend import open_recommender
from actsr_cli.experiment.record import RunRecord
from actsr_cli.experiment.run import Run, open_run
from actsr_cli.recommending.recommender import Recommender
from actsr_cli.serving import answers
from actsr_cli.serving.batching import Batcher
from actsr_cli.serving.limits import Limits
from actsr_cli.serving.metrics import Metrics
from actsr_cli.serving.schema import ForMany, ForOne

T = TypeVar("T")


@dataclass(frozen=True)
class Served:
    """A run whose model is loaded.

    Attributes:
        record: its record.
        recommender: its model.
    """

    record: RunRecord
    recommender: Recommender


@dataclass(frozen=True)
class Opener:
    """Opens runs for the service.

    Attributes:
        data_dir: root of the data sets, which recommenders ask for.
        device: where to compute.
        batch_size: the most histories of a batch.
    """

    data_dir: Path
    device: str
    batch_size: int

    def open(self, run: Run) -> Served:
        """The model of a run.

        Raises:
            ActsrError: the run has no model, or its files are damaged.
        """
        return Served(run.record, open_recommender(run, self.data_dir, self.device, self.batch_size))

    def open_folder(self, path: Path) -> Served:
        """The model of the run in a folder; see `open`."""
        return self.open(open_run(path))


class Service:
    """The model that is served now; another one can take its place at any time.

    Args:
        served: the first model.
        limits: of batches and queue.
    """

    def __init__(self, served: Served, limits: Limits) -> None:
        self.metrics = Metrics(lambda: self.batcher.held)
        self.batcher = Batcher[ForOne | ForMany, bytes](self._recommend, limits, self.metrics.batch_done)
        self.serve(served)

    def serve(self, served: Served) -> None:
        """Let this model answer all batches that begin from now on."""
        self.served = served
        self.metrics.model.info({"run": served.recommender.name})

    @property
    def recommender(self) -> Recommender:
        """The model that is served now."""
        return self.served.recommender

    async def recommend(self, asked: ForOne | ForMany) -> bytes:
        """The answer to a request for recommendations, as JSON."""
        return await self.batcher.ask(asked, 1 if isinstance(asked, ForOne) else len(asked.histories))

    async def compute(self, work: Callable[[Recommender], T], cost: int) -> T:
        """The result of other work with the model that is served when it begins; for `cost` see `Batcher.alone`."""
        return await self.batcher.alone(lambda: work(self.recommender), cost)

    def _recommend(self, asked: Sequence[ForOne | ForMany]) -> list[bytes | Exception]:
        return answers.recommendations(self.recommender, asked)
