"""Evaluating a finished run, with popularity as the floor."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from actsr_cli.data.sequences import SequenceData, Split
from actsr_cli.errors import RunError
from actsr_cli.evaluation.metrics import summarize
from actsr_cli.evaluation.popularity import popularity_scorer
from actsr_cli.evaluation.ranking import RankedSplit, Seen, evaluate
from actsr_cli.experiment.run import Run
from actsr_cli.models.base import Recommender
from actsr_cli.models.registry import build_model
from actsr_cli.training.checkpoint import load_model
from actsr_cli.training.device import choose_device


@dataclass(frozen=True)
class Evaluation:
    """How a run ranks the held-out items of a split.

    Attributes:
        epoch: the epoch that the parameters are from.
        metrics: the model's metrics by name.
        popularity: the metrics of ranking by popularity, by name.
        ranked: the model's rank for every user.
    """

    epoch: int
    metrics: dict[str, float]
    popularity: dict[str, float]
    ranked: RankedSplit


def trained_model(run: Run, data: SequenceData) -> tuple[Recommender, int]:
    """The best model of a run, in evaluation mode on the CPU, and the epoch it is from.

    Raises:
        RunError: the run has no model, or `data` are not what it was trained on.
    """
    if not run.model_file.exists():
        raise RunError(f"{run.name} has no trained model yet")
    if run.record["fingerprint"] != data.fingerprint:
        raise RunError(
            f"the data of {run.name} have changed since it was trained (fingerprint {data.fingerprint}, "
            f"the run has {run.record['fingerprint']})",
            hint="Restore the data, or train again.",
        )
    model = build_model(run.config.model, run.config.calibration, data.n_items, data.n_users)
    epoch = load_model(run.model_file, model)
    return model.eval(), epoch


def rank_run(
    run: Run,
    data: SequenceData,
    *,
    split: Split,
    seen: Seen,
    batch_size: int,
    device: str = "auto",
    on_batch: Callable[[int, int], None] | None = None,
) -> tuple[RankedSplit, int]:
    """The ranks that a run's best model gives, and the epoch it is from; see `evaluate_run`."""
    model, epoch = trained_model(run, data)
    where = choose_device(device)
    ranked = evaluate(
        model.to(where).score,
        data,
        split,
        max_length=run.config.model.max_length,
        seen=seen,
        batch_size=batch_size,
        device=where,
        on_batch=on_batch,
    )
    return ranked, epoch


def evaluate_run(
    run: Run,
    data: SequenceData,
    *,
    split: Split,
    seen: Seen,
    ks: Sequence[int],
    batch_size: int,
    device: str = "auto",
    on_batch: Callable[[int, int], None] | None = None,
) -> Evaluation:
    """Rank every held-out item of a split over the whole catalogue; the metrics are kept in the run's metrics.json.

    Args:
        run: a trained run.
        data: the data it was trained on.
        split: `valid` or `test`.
        seen: whether the user's own history is ranked (protocol A) or excluded (protocol B).
        ks: cut-offs of the metrics.
        batch_size: users scored at a time.
        device: where to score, as in `training.device`.
        on_batch: hears (done, total) users of the model's pass.
    """
    ranked, epoch = rank_run(run, data, split=split, seen=seen, batch_size=batch_size, device=device, on_batch=on_batch)
    where = choose_device(device)
    floor = evaluate(
        popularity_scorer(data, where),
        data,
        split,
        max_length=run.config.model.max_length,
        seen=seen,
        batch_size=batch_size,
        device=where,
    )
    evaluation = Evaluation(epoch, summarize(ranked.ranks, ks), summarize(floor.ranks, ks), ranked)
    former = run.metrics.get(f"{split}/{seen}", {})
    kept = former if former.get("epoch") == epoch else {}  # with other cut-offs
    run.add_metrics(f"{split}/{seen}", {**kept, "epoch": epoch, "users": len(ranked.ranks), **evaluation.metrics})
    return evaluation
