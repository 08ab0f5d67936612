"""The losses by name: built-in ones, registered ones, and `package.module:Class`."""

from __future__ import annotations

from torch import Tensor

from actsr_cli.config import LOSSES, CustomLoss, LossOptions
from actsr_cli.errors import ActsrError, ConfigError
from actsr_cli.plugins import SEE_TRACEBACK, check_own_options, import_class, in_words, registered
from actsr_cli.training.losses.base import PredictionLoss


def check_loss(options: LossOptions) -> type[PredictionLoss]:
    """Check the settings of a loss, and return its class.

    Raises:
        ConfigError: a custom class cannot be imported, or does not read a key of `loss.options`.
    """
    found = import_class(
        options.target or registered(options.name, LOSSES.points()),
        PredictionLoss,
        what="loss",
        hint="A loss is a subclass of actsr_cli.training.losses.PredictionLoss, see docs/your-own-loss.md.",
    )
    if isinstance(options, CustomLoss):
        check_own_options("loss", options.options, found.own, found.__name__)
    return found


def build_loss(options: LossOptions, n_items: int, item_counts: Tensor) -> PredictionLoss:
    """Build a loss from its settings.

    Args:
        options: the settings.
        n_items: items of the catalogue, padding not counted.
        item_counts: (n_items + 1,) how often each item can be a target in training, on the device of the training.

    Raises:
        ConfigError: see `check_loss`; or a custom class fails.
        DataError: the catalogue is too small for the loss.
    """
    chosen = check_loss(options)
    try:
        return chosen(options, n_items, item_counts)
    except ActsrError:
        raise
    except Exception as error:
        raise ConfigError(f"loss '{options.name}' cannot be built: {in_words(error)}", hint=SEE_TRACEBACK) from error
