"""The measurements of one run."""

from __future__ import annotations

from dataclasses import dataclass, field

from actsr_cli.evaluation.significance import Interval
from actsr_cli.inspection.faithfulness import Faithfulness
from actsr_cli.inspection.learned import LayerCurves
from actsr_cli.inspection.robustness import Disturbed, Mass


@dataclass(frozen=True)
class Findings:
    """The measurements of one run over a sample of users.

    Attributes:
        run: name of the run.
        users: number of users in the sample.
        effective_share: per stage the effective share of the history that the prediction attends to.
        curves: what the calibrators of each layer have learned.
        noise_mass: the attention on known noise items of the demo data; None for other data.
        faithfulness: None if not measured.
        robustness: empty if not measured.
        filter_shares: the share of each layer's filter; empty without filters.
    """

    run: str
    users: int
    effective_share: dict[str, Interval]
    curves: list[LayerCurves]
    noise_mass: Mass | None
    faithfulness: Faithfulness | None
    robustness: list[Disturbed]
    filter_shares: list[float] = field(default_factory=list)
