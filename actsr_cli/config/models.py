"""Settings of the models. Each model has one options class, which describes it without importing its code."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import BeforeValidator, Field, SerializeAsAny, model_validator

from actsr_cli.config.calibration import CALIBRATIONS, CalibrationOptions
from actsr_cli.config.section import Choice, Choices, Probability, Section

_NAME = "Model, as `actsr models` lists it, or package.module:Class of your own."


class ModelOptions(Choice):
    """A model that can be trained.

    Attributes:
        title: its name in the literature.
        paper: where it was published.
        target: `module:Class` of the implementation.
        needs_users: whether it learns something about each user.
        needs_timestamps: whether it reads the times of interactions.
        made_by: the command that makes it, if it cannot be trained; else empty.
        causal: whether one pass over a history predicts the next item after each of its items.
        calibrated: whether its attention can be calibrated.
        trained: whether it is trained by gradient descent and reads the sections `training` and `loss`.
        search: the search space of `actsr tune` if none is given, in the form of a preset's `tune` section.
    """

    named_by: ClassVar[str] = "name"
    title: ClassVar[str] = ""
    paper: ClassVar[str] = ""
    target: ClassVar[str] = ""
    needs_users: ClassVar[bool] = False
    needs_timestamps: ClassVar[bool] = False
    made_by: ClassVar[str] = ""
    causal: ClassVar[bool] = False
    calibrated: ClassVar[bool] = False
    trained: ClassVar[bool] = False
    search: ClassVar[dict[str, Any]] = {}

    name: str = Field(description=_NAME)
    max_length: int = Field(50, ge=1, le=100_000, description="Longest history that the model reads, in items.")


class TrainedOptions(ModelOptions):
    """A model that is trained by gradient descent."""

    causal: ClassVar[bool] = True
    trained: ClassVar[bool] = True
    search: ClassVar[dict[str, Any]] = {
        "training.learning_rate": {"low": 5e-4, "high": 2e-3, "log": True, "steps": 3},
        "model.hidden_dropout": {"low": 0.1, "high": 0.5, "steps": 3},
    }

    hidden_size: int = Field(64, ge=1, le=65_536, description="Width of the hidden states.")
    inner_size: int = Field(
        128, ge=1, le=1_000_000, description="Width inside the feed-forward blocks; in GRU4Rec, of the state."
    )
    layers: int = Field(2, ge=1, le=1_000, description="Number of layers.")
    hidden_dropout: Probability = Field(0.5, description="Dropout on hidden states.")
    similarity: Literal["dot", "cosine"] = Field(
        "dot", description="Score of an item: dot product with the hidden state, or cosine divided by temperature."
    )
    temperature: float = Field(0.07, gt=0, description="With similarity: cosine, the divisor of the cosines.")
    learn_repeats: bool = Field(
        False, description="Learn a bonus, or a malus, on the scores of items that the history already holds."
    )


class TransformerOptions(TrainedOptions):
    """A model of calibrated transformer layers."""

    calibrated: ClassVar[bool] = True

    heads: int = Field(2, ge=1, description="Number of attention heads; must divide hidden_size.")
    attention_dropout: Probability = Field(0.5, description="Dropout on attention weights and adversarial masks.")
    activation: Literal["gelu", "relu", "swish", "tanh", "sigmoid"] = Field(
        "gelu", description="Activation of the feed-forward blocks."
    )
    layer_norm_eps: float = Field(1e-12, gt=0, description="Added to the variance in layer normalisation.")
    initializer_range: float = Field(0.02, gt=0, description="Standard deviation of the initial weights.")
    reproduce_published_faults: bool = Field(
        False, description="Reproduce the published code including its faults (for comparisons only)."
    )

    @model_validator(mode="after")
    def _heads_divide_width(self) -> Self:
        if self.hidden_size % self.heads:
            raise ValueError(f"hidden_size {self.hidden_size} is not a multiple of heads {self.heads}")
        return self


class PositionOptions(TransformerOptions):
    """A transformer that may have learned positions."""

    position_embedding: bool | None = Field(
        None, description="Learned absolute positions; null: on, but off with the spatial calibrator."
    )


class EncoderOptions(TransformerOptions):
    """A model of the package's own transformer layers, which may filter a history beside attending to it."""

    filter: Literal["none", "conv", "dilated", "dynamic"] = Field(
        "none", description="Filter of the history beside the attention of each layer."
    )
    filter_kernel: int = Field(
        4, ge=1, le=64, description="Number of items that the filter weighs: the item itself and others before it."
    )
    filter_share: float = Field(
        0.5, gt=0, lt=1, description="Share of the filter in the attended values at the start; it is learned."
    )
    residual: Literal["post-norm", "gated"] = Field(
        "post-norm",
        description="post-norm: add, then normalise (published); gated: normalise, then gate what is added (LiGR).",
    )

    @model_validator(mode="after")
    def _the_published_layers_are_plain(self) -> Self:
        for key, value, plain in (("filter", self.filter, "none"), ("residual", self.residual, "post-norm")):
            if self.reproduce_published_faults and value != plain:
                raise ValueError(f"{key} {value} cannot be used with reproduce_published_faults")
        return self


