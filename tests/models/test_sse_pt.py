"""SSE-PT: user embeddings, stochastic shared embeddings, unknown users."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from flat import batch_of, trained
from samples import built, prediction_loss, run_config

from actsr_cli.models.layers import shared_items
from actsr_cli.models.sse_pt import SSEPT
from actsr_cli.training.objective import Objective

N_ITEMS, N_USERS = 9, 4
HISTORY = batch_of([[1, 2, 3], [4, 5]], users=[0, 2])


def tiny(**options: Any) -> SSEPT:
    torch.manual_seed(0)
    settings = {"hidden_dropout": 0.0, "attention_dropout": 0.0, "initializer_range": 0.5, **options}
    model = built(run_config("sse-pt", hidden_size=8, inner_size=8, max_length=6, **settings), N_ITEMS, N_USERS)
    assert isinstance(model, SSEPT)
    return model


def train_on(model: SSEPT, users: list[int]) -> None:
    """Run a training pass over some users, after which they are known."""
    model.train()
    model.encode(batch_of([[1, 1]] * len(users), users))
    model.eval()


def test_sizes() -> None:
    model = tiny(user_size=3)
    assert model.user_embedding.weight.shape == (N_USERS + 1, 3)
    assert model.item_vectors().shape == (N_ITEMS + 1, 5)
    assert model.encode(HISTORY).hidden.shape == (5, 5)
    assert model.represent(HISTORY).shape == (2, 5)


def test_a_user_changes_the_scores() -> None:
    model = tiny().eval()
    other = replace(HISTORY, user_ids=torch.tensor([1, 2]))
    assert not torch.allclose(model.score(HISTORY)[0], model.score(other)[0])
    torch.testing.assert_close(model.score(HISTORY)[1], model.score(other)[1])


def test_loss_equals_that_of_concatenated_items_and_users() -> None:
    """The paper's logits, hidden · [item; user], differ from ours by a constant per user, which the softmax cancels."""
    model = tiny()
    batch = trained(HISTORY, [[2, 3, 4], [5, 6]])
    ours = Objective(model, prediction_loss()).losses(batch).calibrated
    embedded = model.embed(batch)
    hidden = model.encoder(embedded.hidden, embedded.packing).hidden  # (tokens, item and user parts)
    users = model.user_embedding(torch.tensor([1, 1, 1, 3, 3]))
    logits = [
        row @ torch.cat([model.item_vectors(), user.expand(10, -1)], -1).T
        for row, user in zip(hidden, users, strict=True)
    ]
    expected = F.cross_entropy(torch.stack(logits), batch.targets)
    torch.testing.assert_close(ours, expected)


def test_strangers_get_the_mean_of_trained_users() -> None:
    model = tiny()
    train_on(model, [0, 2])
    mean = model.user_embedding.weight[[1, 3]].mean(0)
    for users in (torch.tensor([-1, 3]), None):  # an unknown id and an untrained user; no ids
        vectors = model._user_vectors(replace(HISTORY, user_ids=users))
        torch.testing.assert_close(vectors, mean.expand(2, -1))
    known = model._user_vectors(replace(HISTORY, user_ids=torch.tensor([2, 0])))
    torch.testing.assert_close(known, model.user_embedding.weight[[3, 1]])


def test_who_was_trained_is_saved_with_the_model() -> None:
    model = tiny()
    train_on(model, [0, 2])
    again = tiny()
    again.load_state_dict(model.state_dict())
    stranger = replace(HISTORY, user_ids=torch.tensor([-1, 1]))
    torch.testing.assert_close(again.eval().score(stranger), model.score(stranger))


def test_training_needs_users() -> None:
    with pytest.raises(ValueError, match="user_ids"):
        tiny().encode(replace(HISTORY, user_ids=None))


def test_stochastic_shared_embeddings() -> None:
    items = torch.ones(200, 50, dtype=torch.int64)
    items[:, 40:] = 0
    users = torch.ones(10_000, dtype=torch.int64)
    off = tiny()
    assert shared_items(items, N_ITEMS, 0.0) is items
    assert off._shared_users(users) is users
    model = tiny(item_replacement=0.3, user_replacement=0.2)
    shared = shared_items(items, N_ITEMS, 0.3)
    assert not shared[:, 40:].any(), "padding is never replaced"
    others = (shared[:, :40] != 1).float().mean()
    assert others.item() == pytest.approx(0.3 * (1 - 1 / N_ITEMS), abs=0.02)
    assert shared.max() == N_ITEMS
    replaced = model._shared_users(users)
    assert (replaced != 1).float().mean().item() == pytest.approx(0.2 * (1 - 1 / N_USERS), abs=0.02)
    assert replaced.min() >= 1 and replaced.max() == N_USERS
    torch.testing.assert_close(model.eval().score(HISTORY), off.eval().score(HISTORY))
