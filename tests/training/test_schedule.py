"""The learning rate is compared with values computed by hand."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from actsr_cli.config import TrainingConfig
from actsr_cli.training.schedule import learning_rate


def rates(**settings: object) -> list[float]:
    """Two epochs of four steps each."""
    config = TrainingConfig.model_validate({"learning_rate": 1.0, "epochs": 2, **settings})
    return [learning_rate(config, step, 4) for step in range(8)]


def test_constant() -> None:
    assert rates() == [1.0] * 8


def test_it_warms_up_evenly() -> None:
    assert rates(warmup=1)[:5] == pytest.approx([1 / 5, 2 / 5, 3 / 5, 4 / 5, 1])
    assert rates(warmup=0.5)[:3] == pytest.approx([1 / 3, 2 / 3, 1])


def test_it_falls_to_a_hundredth() -> None:
    falling = [1 - 0.99 * step / 8 for step in range(8)]
    assert rates(schedule="linear") == pytest.approx(falling)
    cosine = rates(schedule="cosine")
    assert (cosine[0], cosine[4]) == pytest.approx((1.0, 0.505))  # halfway: the mean of 1 and 0.01
    config = TrainingConfig(schedule="linear", epochs=2, learning_rate=1.0, warmup=0)
    assert learning_rate(config, 20, 4) == pytest.approx(0.01)  # more steps than were expected
    assert rates(schedule="linear", warmup=1)[4:] == pytest.approx([1 - 0.99 * step / 4 for step in range(4)])


@given(
    schedule=st.sampled_from(["constant", "linear", "cosine"]),
    warmup=st.floats(0, 3),
    epochs=st.integers(3, 50),
    per_epoch=st.integers(1, 50),
)
def test_it_rises_and_falls_within_its_bounds(schedule: str, warmup: float, epochs: int, per_epoch: int) -> None:
    settings = {"learning_rate": 0.5, "schedule": schedule, "warmup": warmup, "epochs": epochs}
    config = TrainingConfig.model_validate(settings)
    found = [learning_rate(config, step, per_epoch) for step in range(epochs * per_epoch)]
    assert all(0 < rate <= 0.5 for rate in found)
    top = found.index(max(found))
    assert found[: top + 1] == sorted(found[: top + 1])
    assert found[top:] == sorted(found[top:], reverse=True)
