"""Options that several subcommands share, and what the shell completes for them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from actsr_cli.errors import ConfigError

if TYPE_CHECKING:
    from actsr_cli.config import EvaluationConfig
    from actsr_cli.evaluation.protocol import Candidates, Protocol, Seen

MEASURED, OUTPUT, SPEED, PLACES = "What is measured", "Output", "Computation", "Where things are"

DataDir = Annotated[
    Path, typer.Option("--data-dir", envvar="ACTSR_DATA", help="Root of the data sets.", rich_help_panel=PLACES)
]
RunsDir = Annotated[
    Path, typer.Option("--runs-dir", envvar="ACTSR_RUNS", help="Root of the runs.", rich_help_panel=PLACES)
]

Threads = Annotated[int | None, typer.Option(min=1, help="CPU threads. Default: one per core.", rich_help_panel=SPEED)]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.", rich_help_panel=OUTPUT)]

Split = Annotated[
    Literal["test", "valid"],
    typer.Option(
        help="Rank the targets of this split. Leave one out: the last item of each user, or the one before.",
        rich_help_panel=MEASURED,
    ),
]
SeenItems = Annotated[
    Literal["rank", "exclude", "exclude-repeats"] | None,
    typer.Option(
        help="Items of the user's own history: rank them (protocol A), exclude them (B), or exclude them and count a "
        "target that repeats one as a miss (B as published). Default: as the run was trained.",
        rich_help_panel=MEASURED,
    ),
]
CandidateItems = Annotated[
    Literal["all", "uniform", "popularity"] | None,
    typer.Option(
        help="Rank a target among the whole catalogue, or among sampled items (protocol C, for comparison with older "
        "papers only). Default: as the run was trained.",
        rich_help_panel=MEASURED,
    ),
]
NCandidates = Annotated[
    int | None,
    typer.Option(
        min=1, help="Sampled items per target, with --candidates uniform or popularity.", rich_help_panel=MEASURED
    ),
]


def complete_model(incomplete: str) -> list[str]:
    """Model names that begin like `incomplete`."""
    from actsr_cli.models.registry import model_names

    return [name for name in model_names() if name.startswith(incomplete)]


def complete_preset(incomplete: str) -> list[str]:
    """Preset names that begin like `incomplete`."""
    from actsr_cli.presets import preset_names

    return [name for name in preset_names() if name.startswith(incomplete)]


def cutoffs(text: str) -> list[int]:
    """The cut-offs that an option holds, separated by commas, in their order.

    Raises:
        ConfigError: they are no positive whole numbers.
    """
    try:
        found = sorted({int(part) for part in text.split(",")})
    except ValueError:
        found = [0]
    if found[0] < 1:
        raise ConfigError(f"--k takes positive whole numbers separated by commas, not '{text}'")
    return found


def chosen_protocol(
    config: EvaluationConfig, seen: Seen | None, candidates: Candidates | None, n_candidates: int | None
) -> Protocol:
    """The protocol of a configuration, changed by what options say.

    Raises:
        ConfigError: options contradict each other.
    """
    from actsr_cli.evaluation.protocol import Protocol

    chosen = candidates or ("all" if seen is not None else config.candidates)
    if chosen != "all" and seen is not None:
        raise ConfigError(
            "--seen does not go with sampled candidates: they are never items that the user has had",
            hint="Leave --seen out, or give --candidates all.",
        )
    if n_candidates is not None and chosen == "all":
        raise ConfigError("--n-candidates needs --candidates uniform or --candidates popularity")
    return Protocol(seen or config.seen, chosen, n_candidates or config.n_candidates, config.candidate_seed)


def metric_names(text: str, *, has_categories: bool) -> list[str]:
    """The metrics that an option names, separated by commas; `all` are all that the data allow."""
    from actsr_cli.evaluation.metrics import all_metrics

    if text != "all":
        return [name.strip() for name in text.split(",")]
    return [metric.name for metric in all_metrics() if has_categories or "categories" not in metric.needs]
