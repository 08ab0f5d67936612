"""Runs that differ in their seed alone: NAME-s0, NAME-s1 …"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from actsr_cli.config import RunConfig
from actsr_cli.data.sequences import SequenceData
from actsr_cli.errors import RunError
from actsr_cli.experiment.run import Run, find_run, list_runs, open_run
from actsr_cli.models.registry import display_name


def find_group(runs_dir: Path, name: str) -> list[Run]:
    """The run called `name`, or the runs NAME-s0, NAME-s1 … of a series, in the order of their seeds.

    Raises:
        RunError: there is neither, or the runs of the series differ in more than their seed, have other seeds than
            their names say, or are not finished.
    """
    wanted = Path(name).parts
    series = {
        path: int(found[2])
        for path in list_runs(runs_dir)
        if (found := re.fullmatch(r"(.+)-s(\d+)", path.name)) is not None
        and (*path.relative_to(runs_dir).parts[:-1], found[1])[-len(wanted) :] == wanted
    }
    if not series:
        return [find_run(runs_dir, name)]
    if len({path.parent for path in series}) > 1:
        names = ", ".join(sorted({str(path.parent.relative_to(runs_dir)) for path in series}))
        raise RunError(f"'{name}' names series in {names}", hint="Give more of the path.")
    runs = [open_run(path) for path in sorted(series, key=lambda path: series[path])]
    for run, seed in zip(runs, sorted(series.values()), strict=True):
        if run.config.training.seed != seed:
            raise RunError(f"{run.name} has the seed {run.config.training.seed}: it is of no series")
        if _without_seed(run.config) != _without_seed(runs[0].config):
            raise RunError(f"{run.name} differs from {runs[0].name} in more than its seed: they are no series")
        _check_finished(run)
    return runs


def finished_run(runs_dir: Path, config: RunConfig, data: SequenceData, name: str) -> Run | None:
    """The finished run of a name; None where there is none.

    Raises:
        RunError: a run of this name has another configuration or other data, or is not finished.
    """
    path = runs_dir / config.dataset / display_name(config) / name
    if not path.exists():
        return None
    run = open_run(path)
    if run.config != config or run.record["fingerprint"] != data.fingerprint:
        raise RunError(f"{run.name} has other settings or data than this series", hint="Give another --name.")
    _check_finished(run)
    return run


def best_metrics(run: Run) -> dict[str, float]:
    """A run's metrics on validation at its best epoch, such as {"hit@10": 0.08}; RunError where it has none."""
    metrics = run.metrics.get(f"valid/{run.config.evaluation.seen}")
    if metrics is None:
        raise RunError(f"{run.name} has not been validated")
    return {name: value for name, value in metrics.items() if "@" in name}


def _without_seed(config: RunConfig) -> dict[str, Any]:
    """What decides a run's numbers but for chance."""
    return config.model_dump(exclude={"description": True, "training": {"seed", "threads", "device", "log_attention"}})


def _check_finished(run: Run) -> None:
    if run.record["status"] == "finished":
        return
    begun = run.checkpoint_file.exists()  # else it ended in its first epoch: there is nothing to go on from
    way = f"Go on with it: actsr train --resume {run.name}" if begun else f"Delete it: actsr runs delete {run.name}"
    raise RunError(
        f"{run.name} is not finished (it is {run.record['status']})", hint=f"{way}, and then give this command again."
    )
