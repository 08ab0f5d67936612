"""Names of models, and what a model promises."""

from __future__ import annotations

import pytest
import torch

from actsr_cli.batch import Batch
from actsr_cli.config import ModelConfig
from actsr_cli.errors import ConfigError
from actsr_cli.models.base import adversary_parameters
from actsr_cli.models.registry import all_models, build_model, display_name, find_model, model_names, parse_name


def test_names_on_the_command_line() -> None:
    assert parse_name("sasrec") == ("sasrec", "none")
    assert parse_name("ac-sasrec") == ("sasrec", "full")
    for name in ("sasrek", "ac_sasrec"):
        with pytest.raises(ConfigError, match="did you mean"):
            parse_name(name)
    with pytest.raises(ConfigError, match="unknown model"):
        find_model("ac-sasrec")


def test_display_names() -> None:
    names = [display_name(ModelConfig(calibration=level)) for level in ("none", "spatial", "adversarial", "full")]  # type: ignore[arg-type]
    assert names == ["sasrec", "sasrec-spatial", "sasrec-adversarial", "ac-sasrec"]
    assert {"sasrec", "ac-sasrec"} <= set(model_names())


@pytest.mark.parametrize("name", [spec.name for spec in all_models()])
@pytest.mark.parametrize("calibration", ["none", "spatial", "adversarial", "full"])
def test_every_model_scores_every_length(name: str, calibration: str) -> None:
    torch.manual_seed(0)
    config = ModelConfig(name=name, calibration=calibration, max_length=6, hidden_size=8, inner_size=8)  # type: ignore[arg-type]
    model = build_model(config, n_items=9).eval()
    assert bool(adversary_parameters(model)) == (calibration in ("adversarial", "full"))
    histories = torch.tensor([[1, 0, 0, 0, 0, 0], [3, 4, 5, 0, 0, 0], [1, 2, 3, 4, 5, 6]])
    lengths = torch.tensor([1, 3, 6])
    together = model.score(Batch(histories, lengths))
    assert together.shape == (3, 10)
    for row, length in enumerate(lengths.tolist()):
        alone = model.score(Batch(histories[row : row + 1, :length], lengths[row : row + 1]))
        torch.testing.assert_close(alone[0], together[row], rtol=1e-5, atol=1e-6)


def test_a_causal_model_does_not_look_ahead() -> None:
    model = build_model(ModelConfig(calibration="full", max_length=6, hidden_size=8, inner_size=8), n_items=9).eval()
    lengths = torch.tensor([5])
    one = model.encode(Batch(torch.tensor([[1, 2, 3, 4, 5]]), lengths)).hidden
    other = model.encode(Batch(torch.tensor([[1, 2, 3, 9, 8]]), lengths)).hidden
    torch.testing.assert_close(one[:, :3], other[:, :3])
    assert not torch.allclose(one[:, 3:], other[:, 3:])
