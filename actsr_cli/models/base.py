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
from actsr_cli.attention.objective import mask_squares
from actsr_cli.batch import Batch, PaddedBatch, TrainingBatch
from actsr_cli.config import CalibrationOptions, ModelOptions, TrainedOptions
from actsr_cli.config.models import EncoderOptions
from actsr_cli.errors import RunError
from actsr_cli.models.encoder import HIDDEN_STATES, Encoded, Encoder, LayerOutput, Pass
from actsr_cli.models.repeats import LearnedBonus, RepeatBonus, Repeats
from actsr_cli.packing import Packing

_SHORTEST = 1e-3
"""The shortest vector that is scaled to the common length."""
_ITEMS_AT_A_TIME = 512
"""Items whose scores a CPU computes in one product: those of 256 histories take 512 KiB."""


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
        repeat_bonus: what is added to the scores of items that the history already holds, or None.
    """

    config: TrainedOptions
    causal: ClassVar[bool] = True

    def __init__(self, options: ModelOptions, calibration: CalibrationOptions, n_items: int, n_users: int = 0) -> None:
        super().__init__(options, calibration, n_items, n_users)
        self.repeat_bonus: RepeatBonus | None = LearnedBonus() if self.config.learn_repeats else None

    @abstractmethod
    def encode(self, batch: Batch, wanted: Pass = HIDDEN_STATES) -> Encoded:
        """Hidden states of the wanted tokens, (rows, width of `item_vectors`).

        Args:
            batch: histories of at most `config.max_length` items (and a mask after them in cloze models).
            wanted: which tokens, and what else to return.
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
        """The batch to encode in training; cloze models mask items here."""
        return batch

    def scoring_inputs(self, batch: Batch) -> Batch:
        """The batch to encode for ranking; the hidden state of each last token ranks the next item."""
        return batch

    @property
    def unread_items(self) -> int:
        """Number of items at the beginning of each history that `scoring_inputs` leaves out."""
        return 0

    def represent(self, batch: Batch) -> Tensor:
        """(batch, width): each history of at most `config.max_length` items as a vector that ranks the next item."""
        inputs = self.scoring_inputs(batch)
        return self.encode(inputs, Pass(rows=inputs.packing.last)).hidden

    def score(self, batch: Batch) -> Tensor:
        batch = batch.latest(self.config.max_length)
        return self.scores_after(batch, self.represent(batch))

    def scores_after(self, batch: Batch, hidden: Tensor) -> Tensor:
        """(histories, n_items + 1) scores of all items by the hidden state of each history, (histories, width)."""
        scores = self.item_scores(hidden)
        if self.repeat_bonus is None:
            return scores
        repeats: Repeats = self.repeat_bonus.of_histories(batch, self.n_items)
        return repeats.added(scores)

    def repeats(self, batch: Batch, rows: Tensor) -> Repeats | None:
        """The items that each row, (rows,), has seen, with their bonus; None without one."""
        if self.repeat_bonus is None:
            return None
        repeats: Repeats = self.repeat_bonus(batch, rows, self.n_items, causal=self.causal)
        return repeats

    def item_scores(self, hidden: Tensor) -> Tensor:
        """(..., n_items + 1) scores of all items by hidden states (..., width)."""
        return _products(self.compared(hidden), self.compared(self.item_vectors()))

    def compared(self, vectors: Tensor) -> Tensor:
        """Hidden states or item vectors, (..., width), scaled so that dot products of the two are scores.

        With `similarity: cosine` each has the length 1 / √temperature (NormFace, Wang et al., 2017). Vectors
        shorter than `_SHORTEST` stay shorter, so that the gradient of the padding, which begins as 0, is not huge.
        """
        if self.config.similarity == "dot":
            return vectors
        return F.normalize(vectors, dim=-1, eps=_SHORTEST) / math.sqrt(self.config.temperature)


def _products(hidden: Tensor, items: Tensor) -> Tensor:
    """hidden · itemsᵀ. A CPU computes some items at a time if it may: in half the time, as they stay in the cache."""
    in_blocks = hidden.device.type == "cpu" and hidden.dim() == 2 and not torch.is_grad_enabled()
    if not in_blocks or torch.compiler.is_compiling():
        return hidden @ items.T
    scores = hidden.new_empty(len(hidden), len(items))
    for first in range(0, len(items), _ITEMS_AT_A_TIME):
        some = slice(first, first + _ITEMS_AT_A_TIME)
        torch.mm(hidden, items[some].T, out=scores[:, some])
    return scores


