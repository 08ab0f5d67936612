"""Our models are compared with the published implementation, number by number.

Checks every `NAME.npz` of the golden folder that belongs to a known model; `--golden-dir` names another folder. The
tolerances are those of the folder's README.
"""

from __future__ import annotations

import json
from contextlib import AbstractContextManager
from pathlib import Path

import numpy as np
import pytest
import torch
from flat import packed, per_history, trained, unpadded
from noise import given_noise
from samples import built, prediction_loss

from actsr_cli.attention import AdversarialCalibrator, Losses, allowed_pairs
from actsr_cli.batch import Batch, TrainingBatch
from actsr_cli.models.base import EncoderModel, SequentialModel
from actsr_cli.models.encoder import Encoded, EncoderLayer, Pass
from actsr_cli.models.reference import (
    load_published,
    our_name,
    published_config,
    read_published,
)
from actsr_cli.models.registry import all_models, names_of
from actsr_cli.models.sse_pt import SSEPT
from actsr_cli.training.losses.pairwise import BPR
from actsr_cli.training.objective import Objective

LOSS_TOLERANCE = 1e-5
OUTPUT_TOLERANCE = 1e-5  # relative to the largest entry
GRADIENT_TOLERANCE = 2e-4  # relative to the parameter's largest entry …
GRADIENT_FLOOR = 1e-6  # … plus this share of the case's largest gradient entry
STAGES = {
    "before_spatial": "plain",
    "after_spatial": "spatial",
    "perturbed_mask": "mask",
    "perturbed_attention": "perturbed",
    "calibrated_attention": "adversarial",
}


class PublishedObjective(Objective):
    """The published penalty norm also counts rows of padding queries, once each; they attend to real keys."""

    def _squares(self, batch: TrainingBatch, encoded: Encoded) -> torch.Tensor:
        assert isinstance(self.model, EncoderModel)
        masks = padded_masks(self.model, batch)
        return torch.stack([(mask * (mask - 2)).sum() for mask in masks]) if masks else torch.zeros(0)

    @property
    def padded_length(self) -> int:
        return self.model.config.max_length


def padded_masks(model: EncoderModel, batch: Batch) -> list[torch.Tensor]:
    """Each layer's adversarial mask of all positions, also of queries that are padding."""
    rows, length = len(batch), batch.packing.longest
    padded = batch.padded()
    times = None if padded.timestamps is None else padded.timestamps.flatten()
    everything = Batch(padded.item_ids.flatten(), packed([length] * rows), batch.user_ids, times)
    embedded = model.embed(everything)
    hidden = embedded.hidden.view(rows, length, -1)
    allowed = allowed_pairs(batch.lengths, length, causal=model.causal)
    masks = []
    for layer in model.encoder.layers:
        assert isinstance(layer, EncoderLayer)
        output = layer.attention(hidden, allowed, relations=embedded.relations)
        hidden = layer._finish(hidden, output.attended)
        masks.append(output.mask)
    return [mask for mask in masks if mask is not None]


class Case:
    """One golden file: published inputs, parameters and outputs, and our model with these parameters."""

    def __init__(self, path: Path) -> None:
        settings = json.loads((path.parent / "cases.json").read_text())[path.stem]
        with np.load(path, allow_pickle=False) as arrays:
            self.arrays = {name: torch.from_numpy(arrays[name]) for name in arrays.files}
        weights = read_published(path)
        item_ids = self.arrays["input.item_id_list"]
        config = published_config(settings, model=backbone(path), max_length=item_ids.shape[1])
        other_ids = 2 if config.model.name == "bert4rec" else 1  # padding and the mask
        n_items = len(weights["item_embedding.weight"]) - other_ids
        model = built(config, n_items, n_users=len(weights.get("user_embedding.weight", [0])) - 1)
        assert isinstance(model, SequentialModel)
        self.model = model
        load_published(self.model, weights)
        self.model.eval()
        loss = prediction_loss(settings["loss_type"].lower(), n_items)
        if "input.neg_item_id" in self.arrays and isinstance(loss, BPR):
            setattr(loss, "draw", lambda targets: self.arrays["input.neg_item_id"])  # noqa: B010
        self.objective = PublishedObjective(self.model, loss)
        self.batch = unpadded(
            item_ids,
            self.arrays["input.item_length"],
            self.arrays["input.user_id"] - 1,  # published ids start at 1
            self.arrays["input.timestamp_list"].double(),
        )

    def noise(self, kind: str) -> AbstractContextManager[None]:
        """Context with the recorded noise instead of random noise; published models without an adversary have none."""
        layers = range(self.model.config.layers) if f"{kind}.0" in self.arrays else ()
        return given_noise(self.model, [self.arrays[f"{kind}.{layer}"] for layer in layers], self.batch.lengths)

    def set_step(self, step: int) -> None:
        for module in self.model.modules():
            if isinstance(module, AdversarialCalibrator):
                module.step.fill_(step)

    def losses(self) -> Losses:
        self.set_step(0)
        with self.noise("loss_noise"):
            return self.objective.losses(self.training_batch())

    def training_batch(self) -> TrainingBatch:
        """The published inputs in the form of our objective: one trained row per sequence, or the recorded masks."""
        if "expect.masked_item_seq" in self.arrays:
            places, items = self.arrays["expect.masked_index"], self.arrays["expect.masked_pos_items"]
            masked = unpadded(self.arrays["expect.masked_item_seq"], self.batch.lengths)
            targets = torch.zeros_like(self.arrays["expect.masked_item_seq"]).scatter(1, places, items)
            targets[:, 0] = 0  # published lists are padded with position 0, so a mask there is not trained
            return trained(masked, per_history(masked, masked.packing.pack(targets)))
        return TrainingBatch(**vars(self.batch), rows=self.batch.packing.last, targets=self.arrays["input.item_id"])


