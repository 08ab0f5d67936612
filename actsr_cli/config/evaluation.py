"""Settings of the evaluation."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from actsr_cli.config.section import Section


class EvaluationConfig(Section):
    """How rankings are evaluated."""

    seen: Literal["rank", "exclude", "exclude-repeats"] = Field(
        "rank",
        description="Items of the user's own history: rank them (protocol A), exclude them (protocol B), or exclude "
        "them and count a target that repeats one as a miss (protocol B as published).",
    )
    candidates: Literal["all", "uniform", "popularity"] = Field(
        "all",
        description="Candidates that the target is ranked with: the whole catalogue, or sampled items (protocol C), "
        "drawn uniformly or by popularity.",
    )
    n_candidates: int = Field(
        100, ge=1, le=1_000_000, description="Sampled candidates per target, with candidates: uniform or popularity."
    )
    candidate_seed: int = Field(0, ge=0, le=2**32 - 1, description="Random seed of the sampled candidates.")
    metrics: tuple[str, ...] = Field(("hit", "ndcg", "mrr"), min_length=1, description="Metrics, see docs/evaluate.md.")
    k: tuple[Annotated[int, Field(ge=1, le=1_000_000)], ...] = Field(
        (1, 5, 10, 20, 50), min_length=1, description="Cut-offs of the metrics."
    )
    batch_size: int = Field(
        256, ge=1, le=1_000_000, description="Users scored at a time; limits memory, does not change results."
    )
