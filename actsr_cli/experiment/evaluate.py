"""Evaluates a finished run, with ranking by popularity as the baseline."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from html import escape
from logging import getLogger

import pandas as pd

from actsr_cli.config import EvaluationConfig, NoCalibration, SplitConfig
from actsr_cli.config.models import PopularityOptions
from actsr_cli.data.sequences import SequenceData
from actsr_cli.data.splits import SplitName
from actsr_cli.errors import DiskError, RunError
from actsr_cli.evaluation.judging import Judgement, SplitFacts, judge, ranker_for, split_facts
from actsr_cli.evaluation.metrics import Measure, chosen_metrics, measures
from actsr_cli.evaluation.protocol import Protocol
from actsr_cli.evaluation.ranker import Ranker
from actsr_cli.experiment.model import check_held_out, open_model
from actsr_cli.experiment.run import Run
from actsr_cli.models.base import Model
from actsr_cli.models.popularity import Popularity
from actsr_cli.training.device import choose_device

_log = getLogger("actsr")
_DECIMALS = "{:.4f}".format


@dataclass(frozen=True)
class Request:
    """What an evaluation measures.

    Attributes:
        split: `valid` or `test`.
        protocol: which items a target is ranked among.
        wanted: the metrics.
        batch_size: histories scored at a time.
        device: where to score, as in `training.device`.
    """

    split: SplitName
    protocol: Protocol
    wanted: tuple[Measure, ...]
    batch_size: int = 256
    device: str = "auto"


@dataclass(frozen=True, repr=False)
class Evaluation:
    """How a run ranks the targets of a split.

    Attributes:
        run: the name of the run.
        request: what was measured.
        epoch: the epoch of the parameters.
        judgement: the model's ranking and metrics.
        popularity: metrics of ranking by popularity, by name.
        facts: size of the split, and the users it leaves out.
        data: the data that were ranked.
    """

    run: str
    request: Request
    epoch: int
    judgement: Judgement
    popularity: dict[str, float]
    facts: SplitFacts
    data: SequenceData

    @property
    def metrics(self) -> dict[str, float]:
        """The model's metrics by name, such as `ndcg@10`: means over users."""
        return self.judgement.values

    def to_frame(self) -> pd.DataFrame:
        """One row per metric: of the model, and of popularity."""
        return pd.DataFrame({"model": self.metrics, "popularity": self.popularity}).rename_axis("metric")

    def __repr__(self) -> str:
        return f"{self._title}\n{self.to_frame().to_string(float_format=_DECIMALS)}"

    def _repr_html_(self) -> str:
        table: str = self.to_frame().to_html(float_format=_DECIMALS)
        return f"<h4>{escape(self._title)}</h4>{table}"

    @property
    def _title(self) -> str:
        users, protocol = f"{self.facts.users:,} users", self.request.protocol.title
        return f"{self.run}, epoch {self.epoch}: {self.request.split} split, {users}, protocol {protocol}"


def request_for(
    settings: EvaluationConfig,
    data: SequenceData,
    protocol: Protocol,
    *,
    split: SplitName = "test",
    metrics: Sequence[str] | None = None,
    k: Sequence[int] | None = None,
    batch_size: int | None = None,
    device: str = "auto",
) -> Request:
    """The request for a run; None takes the run's setting.

    Args:
        settings: the settings of the run.
        data: the data to rank; without categories, `all` has no metrics of categories.
        protocol: which items a target is ranked among.
        split: `valid` or `test`.
        metrics: names of metrics, or `all`, see `chosen_metrics`.
        k: cut-offs.
        batch_size: histories scored at a time.
        device: where to score.

    Raises:
        ConfigError: a metric is unknown.
    """
    names = chosen_metrics(metrics or settings.metrics, has_categories=data.categories is not None)
    return Request(
        split=split,
        protocol=protocol,
        wanted=tuple(measures(names, k or settings.k)),
        batch_size=batch_size or settings.batch_size,
        device=device,
    )


def trained_model(run: Run, data: SequenceData) -> tuple[Model, int]:
    """The best model of a run, in evaluation mode on the CPU, and its epoch.

    Raises:
        RunError: the run has no model, or was trained on other data.
    """
    fingerprint = run.record.fingerprint
    if fingerprint != data.fingerprint:
        raise RunError(f"{run.name} was trained on other data (fingerprint {fingerprint}, not {data.fingerprint})")
    if run.config.split != data.split:
        raise RunError(
            f"{run.name} was trained on another split: on {_said(run.config.split)}, not on {_said(data.split)}",
            hint="Items that one run is tested on may have trained the other: compare runs with equal splits.",
        )
    return open_model(run)


def _said(split: SplitConfig) -> str:
    """A split as text."""
    return ", ".join(f"{key} {value}" for key, value in split.model_dump().items())


def judge_run(
    run: Run, data: SequenceData, request: Request, on_batch: Callable[[int, int], None] | None = None
) -> tuple[Judgement, int]:
    """The ranking of a split by a run's best model, and the model's epoch; see `evaluate_run`."""
    check_held_out(run)
    model, epoch = trained_model(run, data)
    return judge(_ranker(model, data, request), data, request.split, request.wanted, on_batch), epoch


def evaluate_run(
    run: Run, data: SequenceData, request: Request, on_batch: Callable[[int, int], None] | None = None
) -> Evaluation:
    """Rank every target of a split. The metrics are saved in the run's metrics.json; where they cannot, this is logged.

    Args:
        run: a trained run.
        data: the data that the run was trained on, with the same split.
        request: what to measure.
        on_batch: called with the number of ranked targets and of all targets.
    """
    judgement, epoch = judge_run(run, data, request, on_batch)
    floor = popularity_model(data)
    of_floor = judge(_ranker(floor, data, request), data, request.split, request.wanted)
    evaluation = Evaluation(
        run.name, request, epoch, judgement, of_floor.values, split_facts(data, request.split), data
    )
    key = f"{request.split}/{request.protocol.key}"
    counts = {"epoch": epoch, "users": evaluation.facts.users, "targets": evaluation.facts.targets}
    try:
        run.add_metrics(key, {**counts, **judgement.values})
    except DiskError as error:
        _log.warning("the metrics are not saved: %s", error.message)
    return evaluation


def popularity_model(data: SequenceData) -> Model:
    """A model that scores every item by its number of training interactions: the baseline of every model."""
    model = Popularity(PopularityOptions(), NoCalibration(), data.n_items)
    model.fit(*data.training_part())
    return model


def _ranker(model: Model, data: SequenceData, request: Request) -> Ranker:
    device = choose_device(request.device)
    return ranker_for(model.to(device), data, request.protocol, device=device, batch_size=request.batch_size)
