"""Base classes of models: the interface for training, evaluation, recommending and inspection."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from actsr_cli.attention import Relations, recorded
from actsr_cli.batch import Batch, TrainingBatch
from actsr_cli.config import CalibrationOptions, ModelOptions, TrainedOptions, TransformerOptions
from actsr_cli.errors import RunError
from actsr_cli.models.encoder import HIDDEN_STATES, Encoded, Encoder, LayerOutput, Pass


class Model(nn.Module, ABC):
    """Scores every item as the next one of a history.

    A class outside this package describes itself by the class attributes below: `actsr models` and the checks before a
    training read them.

    Args:
        options: the model's settings.
        calibration: how its attention is calibrated.
        n_items: items of the catalogue, padding not counted; ids run from 1 to `n_items`.
        n_users: users of the data set; their ids run from 0.

    Attributes:
        config: the model's settings.
        paper: where the model was published.
        needs_users: whether it learns something about each user.
        needs_timestamps: whether it reads the times of interactions.
        calibrated: whether its attention can be calibrated.
        options: keys of `model.options` that it reads.
    """

    config: ModelOptions
    paper: ClassVar[str] = ""
    needs_users: ClassVar[bool] = False
    needs_timestamps: ClassVar[bool] = False
    calibrated: ClassVar[bool] = True
    options: ClassVar[tuple[str, ...]] = ()

    def __init__(self, options: ModelOptions, calibration: CalibrationOptions, n_items: int, n_users: int = 0) -> None:
        super().__init__()
        self.config = options
        self.calibration = calibration
        self.n_items = n_items
        self.n_users = n_users

    @property
    def max_length(self) -> int:
        """Number of latest items of a history that the model reads."""
        return self.config.max_length

    @abstractmethod
    def score(self, batch: Batch) -> Tensor:
        """(batch, n_items + 1) score of every item as the next one; column 0 is padding and has no meaning.

        Histories may be of any length; the latest `config.max_length` items are read.
        """

    def item_similarities(self, items: Tensor) -> Tensor:
        """(items, n_items + 1) how similar some items, (items,), are to each item of the catalogue.

        Raises:
            RunError: the model knows nothing that makes items similar.
        """
        raise RunError(f"{type(self).__name__} has no item vectors: it cannot say which items are similar")


class CountingModel(Model):
    """A model that is fitted by counting the training data once; its state is in buffers."""

    calibrated: ClassVar[bool] = False

    @abstractmethod
    def fit(self, items: NDArray[np.int64], offsets: NDArray[np.int64]) -> None:
        """Fit the model to the training part of every user.

        Args:
            items: (interactions,) item ids, users one after another, each in time order.
            offsets: (users + 1,) user u has items[offsets[u]:offsets[u + 1]].
        """


class SequentialModel(Model):
    """A model that is trained by gradients, and ranks items by comparing hidden states with item vectors.

    Attributes:
        causal: row i of the hidden states depends on no item after position i. One pass over a history then trains all
            its prefixes.
    """

    config: TrainedOptions
    causal: ClassVar[bool] = True

    @abstractmethod
    def encode(self, batch: Batch, wanted: Pass = HIDDEN_STATES) -> Encoded:
        """Hidden states of every position, (batch, length - first_row, width of `item_vectors`).

        Args:
            batch: histories of at most `config.max_length` items (and a mask after them in cloze models).
            wanted: what else to return, and `first_row`.
        """

    @abstractmethod
    def item_vectors(self) -> Tensor:
        """(n_items + 1, width) vectors that hidden states are compared with; row 0 is padding."""

    def tables(self) -> list[nn.Embedding]:
        """The tables with a row for each item or user, of which a batch reads a few rows.

        The first is the one whose weight `item_vectors` returns, perhaps without its last rows.
        """
        vectors = self.item_vectors()
        return [
            module
            for module in self.modules()
            if isinstance(module, nn.Embedding)
            and module.weight.data_ptr() == vectors.data_ptr()
            and module.weight.shape[1:] == vectors.shape[1:]
        ]

    def item_similarities(self, items: Tensor) -> Tensor:
        """(items, n_items + 1) cosine similarities of item vectors."""
        vectors = F.normalize(self.item_vectors(), dim=-1)
        return vectors[items] @ vectors.T

    def training_inputs(self, batch: TrainingBatch) -> TrainingBatch:
        """The batch to encode in training, with the target of each row; cloze models mask items here."""
        return batch

    def scoring_inputs(self, batch: Batch) -> Batch:
        """The batch to encode for ranking; the hidden state of the last position ranks the next item."""
        return batch

    def represent(self, batch: Batch) -> Tensor:
        """(batch, width): each history of at most `config.max_length` items as a vector that ranks the next item."""
        inputs = self.scoring_inputs(batch)
        rows = torch.arange(len(inputs.lengths), device=inputs.lengths.device)
        return self.encode(inputs).hidden[rows, inputs.lengths - 1]

    def score(self, batch: Batch) -> Tensor:
        return self.item_scores(self.represent(batch.latest(self.config.max_length)))

    def item_scores(self, hidden: Tensor) -> Tensor:
        """(..., n_items + 1) scores of all items by hidden states (..., width)."""
        return self.compared(hidden) @ self.compared(self.item_vectors()).T

    def compared(self, vectors: Tensor) -> Tensor:
        """Hidden states or item vectors, (..., width), scaled so that dot products of the two are scores.

        With `similarity: cosine` each has the length 1 / √temperature (NormFace, Wang et al., 2017).
        """
        if self.config.similarity == "dot":
            return vectors
        return F.normalize(vectors, dim=-1) / math.sqrt(self.config.temperature)


@dataclass(frozen=True)
class Embedded:
    """The input of an encoder.

    Attributes:
        hidden: (batch, length, hidden) embedded items.
        allowed: (batch, 1, length, length) bool, see `allowed_pairs`.
        relations: positions and time intervals of the pairs, if the model uses them.
    """

    hidden: Tensor
    allowed: Tensor
    relations: Relations | None = None


class EncoderModel(SequentialModel):
    """A sequential model that embeds a batch and encodes it with a stack of calibrated layers.

    Attributes:
        item_embedding: (n_items + 1, width) vectors of items, which also score them; row 0 is padding.
        encoder: the layers.
    """

    config: TransformerOptions
    item_embedding: nn.Embedding
    encoder: Encoder

    @abstractmethod
    def embed(self, batch: Batch) -> Embedded:
        """Embed a batch for the encoder."""

    def item_part(self, hidden: Tensor) -> Tensor:
        """The part of the encoder's hidden states, (..., hidden), that scores items: (..., width of `item_vectors`)."""
        return hidden

    def encode(self, batch: Batch, wanted: Pass = HIDDEN_STATES) -> Encoded:
        embedded = self.embed(batch)
        encoded: Encoded = self.encoder(embedded.hidden, embedded.allowed, relations=embedded.relations, wanted=wanted)
        perturbed = None if encoded.perturbed is None else self.item_part(encoded.perturbed)
        return replace(encoded, hidden=self.item_part(encoded.hidden), perturbed=perturbed)

    def represent(self, batch: Batch) -> Tensor:
        inputs = self.scoring_inputs(batch)
        return self.represent_embedded(self.embed(inputs), inputs.lengths)

    def represent_embedded(self, embedded: Embedded, lengths: Tensor) -> Tensor:
        """(batch, width): embedded histories as vectors that rank the next item; lengths are (batch,)."""
        last = self.encoder.encode_last(embedded.hidden, embedded.allowed, lengths - 1, relations=embedded.relations)
        return self.item_part(last)

    def item_vectors(self) -> Tensor:
        return self.item_embedding.weight


class CustomModel(SequentialModel):
    """The base class of a custom model, which only needs `forward` and `item_vectors`.

    It may attend with `CalibratedAttention`. The perturbed stream then takes a second pass.
    """

    @abstractmethod
    def forward(self, batch: Batch) -> Tensor:
        """(batch, length, width) hidden states of right-padded histories; row i may only depend on items up to i."""

    def encode(self, batch: Batch, wanted: Pass = HIDDEN_STATES) -> Encoded:
        with recorded(self, keep_stages=wanted.keep_stages) as outputs:
            hidden = self(batch)
            attended = outputs()
        perturbed = None
        if wanted.perturb:
            with recorded(self, perturb=True):
                perturbed = self(batch)[:, wanted.first_row :]
        layers = tuple(LayerOutput(output.attended, None, output.mask, output.stages) for output in attended)
        return Encoded(
            hidden=hidden[:, wanted.first_row :],
            perturbed=perturbed,
            masks=tuple(output.mask for output in attended if output.mask is not None),
            layers=layers if wanted.keep_stages else (),
        )
