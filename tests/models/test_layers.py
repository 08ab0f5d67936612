"""Layers that normalise first and gate what they add."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from flat import batch_of
from samples import built, run_config

from actsr_cli.models.base import EncoderModel
from actsr_cli.models.encoder import GatedLayer, SwiGLU


def test_a_gated_layer_by_its_formula() -> None:
    torch.manual_seed(0)
    config = run_config(hidden_size=4, inner_size=6, layers=1, heads=1, initializer_range=0.5, residual="gated")
    model = built(config, n_items=9).eval()
    assert isinstance(model, EncoderModel)
    (layer,) = model.encoder.layers
    assert isinstance(layer, GatedLayer) and isinstance(layer.feed_forward, SwiGLU)
    batch = batch_of([[1, 2, 3]])
    x = model.embed(batch).hidden
    normed = F.layer_norm(x, (4,), layer.norm.weight, layer.norm.bias, eps=1e-12)
    attention = layer.attention
    queries, keys, values = attention.query(normed), attention.key(normed), attention.value(normed)
    weights = (queries @ keys.T / 2).masked_fill(torch.ones(3, 3).triu(1).bool(), -torch.inf).softmax(dim=1)
    y = x + torch.sigmoid(layer.attention_gate(x)) * attention.output(weights @ values)
    feed, read = layer.feed_forward, layer.feed_norm(y)
    fed = feed.outer(feed.gate(read) * torch.sigmoid(feed.gate(read)) * feed.inner(read))
    expected = model.encoder.norm(y + torch.sigmoid(layer.feed_gate(y)) * fed)
    torch.testing.assert_close(model.encode(batch).hidden, expected)