def backbone(path: Path) -> str:
    """The published model of a golden file: the longest known name that its stem starts with."""
    known = {name.replace("-", "_") for plain, model in all_models().items() for name in names_of(plain, model)}
    return max((name for name in known if path.stem == name or path.stem.startswith(f"{name}_")), key=len, default="")


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "case" in metafunc.fixturenames:
        folder = Path(metafunc.config.getoption("--golden-dir"))
        paths = [path for path in sorted(folder.glob("*.npz")) if backbone(path)]
        metafunc.parametrize("case", paths, ids=[path.stem for path in paths], indirect=True)


@pytest.fixture
def case(request: pytest.FixtureRequest) -> Case:
    return Case(request.param)


def assert_close(ours: torch.Tensor, expected: torch.Tensor, tolerance: float = OUTPUT_TOLERANCE) -> None:
    error = (ours.detach() - expected).abs().max().item()
    assert error <= tolerance * expected.abs().max().item()


def test_every_case_of_the_golden_folder_is_checked(request: pytest.FixtureRequest) -> None:
    folder = Path(request.config.getoption("--golden-dir"))
    files = {path.stem for path in folder.glob("*.npz")}
    assert files == set(json.loads((folder / "cases.json").read_text()))
    assert all(backbone(folder / f"{name}.npz") for name in files)


def test_losses(case: Case) -> None:
    losses = case.losses()
    if losses.adversary is None:
        assert losses.calibrated.item() == pytest.approx(case.arrays["expect.loss"].item(), abs=LOSS_TOLERANCE)
        return
    assert losses.calibrated.item() == pytest.approx(case.arrays["expect.calibrated_loss"].item(), abs=LOSS_TOLERANCE)
    assert losses.adversary.item() == pytest.approx(case.arrays["expect.attacked_loss"].item(), abs=LOSS_TOLERANCE)


def test_routed_gradients(case: Case) -> None:
    expected = {
        our_name(name.removeprefix("grad.")): value for name, value in case.arrays.items() if name.startswith("grad.")
    }
    case.objective.backward(case.losses())
    found = {name: parameter.grad for name, parameter in case.model.named_parameters() if parameter.grad is not None}
    assert set(found) == set(expected)
    floor = GRADIENT_FLOOR * max(gradient.abs().max().item() for gradient in expected.values())
    for name, gradient in expected.items():
        ours_here = found[name][: len(gradient)]  # our gate of AC-BERT4Rec has one more slot, unused here
        error = (ours_here - gradient).abs().max().item()
        assert not found[name][len(gradient) :].any(), name
        assert error <= GRADIENT_TOLERANCE * gradient.abs().max().item() + floor, name


def test_scores(case: Case) -> None:
    if "expect.scores" not in case.arrays:
        pytest.skip("the published code has no scores for this case: it crashes there")
    case.set_step(1)
    with torch.inference_mode():
        ours, expected = case.model.score(case.batch), case.arrays["expect.scores"]
    if isinstance(case.model, SSEPT):  # the published scores have an extra constant per user, which changes no rank
        ours, expected = ours - ours.mean(1, keepdim=True), expected - expected.mean(1, keepdim=True)
    assert_close(ours, expected)


def test_attention_stages_and_hidden_states(case: Case) -> None:
    if not any(name.startswith("expect.layer") for name in case.arrays):
        pytest.skip("this case has no stages")
    case.set_step(2)
    with torch.inference_mode(), case.noise("stage_noise"):
        encoded = case.model.encode(case.batch, Pass(train=True, keep_stages=True))
    assert len(encoded.layers) == case.model.config.layers
    for index, layer in enumerate(encoded.layers):
        assert layer.stages is not None
        prefix, real = f"expect.layer{index}.", case.batch.packing.pack
        expected = {name.removeprefix(prefix): each for name, each in case.arrays.items() if name.startswith(prefix)}
        for published, ours in STAGES.items():
            stage = getattr(layer.stages, ours)
            assert stage is not None, ours
            assert_close(real(stage.transpose(1, 2)), real(expected[published].transpose(1, 2)))
        assert layer.perturbed is not None
        assert_close(layer.perturbed, real(expected["hidden_perturbed"]))
        assert_close(layer.hidden, real(expected["hidden_calibrated"]))
