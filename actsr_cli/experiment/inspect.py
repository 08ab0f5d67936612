"""Looking into a finished run, alone or against another: whose attention, and what was measured on it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from actsr_cli.batch import Batch
from actsr_cli.data.catalog import same_data_set
from actsr_cli.data.demo_items import NOISE_TITLES
from actsr_cli.data.sequences import SequenceData, Split
from actsr_cli.errors import RunError
from actsr_cli.evaluation.ranking import Seen
from actsr_cli.experiment.evaluate import trained_model
from actsr_cli.experiment.model import check_held_out
from actsr_cli.experiment.run import Run
from actsr_cli.inspection.answers import Case, split_cases
from actsr_cli.inspection.faithfulness import faithfulness
from actsr_cli.inspection.findings import Findings
from actsr_cli.inspection.learned import learned_curves
from actsr_cli.inspection.robustness import Mass, attention_mass, robustness
from actsr_cli.inspection.sharpness import effective_share
from actsr_cli.inspection.trace import trace
from actsr_cli.inspection.views import Subject, View, is_calibrated, view
from actsr_cli.models.base import SequentialModel
from actsr_cli.training.device import choose_device


@dataclass(frozen=True)
class Inspected:
    """A run whose attention can be looked at.

    Attributes:
        run: the run.
        model: its best model, on `device`, in evaluation mode.
        data: what it was trained on.
        device: where it computes.
    """

    run: Run
    model: SequentialModel
    data: SequenceData
    device: torch.device

    @property
    def seen(self) -> Seen:
        """The protocol of its ranks: as it was trained."""
        return self.run.config.evaluation.seen

    @property
    def calibrated(self) -> bool:
        return is_calibrated(self.model)


def open_for_inspection(run: Run, data: SequenceData, device: str = "auto") -> Inspected:
    """The best model of a run, ready to be looked into.

    Raises:
        RunError: the run has no model, its data have changed, or its model has no attention.
    """
    check_held_out(run)
    model, _ = trained_model(run, data)
    if not isinstance(model, SequentialModel):
        raise RunError(f"{run.name} has no attention to inspect", hint="Inspect a transformer, such as ac-sasrec.")
    if model.needs_timestamps and data.timestamps is None:
        raise RunError(f"{run.name} reads times, and {data.name} has none")
    where = choose_device(device)
    model.to(where)
    one_item = torch.ones(1, 1, dtype=torch.int64, device=where)
    trace(model, Batch(one_item, one_item[0], timestamps=one_item.float()))  # says so where it has no attention
    return Inspected(run, model, data, where)


def look(inspected: Inspected, subjects: Sequence[Subject]) -> list[View]:
    """How a run's model sees some subjects.

    Raises:
        RunError: a history has no times, and the model reads them.
    """
    if inspected.model.needs_timestamps and any(subject.case.times is None for subject in subjects):
        raise RunError(
            f"{inspected.run.name} reads the times of interactions, which a raw history does not have",
            hint="Look at users of the data set: --user or --random.",
        )
    return [view(inspected.model, each.case, device=inspected.device, seen=inspected.seen) for each in subjects]


def measure(
    inspected: Inspected,
    split: Split,
    *,
    sample: int,
    seed: int,
    with_faithfulness: bool,
    noise: Sequence[float],
    on_step: Callable[[str], None] | None = None,
) -> Findings:
    """Measure a run's attention over a sample of users, the same for every run on the same data.

    Args:
        inspected: the run.
        split: whose histories and targets.
        sample: users at most.
        seed: of the sample, of noise and of bootstraps.
        with_faithfulness: hold the attention against what predictions rest on.
        noise: shares of noise to put into histories.
        on_step: hears what is being measured.
    """
    model, device, data = inspected.model, inspected.device, inspected.data
    say = on_step or (lambda _: None)
    users = data.held_out(split).users
    drawn = np.sort(np.random.default_rng(seed).choice(users, min(sample, len(users)), replace=False))
    cases = split_cases(data, split, drawn)
    say("what the calibrators learned")
    curves = learned_curves(model, cases, device=device)
    return Findings(
        run=inspected.run.name,
        users=len(cases),
        effective_share=effective_share(model, cases, device=device, seed=seed),
        curves=curves,
        noise_mass=_known_noise(inspected, cases, seed),
        faithfulness=faithfulness(model, cases, device=device, seed=seed, on_step=say) if with_faithfulness else None,
        robustness=robustness(model, cases, noise, device=device, seed=seed, on_step=say) if noise else [],
    )


def _known_noise(inspected: Inspected, cases: Sequence[Case], seed: int) -> Mass | None:
    """The attention on the demo data's noise items, where the item that comes next is none itself."""
    data = inspected.data
    if not same_data_set(inspected.run.config.dataset, "demo") or data.titles is None:
        return None
    noise = np.isin(np.array(data.titles, dtype=object), NOISE_TITLES)
    cases = [case.latest(inspected.model.config.max_length) for case in cases if not noise[case.target]]
    marked: list[NDArray[np.bool_]] = [noise[case.items] for case in cases]
    return attention_mass(inspected.model, cases, marked, device=inspected.device, seed=seed)
