"""Inspects the attention of a finished run, alone or side by side with another run."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from actsr_cli.batch import Batch
from actsr_cli.data.catalog import same_data_set
from actsr_cli.data.demo_items import NOISE_TITLES
from actsr_cli.data.sequences import SequenceData
from actsr_cli.data.splits import SplitName
from actsr_cli.errors import RunError
from actsr_cli.experiment.evaluate import trained_model
from actsr_cli.experiment.model import check_held_out
from actsr_cli.experiment.run import Run
from actsr_cli.inspection.answers import PROTOCOL, Case, Explain, split_cases
from actsr_cli.inspection.faithfulness import faithfulness
from actsr_cli.inspection.findings import Findings
from actsr_cli.inspection.importance import mean_input
from actsr_cli.inspection.learned import filter_shares, learned_curves
from actsr_cli.inspection.output import write_output
from actsr_cli.inspection.report import Report, ReportedRun
from actsr_cli.inspection.robustness import Mass, attention_mass, robustness
from actsr_cli.inspection.sharpness import effective_share
from actsr_cli.inspection.trace import trace
from actsr_cli.inspection.views import (
    Subject,
    View,
    is_calibrated,
    moved_users,
    random_rows,
    random_users,
    raw_history,
    users_called,
    view,
)
from actsr_cli.models.base import EncoderModel, SequentialModel
from actsr_cli.packing import Packing
from actsr_cli.training.device import choose_device

_USERS_WITHOUT_A_CHOICE = 3


@dataclass(frozen=True)
class Inspected:
    """A run opened for inspection.

    Attributes:
        run: the run.
        model: its best model, on `device`, in evaluation mode.
        data: the data that it was trained on.
        device: the device of the model.
    """

    run: Run
    model: SequentialModel
    data: SequenceData
    device: torch.device

    @property
    def calibrated(self) -> bool:
        return is_calibrated(self.model)


@dataclass(frozen=True)
class SubjectChoice:
    """The choice of subjects. If nothing is chosen, these are three random users.

    Attributes:
        split: the split that has the targets.
        users: raw ids of users.
        random: number of random users.
        improved: number of users whose target's rank improves most, by factor, through calibration.
        worsened: number of users whose target's rank worsens most.
        history: raw item ids in time order, instead of a user.
        target: the next item after `history`.
        seed: random seed for `random`.
    """

    split: SplitName = "test"
    users: Sequence[str] = ()
    random: int | None = None
    improved: int | None = None
    worsened: int | None = None
    history: Sequence[str] | None = None
    target: str | None = None
    seed: int = 0


@dataclass(frozen=True)
class Measurements:
    """What is measured, and on which users.

    Attributes:
        split: the split of the histories and targets.
        sample: maximum number of users.
        faithfulness: whether to measure if the attention explains the predictions.
        noise: shares of noise to add to histories.
        explain: the item whose score is explained.
        seed: random seed of the sample, the noise and the bootstrap.
    """

    split: SplitName = "test"
    sample: int = 1000
    faithfulness: bool = False
    noise: Sequence[float] = ()
    explain: Explain = "target"
    seed: int = 0


def open_side_by_side(runs: Sequence[Run], data: SequenceData, device: str = "auto") -> list[Inspected]:
    """Open several runs for inspection, each with its best model.

    Args:
        runs: runs trained on the same data.
        data: the data that they were trained on.
        device: the device of the models.

    Raises:
        RunError: a run was trained on other data, or cannot be inspected (see `open_for_inspection`).
    """
    for other in runs[1:]:
        if other.record.fingerprint != runs[0].record.fingerprint:
            raise RunError(f"{other.name} was trained on other data than {runs[0].name}, so they cannot be compared")
    return [open_for_inspection(run, data, device) for run in runs]


def open_for_inspection(run: Run, data: SequenceData, device: str = "auto") -> Inspected:
    """Open a run for inspection, with its best model.

    Raises:
        RunError: the run has no model, its data have changed, or its model has no attention.
    """
    check_held_out(run)
    model, _ = trained_model(run, data)
    if not isinstance(model, SequentialModel):
        raise RunError(f"{run.name} has no attention to inspect", hint="Inspect a transformer, such as ac-sasrec.")
    if model.needs_timestamps and data.timestamps is None:
        raise RunError(f"{run.name} needs timestamps, and {data.name} has none")
    where = choose_device(device)
    model.to(where)
    item = torch.ones(1, dtype=torch.int64, device=where)
    one_item = Batch(item, Packing(np.ones(1, dtype=np.int64), where), timestamps=item.float())
    trace(model, one_item)  # raises if the model has no attention
    return Inspected(run, model, data, where)


def choose_subjects(inspected: Inspected, choice: SubjectChoice) -> list[Subject]:
    """The chosen subjects, without duplicates.

    Args:
        inspected: the run whose ranks determine the improved and worsened users.
        choice: the choice.

    Raises:
        DataError: there is no such user or item.
        RunError: the model is not calibrated, or its calibration improved or worsened no rank.
    """
    data, split = inspected.data, choice.split
    subjects = users_called(data, split, list(choice.users)) if choice.users else []
    if choice.history is not None:
        subjects.append(raw_history(data, choice.history, choice.target))
    for count, upwards in ((choice.improved, True), (choice.worsened, False)):
        if count is not None:
            subjects += moved_users(
                inspected.model,
                data,
                split,
                count,
                improved=upwards,
                device=inspected.device,
                batch_size=inspected.run.config.evaluation.batch_size,
            )
    if choice.random is not None or not subjects:
        subjects += random_users(data, split, choice.random or _USERS_WITHOUT_A_CHOICE, choice.seed)
    return list({(each.label, each.case.user): each for each in subjects}.values())


def look(inspected: Inspected, subjects: Sequence[Subject], measurements: Measurements) -> list[View]:
    """The views of a run's model on some subjects.

    Args:
        inspected: the run.
        subjects: the subjects.
        measurements: which score is explained; and the users whose mean input the explanation starts from.

    Raises:
        RunError: a history has no timestamps, and the model needs them.
    """
    if inspected.model.needs_timestamps and any(subject.case.times is None for subject in subjects):
        raise RunError(
            f"{inspected.run.name} needs timestamps, and a raw history has none",
            hint="Choose users of the data set with --user or --random.",
        )
    model, device, start = inspected.model, inspected.device, None
    if isinstance(model, EncoderModel):
        start = mean_input(model, _sample(inspected, measurements), device)
    return [view(model, each.case, device=device, start=start, explain=measurements.explain) for each in subjects]


def measure(inspected: Inspected, measurements: Measurements, on_step: Callable[[str], None] | None = None) -> Findings:
    """Measure a run's attention over a sample of users, the same for every run on the same data.

    Args:
        inspected: the run.
        measurements: what is measured.
        on_step: called with a description of each step.
    """
    model, device = inspected.model, inspected.device
    seed, noise = measurements.seed, measurements.noise
    say = on_step or (lambda _: None)
    cases = _sample(inspected, measurements)
    say("what the calibrators learned")
    curves = learned_curves(model, cases, device=device)
    faithful = None
    if measurements.faithfulness:
        faithful = faithfulness(model, cases, device=device, explain=measurements.explain, seed=seed, on_step=say)
    return Findings(
        run=inspected.run.name,
        users=len(cases),
        effective_share=effective_share(model, cases, device=device, seed=seed),
        curves=curves,
        noise_mass=_known_noise(inspected, cases, seed),
        faithfulness=faithful,
        robustness=robustness(model, cases, noise, device=device, seed=seed, on_step=say) if noise else [],
        filter_shares=filter_shares(model),
    )


def write_inspection(
    folder: Path,
    opened: Sequence[Inspected],
    subjects: Sequence[Subject],
    views: Sequence[Sequence[View]],
    findings: Sequence[Findings],
) -> None:
    """Write all views and measurements to a folder, see `write_output`.

    Args:
        folder: created if missing.
        opened: one run, or two side by side.
        subjects: the subjects.
        views: the views of each run, in the order of the subjects.
        findings: the measurements of each run.
    """
    data = opened[0].data
    runs = [
        ReportedRun(inspected.run.name, inspected.calibrated, seen, found)
        for inspected, seen, found in zip(opened, views, findings, strict=True)
    ]
    about = f"{data.name}: {data.n_users:,} users, {data.n_items:,} items. Ranks by protocol {PROTOCOL.title}."
    write_output(folder, Report(data.name, about, subjects, runs, data.display_name))


def _sample(inspected: Inspected, measurements: Measurements) -> list[Case]:
    data, split = inspected.data, measurements.split
    return split_cases(data, split, random_rows(data, split, measurements.sample, measurements.seed))


def _known_noise(inspected: Inspected, cases: Sequence[Case], seed: int) -> Mass | None:
    """The attention on the noise items of the demo data, over users whose target is not noise."""
    data = inspected.data
    if not same_data_set(inspected.run.config.dataset, "demo") or data.titles is None:
        return None
    noise = np.isin(np.array(data.titles, dtype=object), NOISE_TITLES)
    cases = [case.latest(inspected.model.config.max_length) for case in cases if not noise[case.target]]
    marked: list[NDArray[np.bool_]] = [noise[case.items] for case in cases]
    return attention_mass(inspected.model, cases, marked, device=inspected.device, seed=seed)
