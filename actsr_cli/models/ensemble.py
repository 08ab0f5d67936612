"""An ensemble: ranks by the mean of the scores of several trained models."""

from __future__ import annotations

from typing import ClassVar, cast

import torch
from torch import Tensor, nn

from actsr_cli.batch import Batch
from actsr_cli.config import CalibrationOptions
from actsr_cli.config.models import EnsembleOptions
from actsr_cli.models.base import Model, SequentialModel
from actsr_cli.models.encoder import HIDDEN_STATES, Encoded, Pass
from actsr_cli.models.registry import build_model
from actsr_cli.models.repeats import RepeatBonus


class Ensemble(SequentialModel):
    """Sequential models side by side: hidden states and item vectors are those of all of them, one after another.

    The dot product of two such vectors is the sum of the models' scores, so whatever works on hidden states and item
    vectors works on an ensemble. It is not trained itself.

    Attributes:
        members: the models.
    """

    config: EnsembleOptions  # type: ignore[assignment]
    calibrated: ClassVar[bool] = False

    def __init__(
        self, options: EnsembleOptions, calibration: CalibrationOptions, n_items: int, n_users: int = 0
    ) -> None:
        Model.__init__(self, options, calibration, n_items, n_users)
        built = [build_model(member.model, member.calibration, n_items, n_users) for member in options.members]
        self.members = nn.ModuleList(built)
        bonuses = [model.repeat_bonus for model in self._models]
        self.repeat_bonus = _MeanBonus(bonuses) if any(bonus is not None for bonus in bonuses) else None
        self._vectors: Tensor
        self.register_buffer("_vectors", self._side_by_side(), persistent=False)
        self.register_load_state_dict_post_hook(self._loaded)  # type: ignore[no-untyped-call]

    @property
    def _models(self) -> list[SequentialModel]:
        return [cast(SequentialModel, member) for member in self.members]

    def encode(self, batch: Batch, wanted: Pass = HIDDEN_STATES) -> Encoded:
        """The hidden states alone: an ensemble has no attention of its own to look at."""
        rows = Pass(rows=wanted.rows)
        states = [model.compared(model.encode(batch, rows).hidden) for model in self._models]
        return Encoded(hidden=torch.cat(states, dim=-1) / len(states))

    def item_vectors(self) -> Tensor:
        return self._vectors

    def compared(self, vectors: Tensor) -> Tensor:
        """Hidden states or item vectors as they are: each model has scaled its own part."""
        return vectors

    @staticmethod
    def _loaded(model: Ensemble, _: object) -> None:
        """Take the item vectors of the weights that were loaded."""
        model._vectors.copy_(model._side_by_side())

    @torch.no_grad()
    def _side_by_side(self) -> Tensor:
        """(n_items + 1, all widths): the models' item vectors one after another."""
        return torch.cat([model.compared(model.item_vectors()) for model in self._models], dim=1)


class _MeanBonus(RepeatBonus):
    """The mean of the models' bonuses for items that the history holds; a model without one adds nothing."""

    def __init__(self, bonuses: list[RepeatBonus | None]) -> None:
        super().__init__()
        self._bonuses = [bonuses]  # in a list, so that their parameters are not registered a second time

    @property
    def bonus(self) -> Tensor:
        (bonuses,) = self._bonuses
        return torch.stack([bonus.bonus for bonus in bonuses if bonus is not None]).sum() / len(bonuses)
