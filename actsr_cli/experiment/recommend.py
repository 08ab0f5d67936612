"""Opening a run to recommend with it."""

from __future__ import annotations

from pathlib import Path

from actsr_cli.experiment.data import data_of
from actsr_cli.experiment.model import open_model
from actsr_cli.experiment.run import Run
from actsr_cli.recommending.recommender import Recommender
from actsr_cli.training.device import choose_device


def open_recommender(run: Run, data_dir: Path, device: str = "auto", batch_size: int | None = None) -> Recommender:
    """The best model of a run, ready to recommend. It needs the run's folder alone.

    Args:
        run: a run with a trained model.
        data_dir: where the histories of the data set's users are, for whoever asks for them.
        device: where to compute, as in `training.device`.
        batch_size: histories scored at a time; None takes the run's.

    Raises:
        RunError: the run has no model, or its files are damaged.
        DataError: its vocabulary is missing or damaged.
        ConfigError: the device is not there.
    """
    where = choose_device(device)
    model, _ = open_model(run)
    return Recommender(
        model.to(where),
        run.vocabulary(),
        name=run.name,
        device=where,
        batch_size=batch_size or run.config.evaluation.batch_size,
        open_data=lambda: data_of(run, data_dir).data,
    )