@dataclass(frozen=True)
class Embedded:
    """The input of an encoder.

    Attributes:
        hidden: (tokens, hidden) embedded items.
        packing: the sequences.
        relations: positions and time intervals of the pairs, if the model uses them.
        real_lengths: see `Pairs`.
    """

    hidden: Tensor
    packing: Packing
    relations: Relations | None = None
    real_lengths: Tensor | None = None


class EncoderModel(SequentialModel):
    """A sequential model that embeds a batch and encodes it with a stack of calibrated layers.

    Attributes:
        item_embedding: (n_items + 1, width) vectors of items, which also score them; row 0 is padding.
        encoder: the layers.
    """

    config: EncoderOptions
    item_embedding: nn.Embedding
    encoder: Encoder

    @abstractmethod
    def embed(self, batch: Batch) -> Embedded:
        """Embed a batch for the encoder."""

    def item_part(self, hidden: Tensor) -> Tensor:
        """The part of the encoder's hidden states, (..., hidden), that scores items: (..., width of `item_vectors`)."""
        return hidden

    def encode(self, batch: Batch, wanted: Pass = HIDDEN_STATES) -> Encoded:
        if self.encoder.reads_padding(wanted):
            return self._encode_with_padding(batch, wanted)
        return self.encode_embedded(self.embed(batch), wanted)

    def encode_embedded(self, embedded: Embedded, wanted: Pass = HIDDEN_STATES) -> Encoded:
        """`encode` from embedded items on."""
        encoded: Encoded = self.encoder(
            embedded.hidden,
            embedded.packing,
            relations=embedded.relations,
            real_lengths=embedded.real_lengths,
            wanted=wanted,
        )
        perturbed = None if encoded.perturbed is None else self.item_part(encoded.perturbed)
        return replace(encoded, hidden=self.item_part(encoded.hidden), perturbed=perturbed)

    def _encode_with_padding(self, batch: Batch, wanted: Pass) -> Encoded:
        """`encode` with padding as tokens, which a fault of the published code reads (`reads_padding`)."""
        padded, packing = batch.padded(), batch.packing
        times = None if padded.timestamps is None else padded.timestamps.flatten()
        whole = Packing(np.full(len(packing), packing.longest), packing.device)
        embedded = self.embed(Batch(padded.item_ids.flatten(), whole, batch.user_ids, times))
        places = packing.sequences * packing.longest + packing.positions
        rows = places if wanted.rows is None else places[wanted.rows]
        encoded = self.encode_embedded(replace(embedded, real_lengths=batch.lengths), replace(wanted, rows=rows))
        return replace(encoded, squares=tuple(each[places] for each in encoded.squares))

    def item_vectors(self) -> Tensor:
        return self.item_embedding.weight


class CustomModel(SequentialModel):
    """The base class of a custom model, which only needs `forward` and `item_vectors`.

    It may attend with `CalibratedAttention`. The perturbed stream then takes a second pass.
    """

    @abstractmethod
    def forward(self, batch: PaddedBatch) -> Tensor:
        """(histories, length, width) hidden states; row i may only depend on items up to i."""

    def encode(self, batch: Batch, wanted: Pass = HIDDEN_STATES) -> Encoded:
        padded, packing = batch.padded(), batch.packing
        with recorded(self, keep_stages=wanted.keep_stages) as outputs:
            hidden = packing.pack(self(padded))
            attended = outputs()
        perturbed = None
        if wanted.train:
            with recorded(self, perturb=True):
                perturbed = packing.pack(self(padded))
        masks = [output.mask for output in attended if output.mask is not None]
        layers = tuple(LayerOutput(packing.pack(output.attended), None, None, output.stages) for output in attended)
        rows = slice(None) if wanted.rows is None else wanted.rows
        return Encoded(
            hidden=hidden[rows],
            perturbed=None if perturbed is None else perturbed[rows],
            squares=tuple(packing.pack(mask_squares(mask)) for mask in masks) if wanted.train else (),
            layers=layers if wanted.keep_stages else (),
        )
