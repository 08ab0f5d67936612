"""Mutated settings, presets, spaces and --set: read, or refused in one line. `python -m benchmarks fuzz` does more."""

from __future__ import annotations

import random
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from actsr_cli.errors import ActsrError
from benchmarks.fuzz_targets import OVERRIDES, SPACE, Target, read_config, read_override, read_preset, read_space_file
from benchmarks.mutations import mutated

CONFIG = b"""description: small
dataset: shop
data: {user_core: 5, intervals: {rating: [4, null]}}
model:
  name: sasrec
  layers: 2
  hidden_dropout: 0.5
calibration: full
training: &training
  learning_rate: 1e-3
  monitor: ndcg@10
tune:
  model.heads: [1, 2]
"""
TARGETS = {
    "config": Target((CONFIG,), read_config),
    "preset": Target((CONFIG, SPACE), read_preset),
    "space": Target((SPACE,), read_space_file),
    "override": Target(OVERRIDES, read_override),
}


@pytest.mark.parametrize("name", TARGETS)
@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(seed=st.integers(0, 10**9))
def test_only_errors_on_purpose_come_out(name: str, tmp_path: Path, seed: int) -> None:
    target = TARGETS[name]
    try:
        target.read(tmp_path, mutated(random.Random(seed), target.valid))  # noqa: S311
    except ActsrError as error:
        assert error.message and "\n" not in error.message
