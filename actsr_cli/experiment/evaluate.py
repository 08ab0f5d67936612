"""Evaluating a finished run, with popularity as the floor."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from actsr_cli.config import NoCalibration, SplitConfig
from actsr_cli.config.models import PopularityOptions
from actsr_cli.data.sequences import SequenceData
from actsr_cli.data.splits import SplitName
from actsr_cli.errors import RunError
from actsr_cli.evaluation.judging import Judgement, SplitFacts, judge, ranker_for, split_facts
from actsr_cli.evaluation.metrics import Measure
from actsr_cli.evaluation.protocol import Protocol
from actsr_cli.evaluation.ranker import Ranker
from actsr_cli.experiment.model import check_held_out, open_model
from actsr_cli.experiment.run import Run
from actsr_cli.models.base import Model
from actsr_cli.models.popularity import Popularity
from actsr_cli.training.device import choose_device


@dataclass(frozen=True)
class Request:
    """What is to be measured.

    Attributes:
        split: `valid` or `test`.
        protocol: what targets are ranked among.
        wanted: the measures.
        batch_size: histories scored at a time.
        device: where to score, as in `training.device`.
    """

    split: SplitName
    protocol: Protocol
    wanted: tuple[Measure, ...]
    batch_size: int = 256
    device: str = "auto"


@dataclass(frozen=True)
class Evaluation:
    """How a run ranks the targets of a split.

    Attributes:
        epoch: the epoch that the parameters are from.
        judgement: the model's ranking and metrics.
        popularity: metrics of ranking by popularity, by name.
        facts: what the split holds and leaves out.
    """

    epoch: int
    judgement: Judgement
    popularity: dict[str, float]
    facts: SplitFacts


def trained_model(run: Run, data: SequenceData) -> tuple[Model, int]:
    """The best model of a run, in evaluation mode on the CPU, and the epoch it is from.

    Raises:
        RunError: the run has no model, or `data` are not what it was trained on.
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
    """A split for people."""
    return ", ".join(f"{key} {value}" for key, value in split.model_dump().items())


def judge_run(
    run: Run, data: SequenceData, request: Request, on_batch: Callable[[int, int], None] | None = None
) -> tuple[Judgement, int]:
    """How a run's best model ranks a split, and the epoch it is from; see `evaluate_run`."""
    check_held_out(run)
    model, epoch = trained_model(run, data)
    return judge(_ranker(model, data, request), data, request.split, request.wanted, on_batch), epoch


def evaluate_run(
    run: Run, data: SequenceData, request: Request, on_batch: Callable[[int, int], None] | None = None
) -> Evaluation:
    """Rank every target of a split; the metrics are kept in the run's metrics.json.

    Args:
        run: a trained run.
        data: the data it was trained on, split as it was.
        request: what is measured.
        on_batch: hears (done, total) targets of the model's pass.
    """
    judgement, epoch = judge_run(run, data, request, on_batch)
    floor = popularity_model(data)
    of_floor = judge(_ranker(floor, data, request), data, request.split, request.wanted)
    evaluation = Evaluation(epoch, judgement, of_floor.values, split_facts(data, request.split))
    key = f"{request.split}/{request.protocol.key}"
    former = run.metrics.get(key, {})
    kept = former if former.get("epoch") == epoch else {}  # with other cut-offs
    facts = evaluation.facts
    counts = {"epoch": epoch, "users": facts.users, "targets": facts.targets}
    run.add_metrics(key, {**kept, **counts, **judgement.values})
    return evaluation


def popularity_model(data: SequenceData) -> Model:
    """Scores every item by its number of training interactions: the floor under every model."""
    model = Popularity(PopularityOptions(), NoCalibration(), data.n_items)
    model.fit(*data.training_part())
    return model


def _ranker(model: Model, data: SequenceData, request: Request) -> Ranker:
    device = choose_device(request.device)
    return ranker_for(model.to(device), data, request.protocol, device=device, batch_size=request.batch_size)