class CustomOptions(PositionOptions):
    """A model of your own: the keys that most models have, and `options` for all others.

    Attributes:
        own: keys of `options` that the model reads.
    """

    own: ClassVar[tuple[str, ...]] = ()

    options: dict[str, Any] = Field(default_factory=dict, description="Settings of a model of your own.")


MODELS = Choices("model", ModelOptions, default="sasrec", own=CustomOptions, group="actsr.models")
"""Packages register their models as entry points of this group."""

_ITEM_REPLACEMENT = "Probability of replacing an item of a history by a random one in training."


@MODELS.register
class SASRecOptions(PositionOptions, EncoderOptions):
    """A causal transformer over item embeddings."""

    title: ClassVar[str] = "SASRec"
    paper: ClassVar[str] = "Kang and McAuley, Self-Attentive Sequential Recommendation, ICDM 2018"
    target: ClassVar[str] = "actsr_cli.models.sasrec:SASRec"

    name: Literal["sasrec"] = Field("sasrec", description=_NAME)
    item_replacement: Probability = Field(0.0, description=_ITEM_REPLACEMENT)


@MODELS.register
class BERT4RecOptions(PositionOptions, EncoderOptions):
    """A bidirectional transformer that predicts masked items."""

    title: ClassVar[str] = "BERT4Rec"
    paper: ClassVar[str] = "Sun et al., BERT4Rec, CIKM 2019"
    target: ClassVar[str] = "actsr_cli.models.bert4rec:BERT4Rec"
    causal: ClassVar[bool] = False

    name: Literal["bert4rec"] = Field("bert4rec", description=_NAME)
    mask_ratio: float = Field(0.4, gt=0, lt=1, description="Share of the positions that are masked in training.")
    mask_last: float = Field(
        0.0, ge=0, le=1, description="Share of the sequences in which only the last position is masked."
    )
    output_layer: bool = Field(
        False,
        description="Pass hidden states through an affine map, GELU and normalisation before they score items, and "
        "learn a bias for each item, as the paper does.",
    )
    without_oldest: bool = Field(
        False, description="Rank without the oldest item of a history, as RecBole 1.2.1 does (for comparisons only)."
    )

    @model_validator(mode="after")
    def _a_bias_needs_dot_products(self) -> Self:
        if self.output_layer and self.similarity != "dot":
            raise ValueError(f"similarity {self.similarity} cannot be used with output_layer")
        return self


@MODELS.register
class SSEPTOptions(PositionOptions, EncoderOptions):
    """SASRec with a user embedding concatenated to each item embedding."""

    title: ClassVar[str] = "SSE-PT"
    paper: ClassVar[str] = "Wu et al., SSE-PT: Sequential Recommendation via Personalized Transformer, RecSys 2020"
    target: ClassVar[str] = "actsr_cli.models.sse_pt:SSEPT"
    needs_users: ClassVar[bool] = True

    name: Literal["sse-pt"] = Field("sse-pt", description=_NAME)
    item_replacement: Probability = Field(0.0, description=_ITEM_REPLACEMENT)
    user_size: int | None = Field(
        None, ge=1, description="Part of hidden_size for the user embedding; items get the rest. null: half."
    )
    user_replacement: Probability = Field(
        0.0, description="Probability of replacing a user by a random one in training (stochastic shared embeddings)."
    )


