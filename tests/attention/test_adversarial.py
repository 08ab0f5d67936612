"""The adversarial calibrator: combinations computed by hand, and which parameters get gradients."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from noise import given_noise

from actsr_cli.attention import AdversarialCalibrator

ATTENTION = torch.tensor([[[[0.5, 0.3, 0.2]]]])
MASK = torch.tensor([[[[0.6, 0.3, 0.1]]]])
ALLOWED = torch.ones(1, 1, 1, 3, dtype=torch.bool)
QUERIES = torch.zeros(1, 1, 2)


def calibrator(**options: Any) -> AdversarialCalibrator:
    torch.manual_seed(0)
    return AdversarialCalibrator(2, heads=1, max_length=3, **options)


def row(weights: torch.Tensor) -> list[float]:
    return [float(weight) for weight in weights.detach().flatten()]


def normal(weights: list[float]) -> list[float]:
    return [weight / sum(weights) for weight in weights]


def softmax(weights: list[float]) -> list[float]:
    return normal([math.exp(weight) for weight in weights])


CALIBRATED = normal([a * math.exp(1 - m) for a, m in zip([0.5, 0.3, 0.2], [0.6, 0.3, 0.1], strict=True)])


def perturbed_with(noise: torch.Tensor, perturbing: AdversarialCalibrator) -> torch.Tensor:
    with given_noise(perturbing, [noise]):
        return perturbing.perturb(ATTENTION, MASK, ALLOWED)


def test_perturbation_by_hand() -> None:
    noise = torch.tensor([[[[1.0, -2.0, 0.5]]]])
    raw = [0.5 * 0.6 + 1.0 * 0.4, 0.3 * 0.3 - 2.0 * 0.7, 0.2 * 0.1 + 0.5 * 0.9]
    perturbed = {renorm: row(perturbed_with(noise, calibrator(renorm=renorm))) for renorm in ("softmax", "sum", "none")}
    assert perturbed["softmax"] == pytest.approx(softmax(raw))
    assert perturbed["sum"] == pytest.approx(normal([raw[0], 0.0, raw[2]]))
    assert perturbed["none"] == pytest.approx(raw)


def test_gate_mixes_by_key_position() -> None:
    gated = calibrator(combine="gate")
    assert gated.gate is not None
    with torch.no_grad():
        gated.gate.weight.zero_()
        gated.gate.bias.copy_(torch.tensor([0.0, math.log(3.0), 50.0]))  # shares of 1/2, 3/4, 1
    mixed = [g * a + (1 - g) * c for g, a, c in zip([0.5, 0.75, 1.0], row(ATTENTION), CALIBRATED, strict=True)]
    assert row(gated.calibrate(ATTENTION, MASK, QUERIES, ALLOWED)) == pytest.approx(normal(mixed))


def test_fixed_ignores_forbidden_keys_unless_faults_are_wanted() -> None:
    allowed = torch.tensor([[[[True, True, False]]]])
    attention, mask = torch.tensor([[[[0.6, 0.4, 0.0]]]]), torch.tensor([[[[0.5, 0.5, 0.0]]]])
    together = [0.6 * 1.5, 0.4 * 1.5]  # a uniform mask gives C = A
    ours = calibrator(combine="fixed").calibrate(attention, mask, QUERIES, allowed)
    assert row(ours) == pytest.approx([*softmax(together), 0.0])
    published = calibrator(combine="fixed", published_faults=True, renorm="none")
    wide = softmax([*together, 0.0])
    assert row(published.calibrate(attention, mask, QUERIES, allowed)) != pytest.approx(row(ours))
    assert wide[0] < row(ours)[0]


def test_annealing_moves_from_plain_to_calibrated() -> None:
    annealed = calibrator(combine="annealing", annealing_steps=10)
    assert row(annealed.calibrate(ATTENTION, MASK, QUERIES, ALLOWED)) == pytest.approx(row(ATTENTION))
    annealed.step.fill_(10)
    mixed = [math.exp(-1) * a + (1 - math.exp(-1)) * c for a, c in zip(row(ATTENTION), CALIBRATED, strict=True)]
    assert row(annealed.calibrate(ATTENTION, MASK, QUERIES, ALLOWED)) == pytest.approx(normal(mixed))
    annealed.step.fill_(10_000)
    assert row(annealed.calibrate(ATTENTION, MASK, QUERIES, ALLOWED)) == pytest.approx(CALIBRATED)


def test_a_small_mask_gains_weight() -> None:
    """Calibration raises the attention where the adversary perturbs it (small M)."""
    calibrated = row(calibrator(combine="annealing", annealing_steps=1).calibrate(ATTENTION, MASK, QUERIES, ALLOWED))
    assert calibrated == pytest.approx(row(ATTENTION))  # no calibration before the first step
    assert CALIBRATED[2] / CALIBRATED[0] > 0.2 / 0.5


def test_masks_are_distributions_over_allowed_keys() -> None:
    masks = AdversarialCalibrator(8, heads=2, max_length=5).mask(
        torch.randn(3, 4, 8), torch.randn(3, 5, 8), torch.ones(3, 1, 4, 5, dtype=torch.bool).tril()
    )
    assert masks.shape == (3, 2, 4, 5)
    torch.testing.assert_close(masks.sum(-1), torch.ones(3, 2, 4))
    assert not masks.triu(1).any()


def test_no_gate_to_show_without_a_gate() -> None:
    with pytest.raises(ValueError, match="no gate"):
        calibrator(combine="fixed").gate_shares(QUERIES, 3)
