"""Makes a finished run out of weights that another program has trained."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor

from actsr_cli.config import RunConfig
from actsr_cli.data.prepare import Prepared
from actsr_cli.errors import DataError
from actsr_cli.experiment.check import check_trainable
from actsr_cli.experiment.record import Status, now
from actsr_cli.experiment.recorder import failure_recorded
from actsr_cli.experiment.run import Origin, Run, new_run
from actsr_cli.models.base import SequentialModel
from actsr_cli.models.recbole import Weights, reordered
from actsr_cli.models.reference import load_published
from actsr_cli.models.registry import build_model, model_size
from actsr_cli.recommending.reading import read_ids
from actsr_cli.training.checkpoint import save_model
from actsr_cli.words import counted

_PADDING = "[PAD]"
"""RecBole's name of id 0."""


@dataclass(frozen=True)
class Tokens:
    """Files with the raw ids behind the rows of a checkpoint, one per line in its order.

    Attributes:
        items: the file of items.
        users: the file of users, for a model that learns about users.
    """

    items: Path
    users: Path | None = None


def import_weights(
    weights: Weights,
    config: RunConfig,
    prepared: Prepared,
    tokens: Tokens,
    *,
    runs_dir: Path,
    name: str | None = None,
    origin: Origin | None = None,
) -> Run:
    """Make a finished run.

    Args:
        weights: the weights.
        config: the settings of their model.
        prepared: the data set, whose items are those of the weights, perhaps in another order.
        tokens: the order of items, and of users, in the weights.
        runs_dir: root of the runs.
        name: last part of the run's name. Default: date and time.
        origin: where the run comes from, for its record.

    Raises:
        DataError: the weights do not fit the settings, the data or the tokens.
        ConfigError: the model cannot be built.
        RunError: a run of this name exists already.
    """
    data = prepared.data
    check_trainable(config, data)
    others = 2 if config.model.name == "bert4rec" else 1  # padding and the mask
    n_items = weights.n_rows("item_embedding.weight") - others
    items = _order(tokens.items, n_items, data.item_names[1:], "item")
    users = None
    if config.model.needs_users:
        if tokens.users is None:
            raise DataError(
                f"{config.model.title} learns about users: give the order of users in {weights.file}, too",
                hint="On the command line: --user-tokens FILE.",
            )
        users = _order(tokens.users, weights.n_rows("user_embedding.weight") - 1, data.user_names, "user")
    elif tokens.users is not None:
        raise DataError(f"{config.model.title} does not learn about users: {tokens.users} has no use")
    model = _model(weights, config, items, users)
    about = replace(origin or Origin(), data_folder=prepared.folder, imported=str(weights.file))
    with new_run(runs_dir, config, data, name=name, origin=about) as run, failure_recorded(run):
        save_model(run.model_file, model, weights.epoch)
        parameters = sum(parameter.numel() for parameter in model.parameters())
        run.update(status=Status.FINISHED, parameters=parameters, ended=now())
    return run


def _model(weights: Weights, config: RunConfig, items: Tensor, users: Tensor | None) -> SequentialModel:
    """The model of the settings with the weights."""
    sizes = len(items) - 1, 0 if users is None else len(users) - 1
    there = sum(values.numel() for values in weights.parameters.values())
    # AC-BERT4Rec's gates have a slot less than ours, see `load_published`; nothing else may be larger than the file
    if model_size(config.model, config.calibration, *sizes) > 2 * there:
        raise DataError(f"{weights.file} does not fit the settings: their model is larger than the file")
    model = build_model(config.model, config.calibration, *sizes)
    if not isinstance(model, SequentialModel):
        raise DataError(f"{config.model.title} has no weights to import")
    try:
        load_published(model, reordered(weights, items, users))
    except DataError as error:
        raise DataError(f"{weights.file} does not fit the settings: {error.message}", hint=error.hint) from error
    return model.eval()


def _order(file: Path, count: int, names: Sequence[str], kind: str) -> Tensor:
    """(names + 1,) the row of each of our names in a checkpoint; row 0 is padding in both.

    Args:
        file: the raw ids of the checkpoint's rows, without padding or with RecBole's name of it in the first line.
        count: rows of the checkpoint, padding not counted.
        names: our raw ids in our order.
        kind: what they are, for errors.

    Raises:
        DataError: the file does not have exactly these names, each once.
    """
    tokens = read_ids(file, names)
    tokens = tokens[1:] if tokens[0] == _PADDING else tokens
    if len(tokens) != count:
        raise DataError(f"{file} has {counted(len(tokens), kind)}, and the checkpoint has {count:,}")
    if len(names) != count:
        raise DataError(
            f"the data set has {counted(len(names), kind)}, and the checkpoint has {count:,}",
            hint="Prepare the data with the filters that the checkpoint was trained with: actsr preprocess --help",
        )
    rows = {token: row for row, token in enumerate(tokens, 1)}
    if len(rows) < count:
        twice = next(token for row, token in enumerate(tokens, 1) if rows[token] != row)
        raise DataError(f"{file} has {kind} '{twice}' twice")
    if missing := [name for name in names if name not in rows]:
        raise DataError(f"{file} lacks {counted(len(missing), kind)} of the data set, such as '{missing[0]}'")
    return torch.tensor([0, *(rows[name] for name in names)])
