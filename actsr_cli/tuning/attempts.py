"""Which trials of a study count: not those that another trial repeats, nor surplus ones."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

import optuna
from optuna.pruners import SuccessiveHalvingPruner
from optuna.trial import FrozenTrial

AGAIN, DEATHS, SURPLUS = "again", "deaths", "surplus"
"""Attributes of a trial: number of the trial that it repeats, how often its process died, whether it is surplus."""


def counted(trials: Sequence[FrozenTrial]) -> list[FrozenTrial]:
    """The trials without those that another trial repeats and without surplus ones."""
    repeated = {trial.user_attrs[AGAIN] for trial in trials if AGAIN in trial.user_attrs}
    return [trial for trial in trials if trial.number not in repeated and SURPLUS not in trial.user_attrs]


class Halving(SuccessiveHalvingPruner):
    """Successive halving among the trials that count: an interrupted trial does not compete with its repetition."""

    def prune(self, study: optuna.Study, trial: FrozenTrial) -> bool:
        """Whether the trial is stopped early."""
        return super().prune(cast(optuna.Study, _Counted(study)), trial)


class _Counted:
    """A study that shows the trials that count.

    Args:
        study: the whole study.
    """

    def __init__(self, study: optuna.Study) -> None:
        self._study = study

    def get_trials(self, **options: Any) -> list[FrozenTrial]:
        return counted(self._study.get_trials(**options))

    def __getattr__(self, name: str) -> Any:
        return getattr(self._study, name)
