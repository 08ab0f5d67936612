"""Opens a run for recommendations."""

from __future__ import annotations

from pathlib import Path

from actsr_cli.experiment.data import data_of
from actsr_cli.experiment.model import open_model
from actsr_cli.experiment.run import Run
from actsr_cli.recommending.recommender import Recommender
from actsr_cli.training.device import choose_device


def open_recommender(run: Run, data_dir: Path, device: str = "auto", batch_size: int | None = None) -> Recommender:
    """The best model of a run as a recommender. It needs only the run's folder.

    Args:
        run: a run with a trained model.
        data_dir: root of the data sets, for the histories of the data set's users.
        device: where to compute, as in `training.device`.
        batch_size: histories scored at a time; Default: the run's.

    Raises:
        RunError: the run has no model, or its files are damaged.
        DataError: its vocabulary is missing or damaged.
        ConfigError: the device is not available.
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