@MODELS.register
class TiSASRecOptions(EncoderOptions):
    """A causal transformer that uses the time intervals between items."""

    title: ClassVar[str] = "TiSASRec"
    paper: ClassVar[str] = "Li et al., Time Interval Aware Self-Attention for Sequential Recommendation, WSDM 2020"
    target: ClassVar[str] = "actsr_cli.models.tisasrec:TiSASRec"
    needs_timestamps: ClassVar[bool] = True

    name: Literal["tisasrec"] = Field("tisasrec", description=_NAME)
    time_span: int = Field(
        256, ge=1, le=10_000_000, description="Longer time intervals are clipped to this many units."
    )
    interval_scale: Literal["user", "raw"] = Field(
        "user", description="Unit of time intervals: the user's smallest interval, or a second (published AC code)."
    )


@MODELS.register
class GRU4RecOptions(TrainedOptions):
    """A recurrent network over item embeddings."""

    title: ClassVar[str] = "GRU4Rec"
    paper: ClassVar[str] = "Hidasi et al., Session-based Recommendations with Recurrent Neural Networks, ICLR 2016"
    target: ClassVar[str] = "actsr_cli.models.gru4rec:GRU4Rec"

    name: Literal["gru4rec"] = Field("gru4rec", description=_NAME)


@MODELS.register
class ItemKNNOptions(ModelOptions):
    """Item-based nearest neighbours that use the order of items."""

    title: ClassVar[str] = "Item-KNN"
    paper: ClassVar[str] = "Sarwar et al., Item-Based Collaborative Filtering, WWW 2001, here aware of sequence"
    target: ClassVar[str] = "actsr_cli.models.item_knn:ItemKNN"
    search: ClassVar[dict[str, Any]] = {
        "model.neighbours": [50, 100, 200],
        "model.neighbour_decay": {"low": 0.6, "high": 1.0, "steps": 3},
    }

    name: Literal["item-knn"] = Field("item-knn", description=_NAME)
    neighbours: int = Field(100, ge=1, le=100_000, description="Number of neighbours kept for each item.")
    neighbour_reach: int = Field(
        5, ge=1, le=1_000, description="Largest distance between neighbours in a history, in positions."
    )
    neighbour_shrinkage: float = Field(
        0.0, ge=0, description="Added to each item's interaction count; lowers the scores of rare items."
    )
    neighbour_decay: float = Field(
        0.8, gt=0, le=1, description="Weight of a history item relative to the next, more recent one."
    )


@MODELS.register
class PopularityOptions(ModelOptions):
    """Ranks items by their number of training interactions."""

    title: ClassVar[str] = "Popularity"
    paper: ClassVar[str] = "the number of training interactions"
    target: ClassVar[str] = "actsr_cli.models.popularity:Popularity"

    name: Literal["popularity"] = Field("popularity", description=_NAME)


class Member(Section):
    """A model of an ensemble: a built-in one that predicts each next item, and knows neither users nor times."""

    model: Annotated[SerializeAsAny[ModelOptions], BeforeValidator(MODELS.read)] = Field(description="The model.")
    calibration: Annotated[SerializeAsAny[CalibrationOptions], BeforeValidator(CALIBRATIONS.read)] = Field(
        description="How its attention is calibrated."
    )

    @model_validator(mode="after")
    def _can_be_one(self) -> Self:
        model = self.model
        if not (model.trained and model.causal) or model.needs_users or model.needs_timestamps:
            raise ValueError(f"{model.name} is not a model that predicts each next item from items alone")
        if isinstance(model, CustomOptions):  # the code of others is imported only if a run's own model is it
            raise ValueError(f"{model.name} is not a built-in model")
        return self


@MODELS.register_made
class EnsembleOptions(ModelOptions):
    """Ranks by the mean of the scores of trained models."""

    title: ClassVar[str] = "Ensemble"
    target: ClassVar[str] = "actsr_cli.models.ensemble:Ensemble"
    made_by: ClassVar[str] = "actsr combine"
    causal: ClassVar[bool] = True

    name: Literal["ensemble"] = Field("ensemble", description=_NAME)
    members: tuple[Member, ...] = Field(min_length=2, description="The models.")

    @model_validator(mode="after")
    def _members_read_as_much(self) -> Self:
        if any(member.model.max_length != self.max_length for member in self.members):
            raise ValueError("the models of an ensemble must read histories of one length, model.max_length")
        return self
