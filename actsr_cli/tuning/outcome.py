"""Results of a study: its best settings as a preset, hyperparameter importances and plots."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import optuna
import yaml
from optuna.importance import PedAnovaImportanceEvaluator, get_param_importances
from optuna.trial import FrozenTrial, TrialState

from actsr_cli.errors import RunError
from actsr_cli.experiment.record import Status
from actsr_cli.experiment.run import Run, open_run
from actsr_cli.files import replacing, write_text
from actsr_cli.presets import TUNE, with_values
from actsr_cli.tuning.queue import RUN, counted
from actsr_cli.tuning.space import NOT_SEARCHED, Range
from actsr_cli.tuning.study import Plan, best_first, total

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_FEWEST = 4
"""Fewest finished trials from which importances are computed."""
_WHOLE = ("data", "split")
"""Sections that best.yaml writes in full: without them, `train` would use the data that were prepared last."""
_PAGE = """<!doctype html>
<html lang="en">
<head><meta charset="utf-8"><title>{title}</title></head>
<body style="font-family: sans-serif; max-width: 75rem; margin: 2rem auto; padding: 0 1rem">
<h1>{title}</h1>
{figures}
</body>
</html>
"""


@dataclass(frozen=True)
class Outcome:
    """The state of a study.

    Attributes:
        done: number of ended trials by status: `finished`, `pruned`, `failed`.
        left: number of trials of the plan that have not ended.
        best: the best finished trial; None if no trial has finished.
        ranking: finished trials, the best first.
        importances: importance of each key for the value, adding up to 1; empty if too few trials have finished.
    """

    done: dict[Status, int]
    left: int
    best: FrozenTrial | None
    ranking: list[FrozenTrial]
    importances: dict[str, float]


def outcome_of(plan: Plan, study: optuna.Study) -> Outcome:
    """The current state of a study."""
    trials = counted(study.get_trials(deepcopy=False))
    ended = {
        name: [trial for trial in trials if trial.state == state]
        for name, state in (
            (Status.FINISHED, TrialState.COMPLETE),
            (Status.PRUNED, TrialState.PRUNED),
            (Status.FAILED, TrialState.FAIL),
        )
    }
    done = {name: len(group) for name, group in ended.items()}
    ranking = best_first(study, trials)
    best = ranking[0] if ranking else None
    return Outcome(done, max(0, total(plan) - sum(done.values())), best, ranking, _importances(study, ranking))


def winner(plan: Plan, outcome: Outcome) -> Run:
    """The run of the best trial.

    Raises:
        RunError: no trial has finished, or the run is not on this machine.
    """
    if outcome.best is None:
        raise RunError("no trial of the study has finished", hint="Run the same command again to continue the study.")
    path = plan.runs_dir / outcome.best.user_attrs[RUN]
    if not path.exists():
        raise RunError(
            f"the run of the best trial was deleted or is on another machine: {path} is missing",
            hint="Run the command on the machine that has this run.",
        )
    return open_run(path)


def write_outcome(plan: Plan, study: optuna.Study, outcome: Outcome, command: str) -> None:
    """Write trials.csv into the study's folder and, if a trial has finished, also best.yaml and the plots.

    Args:
        plan: the study.
        study: its trials.
        outcome: the state of the study.
        command: the command line of the study, recorded in best.yaml.
    """
    table = study.trials_dataframe(attrs=("number", "state", "value", "params", "user_attrs", "duration"))
    write_text(plan.folder / "trials.csv", table.to_csv(index=False))
    if outcome.best is None:
        return
    write_text(plan.folder / "best.yaml", best_preset(plan, outcome, command))
    _draw(plan, study, outcome)


def best_preset(plan: Plan, outcome: Outcome, command: str) -> str:
    """The settings of the best trial as a preset, with the name of the study and its search space."""
    best = outcome.best
    if best is None:
        raise ValueError("no trial has finished")
    config = with_values(plan.config, best.params)
    monitor = config.training.monitor
    found = f"best of study {plan.title} (trial {best.number}, validation {monitor} {best.value:.4f})"
    every = config.model_dump(mode="json")
    settings = config.model_dump(mode="json", exclude_defaults=True) | {"description": found}
    for key in ("model.name", "calibration.kind", "loss.name", *best.params):
        section, name = key.split(".")[:2]  # written even if they equal the default
        settings[section] = {name: every[section][name]} | settings.get(section, {})
    settings |= {section: every[section] for section in _WHOLE}
    for name in NOT_SEARCHED:
        settings.get("training", {}).pop(name, None)
    settings = {section: settings[section] for section in every if section in settings}
    settings[TUNE] = {
        each.key: each.domain.model_dump(exclude_defaults=True) if isinstance(each.domain, Range) else list(each.domain)
        for each in plan.space
    }
    counts = ", ".join(f"{count} {name}" for name, count in outcome.done.items() if count)
    head = f"# Study {plan.title}: {counts}. Chosen on validation alone.\n# {command}\n"
    return head + yaml.safe_dump(settings, sort_keys=False, width=100)


def _importances(study: optuna.Study, finished: list[FrozenTrial]) -> dict[str, float]:
    shared = set[str].intersection(*(set(trial.params) for trial in finished)) if finished else set()
    varying = [key for key in (finished[0].params if finished else {}) if key in shared]
    varying = [key for key in varying if len({trial.params[key] for trial in finished}) > 1]
    if len(finished) < _FEWEST or not varying or len({trial.value for trial in finished}) == 1:
        return {}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        shares: Mapping[str, float] = get_param_importances(
            study, evaluator=PedAnovaImportanceEvaluator(), params=varying
        )
    return dict(shares)


def _draw(plan: Plan, study: optuna.Study, outcome: Outcome) -> None:
    """Write study.html, which is interactive and self-contained, and a PNG of each of its plots."""
    from matplotlib import pyplot
    from optuna import visualization
    from optuna.visualization import matplotlib as still
    from plotly.io import to_html

    names = ["optimization_history", "intermediate_values", "slice", "parallel_coordinate"]
    names += ["param_importances"] if outcome.importances else []
    pages: list[str] = []
    backend = pyplot.get_backend()
    pyplot.switch_backend("agg")
    try:
        for name in names:
            options: dict[str, Any] = {}
            if name != "intermediate_values":
                options["target_name"] = plan.config.training.monitor
            if name == "param_importances":
                options |= {"evaluator": PedAnovaImportanceEvaluator(), "params": list(outcome.importances)}
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # optuna warns that its plots are experimental
                figure = getattr(visualization, f"plot_{name}")(study, **options)
                pages.append(to_html(figure, full_html=False, include_plotlyjs=not pages))
                axes = getattr(still, f"plot_{name}")(study, **options)
            _save(plan.folder / f"{name}.png", (axes if hasattr(axes, "figure") else axes.flat[0]).figure)
            pyplot.close("all")
    finally:
        pyplot.switch_backend(backend)
    page = _PAGE.format(title=f"Study {plan.title}", figures="\n".join(pages))
    write_text(plan.folder / "study.html", page)


def _save(path: Path, figure: Figure) -> None:
    with replacing(path) as partial:
        figure.savefig(partial, format="png", dpi=120, bbox_inches="tight")
