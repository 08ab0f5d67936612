"""The precision that a run is trained with."""

from __future__ import annotations

from torch import Tensor

from actsr_cli.config.training import FixedPrecision
from actsr_cli.experiment.run import Run
from actsr_cli.training.losses import PredictionLoss
from actsr_cli.training.precision import faster_precision
from actsr_cli.training.trainer import Observer


def chosen_precision(run: Run, items: Tensor, loss: PredictionLoss, observer: Observer) -> FixedPrecision:
    """The precision of a run's settings; `auto` is measured when it begins, and kept when it is resumed.

    Args:
        run: the run.
        items: (n_items + 1, width) item vectors of its model.
        loss: its prediction loss.
        observer: is told what is chosen, and why.
    """
    wanted = run.config.training.precision
    if wanted != "auto":
        return wanted
    if run.record.precision is not None:
        return run.record.precision
    precision, reason = faster_precision(items, loss)
    observer.noted(f"Precision {precision}: {reason}")
    return precision
