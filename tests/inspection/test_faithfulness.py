"""Importance and explanations, compared with values computed by hand."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from samples import sequence_data
from torch import Tensor
from tracing import model

from actsr_cli.attention import CalibratedSelfAttention
from actsr_cli.batch import Batch
from actsr_cli.config import CustomOptions, NoCalibration
from actsr_cli.errors import DataError
from actsr_cli.evaluation.ranker import Ranker
from actsr_cli.evaluation.significance import mean_interval
from actsr_cli.inspection.answers import PROTOCOL, Case, answers, case_batches, split_cases
from actsr_cli.inspection.faithfulness import LEAVE_ONE_OUT, faithfulness, first_places
from actsr_cli.inspection.importance import (
    by_attention,
    by_fixed_attention,
    by_gradients,
    by_relevance,
    integrated_gradients,
    leave_one_out,
    mean_input,
)
from actsr_cli.inspection.trace import trace
from actsr_cli.inspection.views import view
from actsr_cli.models.base import Embedded, EncoderModel, SequentialModel
from actsr_cli.models.encoder import HIDDEN_STATES, Encoded, Pass

CPU = torch.device("cpu")


class _Votes(SequentialModel):
    """The score of item 1 is the sum of the points of the items in the history; all other scores are 0."""

    def __init__(self, points: list[float]) -> None:
        super().__init__(CustomOptions(name="votes:Votes", max_length=10), NoCalibration(), n_items=len(points))
        self.points = torch.tensor([0.0, *points])

    def encode(self, batch: Batch, wanted: Pass = HIDDEN_STATES) -> Encoded:
        packing = batch.packing
        votes = packing.pack(packing.pad(self.points[batch.item_ids]).cumsum(dim=1)).unsqueeze(1)
        return Encoded(votes if wanted.rows is None else votes[wanted.rows])

    def item_vectors(self) -> Tensor:
        return torch.eye(self.n_items + 1)[:, 1:2]


def case(*items: int, target: int = 1) -> Case:
    return Case(np.array(items, dtype=np.int64), target)


def log_probability(points: float, n_items: int) -> float:
    return points - math.log(math.exp(points) + n_items - 1)


def test_answers_by_hand() -> None:
    voters = _Votes([0.0, 1.0, -2.0, 0.5])
    answered = answers(voters, [case(2, 4), case(3), case(2, 3, 4, target=2)], device=CPU)
    np.testing.assert_allclose(
        answered.log_probability[:2], [log_probability(1.5, 4), log_probability(-2, 4)], rtol=1e-6
    )
    np.testing.assert_array_equal(answered.rank[:2], [1, 4])
    assert answered.rank[2] == 2  # item 1 has -0.5; the three others are tied with mean rank 2


def test_ranks_are_those_of_the_evaluation() -> None:
    data = sequence_data([[1, 2, 3, 4, 5], [6, 2, 8, 9], [3, 3, 7, 10, 1, 2, 6]], n_items=10)
    scorer = model().eval()
    expected = Ranker(scorer, device=CPU, protocol=PROTOCOL, batch_size=2).rank(data.held_out("test"))
    found = answers(scorer, split_cases(data, "test"), device=CPU)
    np.testing.assert_array_equal(found.rank, expected.ranks)


def test_leaving_one_out_by_hand() -> None:
    voters = _Votes([0.0, 1.0, -2.0, 0.5])
    cases = [case(2, 3, 4), case(4, 2)]
    left_out = leave_one_out(voters, cases, answers(voters, cases, device=CPU), CPU)
    whole = log_probability(-0.5, 4)
    expected = [whole - log_probability(-0.5 - points, 4) for points in (1.0, -2.0, 0.5)]
    np.testing.assert_allclose(left_out.log_probability[0], expected, atol=1e-6)
    np.testing.assert_array_equal(left_out.rank[0], [0, -3, 0])  # without item 3 the target has rank 1
    assert np.isnan(left_out.log_probability[1, 2]) and left_out.rank[1].tolist()[:2] == [0, 0]


@pytest.mark.parametrize("name", ["sasrec", "bert4rec", "sse-pt", "tisasrec"])
def test_integrated_gradients_add_up(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """For each history they sum to the difference between the input and the start of the path (completeness)."""
    monkeypatch.setattr("actsr_cli.inspection.importance.PATH_STEPS", 256)
    explained = model(name, layers=1).double().eval()
    assert isinstance(explained, EncoderModel)
    cases = [
        Case(np.array(items), target, user, times=np.arange(1.0, 1 + len(items)))
        for user, (items, target) in enumerate([([3, 1, 4, 1], 5), ([9, 2], 6)])
    ]
    found = by_gradients(explained, cases, CPU)["integrated gradients"]
    whole = answers(explained, cases, device=CPU).log_probability
    embed, mean = explained.embed, mean_input(explained, cases, CPU)

    def of_mean_items(batch: Batch) -> Embedded:
        embedded = embed(batch)
        items = (batch.item_ids <= explained.n_items).unsqueeze(1)  # no mask
        return replace(embedded, hidden=torch.where(items, mean, embedded.hidden))

    monkeypatch.setattr(explained, "embed", of_mean_items)
    start = answers(explained, cases, device=CPU).log_probability
    assert np.abs(whole - start).min() > 0.01
    np.testing.assert_allclose(np.nansum(found, axis=1), whole - start, atol=5e-5)


@pytest.mark.parametrize("sequence_filter", ["none", "conv"])
def test_fixed_attention_is_that_of_a_model_whose_weights_are_constants(
    sequence_filter: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    explained = model("sasrec", "none", layers=2, filter=sequence_filter).double().eval()
    assert isinstance(explained, EncoderModel)
    cases = [case(3, 1, 4, 1)]
    found, whole = by_fixed_attention(explained, cases, CPU), by_gradients(explained, cases, CPU)["gradient x input"]
    assert np.abs(found - whole).max() > 1e-3
    ((_, batch, _),) = case_batches(cases, explained.config.max_length, CPU)
    attentions = [module for module in explained.modules() if isinstance(module, CalibratedSelfAttention)]
    for attention, weights in zip(attentions, trace(explained, batch).weights("plain"), strict=True):

        def scores(queries: Tensor, *_: object, weights: Tensor = weights) -> Tensor:
            return torch.log(weights) + 0 * queries.sum()

        monkeypatch.setattr(attention, "_scores", scores)
    np.testing.assert_allclose(found, by_gradients(explained, cases, CPU)["gradient x input"], rtol=1e-9)


def test_relevance_is_what_attention_carries() -> None:
    """In one layer, its sum is what the attended values change if all of them grow."""
    explained = model(layers=1).double().eval()
    assert isinstance(explained, EncoderModel)
    cases = [case(3, 1, 4, 1), case(9, 2)]
    found = by_relevance(explained, cases, CPU)
    assert np.isnan(found[1, 2:]).all()
    (attention,) = (module for module in explained.modules() if isinstance(module, CalibratedSelfAttention))
    ends = []
    for factor in (0.99, 1.01):
        with torch.no_grad():
            attention.output.weight *= factor
            ends.append(answers(explained, cases, device=CPU).log_probability)
            attention.output.weight /= factor
    np.testing.assert_allclose(np.nansum(found, axis=1) - 1, (ends[1] - ends[0]) / 0.02, rtol=1e-3)


def test_relevance_goes_through_all_layers(monkeypatch: pytest.MonkeyPatch) -> None:
    """The last layer attends to the second item alone, and its state there is made of the first one alone."""
    explained = model("sasrec", "none", layers=2, heads=1).double().eval()
    assert isinstance(explained, EncoderModel)
    attentions = [module for module in explained.modules() if isinstance(module, CalibratedSelfAttention)]
    looks = [torch.tensor([[1.0, 0, 0], [1, 0, 0], [0, 0, 1]]), torch.tensor([[1.0, 0, 0], [0, 1, 0], [0, 1, 0]])]
    for attention, look in zip(attentions, looks, strict=True):

        def scores(queries: Tensor, *_: object, look: Tensor = look) -> Tensor:
            return torch.log(look.double() + 1e-30) + 0 * queries.sum()

        monkeypatch.setattr(attention, "_scores", scores)
    (found,) = by_relevance(explained, [case(3, 1, 4)], CPU)
    assert abs(found[0]) > 1e-6 and abs(found[1]) > 1e-6  # the first item by way of the second


def test_attention_as_importance() -> None:
    explained = model().eval()
    cases = [case(3, 1, 4, 1), case(9, 2)]
    found = by_attention(explained, cases, CPU)
    assert list(found) == [
        *("plain", "plain, rollout", "spatial", "spatial, rollout"),
        *("1 - mask", "calibrated", "calibrated, rollout"),
    ]
    for name, importance in found.items():
        assert np.isnan(importance[1, 2:]).all() and not np.isnan(importance[0]).any()
        if name != "1 - mask":
            np.testing.assert_allclose(np.nansum(importance, axis=1), 1, atol=1e-5)


def test_a_view_explains_the_target_or_what_is_recommended() -> None:
    explained = model("bert4rec").eval()
    assert isinstance(explained, EncoderModel)
    start = mean_input(explained, [case(3, 1, 4, 1)], CPU)
    seen = view(explained, case(9, 2, target=3), device=CPU, start=start)
    assert seen.explained is not None and seen.explained.item == 3
    (expected,) = integrated_gradients(explained, [case(9, 2, target=3)], start)
    assert seen.explained.importance == pytest.approx(expected)  # of the items, not of the mask after them
    best = view(explained, case(9, 2, target=3), device=CPU, start=start, explain="recommended").explained
    assert best is not None and best.item == seen.recommended[0][0]
    unknown = view(explained, case(9, 2, target=0), device=CPU, start=start).explained
    assert unknown == best
    assert view(explained, case(*range(1, 11), target=0), device=CPU, start=start).explained is None


def test_places_in_order_of_importance() -> None:
    assert first_places(np.array([0.2, 0.5, np.nan])).tolist() == [1, 0]
    assert first_places(np.array([0.2, 0.5, 0.2, 0.2])).tolist() == [1, 3, 2, 0]  # ties: the later one first


def test_explanations_of_a_model() -> None:
    generator = np.random.default_rng(0)
    cases = [case(*generator.integers(1, 11, length), target=5) for length in (2, 3, 4, 5, 6, 6, 6)]
    steps: list[str] = []
    found = faithfulness(model().eval(), cases, device=CPU, on_step=steps.append)
    assert found.users == 6  # the shortest history has too few items
    assert {LEAVE_ONE_OUT, "gradient x input", "integrated gradients", "chance", "latest first"} < set(steps)
    for explanation in found.explanations.values():
        # The whole history in another batch: equal up to rounding.
        assert explanation.deletion.points[0].mean == pytest.approx(0, abs=1e-5)
        assert explanation.insertion.points[-1].mean == pytest.approx(0, abs=1e-5)
        for agreement in explanation.agreement.values():
            assert -1 <= agreement.kendall.low <= agreement.kendall.mean <= agreement.kendall.high <= 1
    # Removing the top item makes targets more likely least often if importance is measured by leaving items out.
    rates = {name: each.without_top["more likely"].mean for name, each in found.explanations.items()}
    assert rates[LEAVE_ONE_OUT] == min(rates.values())


def test_agreement_is_mutual() -> None:
    plain = model("sasrec", "none", position_embedding=True).eval()
    found = faithfulness(plain, [case(3, 1, 4, 1, 5, target=2)], device=CPU)
    there = found.explanations["integrated gradients"].agreement[LEAVE_ONE_OUT]
    back = found.explanations[LEAVE_ONE_OUT].agreement["integrated gradients"]
    assert there == back and LEAVE_ONE_OUT not in found.explanations[LEAVE_ONE_OUT].agreement


def test_too_short_histories() -> None:
    with pytest.raises(DataError, match="no history has 3 items"):
        faithfulness(model().eval(), [case(1, 2)], device=CPU)


def test_intervals() -> None:
    values = np.random.default_rng(1).normal(3.0, 2.0, 400)
    interval = mean_interval(np.append(values, np.nan))
    assert interval.count == 400 and interval.mean == pytest.approx(values.mean())
    assert interval.margin == pytest.approx(1.96 * values.std() / 20, rel=0.15)  # by the central limit theorem
    assert mean_interval(np.ones(3)).margin == 0
    with pytest.raises(ValueError, match="no values"):
        mean_interval(np.array([np.nan]))
