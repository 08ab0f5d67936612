"""Replaces the random noise of the adversarial calibrators by given noise."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from actsr_cli.attention import AdversarialCalibrator


@contextmanager
def given_noise(model: nn.Module, noise: Sequence[Tensor], lengths: Tensor | None = None) -> Iterator[None]:
    """Context in which the adversarial calibrators of a model use the given noise, one each, in module order.

    It is (batch, heads, queries, keys). For packed sequences of these lengths the same numbers are taken.
    """
    with _drawing(model, [_always(each, lengths) for each in noise]):
        yield


@contextmanager
def no_noise(model: nn.Module) -> Iterator[None]:
    """Context in which the adversarial calibrators of a model use zeros as noise."""
    with _drawing(model, [torch.zeros_like for _ in _calibrators(model)]):
        yield


def _always(noise: Tensor, lengths: Tensor | None) -> Callable[[Tensor], Tensor]:
    def draw(like: Tensor) -> Tensor:
        if like.dim() == 4 or lengths is None:
            return noise
        for causal in (True, False):
            rows = [
                noise[sequence, :, query, : query + 1 if causal else length].flatten()
                for sequence, length in enumerate(lengths.tolist())
                for query in range(length)
            ]
            if sum(map(len, rows)) == len(like):
                return torch.cat(rows)
        raise AssertionError("no layout of the noise fits")

    return draw


def _calibrators(model: nn.Module) -> list[AdversarialCalibrator]:
    return [module for module in model.modules() if isinstance(module, AdversarialCalibrator)]


@contextmanager
def _drawing(model: nn.Module, ways: Sequence[Callable[[Tensor], Tensor]]) -> Iterator[None]:
    calibrators = _calibrators(model)
    for calibrator, way in zip(calibrators, ways, strict=True):
        setattr(calibrator, "draw_noise", way)  # noqa: B010
    try:
        yield
    finally:
        for calibrator in calibrators:
            del calibrator.draw_noise
