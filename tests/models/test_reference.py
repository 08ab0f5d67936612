"""Reading published parameters: names, formats and refusals."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from samples import built, run_config

from actsr_cli.errors import DataError
from actsr_cli.models.base import SequentialModel
from actsr_cli.models.reference import load_published, our_name, read_published


@pytest.mark.parametrize(
    ("published", "ours"),
    [
        ("item_embedding.weight", "item_embedding.weight"),
        ("LayerNorm.bias", "norm.bias"),
        ("trm_encoder.layer.1.gate.weight", "encoder.layers.1.attention.adversarial.gate.weight"),
        ("trm_encoder.layer.0.rich_calibrated_combine_ratio", "encoder.layers.0.attention.adversarial_share"),
        ("trm_encoder.layer.0.attack_attention.scalar", "encoder.layers.0.attention.spatial.sharpness"),
        ("trm_encoder.layer.0.attack_attention.LayerNorm.weight", "encoder.layers.0.norm.weight"),
        ("trm_encoder.layer.2.multi_head_attention.dense.bias", "encoder.layers.2.attention.output.bias"),
        ("trm_encoder.layer.0.feed_forward.dense_2.weight", "encoder.layers.0.feed_forward.outer.weight"),
    ],
)
def test_names(published: str, ours: str) -> None:
    assert our_name(published) == ours


def test_every_format_gives_the_same_parameters(golden_dir: Path, tmp_path: Path) -> None:
    from_npz = read_published(golden_dir / "sasrec.npz")
    torch.save(from_npz, tmp_path / "state.pth")
    torch.save({"state_dict": from_npz, "epoch": 3}, tmp_path / "checkpoint.pth")
    arrays: dict[str, Any] = {name: value.numpy() for name, value in from_npz.items()}
    np.savez(tmp_path / "plain.npz", **arrays)
    for file in ("state.pth", "checkpoint.pth", "plain.npz"):
        read = read_published(tmp_path / file)
        assert read.keys() == from_npz.keys()
        assert all(torch.equal(read[name], from_npz[name]) for name in read)


class Evil:
    """Runs code when it is unpickled."""

    def __reduce__(self) -> tuple[object, ...]:
        return (Path.touch, (Path("unpickled"),))


def test_a_pickle_that_is_more_than_tensors_is_never_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    torch.save({"state_dict": {}, "config": Evil()}, "evil.pth")
    with pytest.raises(DataError, match="without running code") as caught:
        read_published(Path("evil.pth"))
    assert "state_dict" in str(caught.value.hint)
    assert not Path("unpickled").exists()


def test_what_does_not_fit_is_refused(golden_dir: Path, tmp_path: Path) -> None:
    parameters = read_published(golden_dir / "sasrec.npz")
    model = built(run_config(hidden_size=16, inner_size=24), n_items=len(parameters["item_embedding.weight"]) - 1)
    assert isinstance(model, SequentialModel)
    load_published(model, parameters)
    with pytest.raises(DataError, match=r"lack norm\.bias"):
        load_published(model, {name: value for name, value in parameters.items() if name != "LayerNorm.bias"})
    with pytest.raises(DataError, match="unknown to this model: extra"):
        load_published(model, parameters | {"extra": torch.zeros(1)})
    with pytest.raises(DataError, match=r"shape of norm\.bias is \(3,\), this model has \(16,\)"):
        load_published(model, parameters | {"LayerNorm.bias": torch.zeros(3)})
    with pytest.raises(DataError, match="no file"):
        read_published(tmp_path / "none.npz")
    torch.save(torch.zeros(3), tmp_path / "tensor.pth")
    with pytest.raises(DataError, match="no state_dict"):
        read_published(tmp_path / "tensor.pth")
