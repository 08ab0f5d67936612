"""The item vectors as a loss sees them if only the rows that it reads are updated."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from actsr_cli.errors import ConfigError
from actsr_cli.models.base import SequentialModel
from actsr_cli.training.losses.base import PredictionLoss


def compared_items(model: SequentialModel, loss: PredictionLoss) -> Tensor:
    """The item vectors that a loss compares hidden states with: `ItemRows` if the item table has sparse gradients."""
    if any(isinstance(module, nn.Embedding) and module.sparse for module in model.modules()):
        return cast(Tensor, ItemRows(model, loss))
    return model.compared(model.item_vectors())


class ItemRows:
    """Stands for the item vectors, (n_items + 1, width): a loss looks rows up, and no other row is read.

    `items[ids]` and `F.embedding(ids, items)` return rows; `len`, `shape`, `dtype`, `device` and `detach` are those of
    the item vectors. Everything else would read all rows.

    Args:
        model: the model whose items they are.
        loss: the loss, which an error names.
        trained: whether rows have a gradient.

    Raises:
        ConfigError: the loss does something else with them.
    """

    def __init__(self, model: SequentialModel, loss: PredictionLoss, *, trained: bool = True) -> None:
        vectors = model.item_vectors()
        self.shape, self.dtype, self.device = vectors.shape, vectors.dtype, vectors.device
        self._model, self._loss, self._trained = model, loss, trained

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, ids: Tensor) -> Tensor:
        if not isinstance(ids, Tensor) or ids.dtype != torch.int64:
            raise _refused(self._loss.options.name)
        rows: Tensor = self._model.compared(self._model.tables()[0](ids))
        return rows if self._trained else rows.detach()

    def detach(self) -> ItemRows:
        """The same without a gradient."""
        return ItemRows(self._model, self._loss, trained=False)

    @classmethod
    def __torch_function__(
        cls,
        function: Callable[..., Any],
        types: Sequence[type],
        arguments: Sequence[Any] = (),
        named: Mapping[str, Any] | None = None,
    ) -> Tensor:
        rows = next((each for each in (*arguments, *(named or {}).values()) if isinstance(each, ItemRows)), None)
        if rows is not None and function is F.embedding and rows is arguments[1]:
            found: Tensor = rows[arguments[0]]
            return found
        raise _refused("of your own" if rows is None else rows._loss.options.name)  # None: it is within a list

    def __getattr__(self, name: str) -> Any:
        raise _refused(self._loss.options.name)


def _refused(loss: str) -> ConfigError:
    return ConfigError(
        f"training.item_updates: touched cannot be used with loss {loss}: it reads all item vectors, not only those of "
        "targets and negatives",
        hint="Look items up as in items[targets] and items[negatives], or set training.item_updates=all.",
    )
