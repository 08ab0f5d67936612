"""What was measured on one run."""

from __future__ import annotations

from dataclasses import dataclass

from actsr_cli.evaluation.significance import Interval
from actsr_cli.inspection.faithfulness import Faithfulness
from actsr_cli.inspection.learned import LayerCurves
from actsr_cli.inspection.robustness import Disturbed, Mass


@dataclass(frozen=True)
class Findings:
    """What was measured on one run over a sample of users.

    Attributes:
        run: its name.
        users: in the sample.
        effective_share: per stage the share of a history that the prediction effectively looks at.
        curves: what each layer's calibrators have learned.
        noise_mass: the attention on items known to be noise (the demo data's); None elsewhere.
        faithfulness: None unless asked for.
        robustness: empty unless asked for.
    """

    run: str
    users: int
    effective_share: dict[str, Interval]
    curves: list[LayerCurves]
    noise_mass: Mass | None
    faithfulness: Faithfulness | None
    robustness: list[Disturbed]
