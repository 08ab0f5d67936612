"""The schema of a run: every key a preset, a config file or `--set` may name, with its type, bounds and meaning."""

from __future__ import annotations

import re
from datetime import date, datetime
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, field_validator, model_validator


def _formed_like(pattern: str, wanted: str) -> AfterValidator:
    """Checks the form of a text, and says `wanted` where it differs."""

    def check(text: str) -> str:
        if not re.fullmatch(pattern, text):
            raise ValueError(f"must be {wanted}")
        return text

    return AfterValidator(check)


Calibration = Literal["none", "spatial", "adversarial", "full"]
Probability = Annotated[float, Field(ge=0.0, lt=1.0)]
Measure = Annotated[str, _formed_like(r"[a-z][a-z_]*(@[1-9][0-9]*)?", "a metric such as ndcg@10, see docs/evaluate.md")]
Device = Annotated[str, _formed_like(r"auto|cpu|mps|cuda(:[0-9]+)?", "auto, cpu, cuda, cuda:N or mps")]


def _moment(value: object) -> object:
    """A share between 0 and 1, a timestamp above 1, or the text of an ISO date."""
    if isinstance(value, date):  # YAML reads dates by itself
        return value.isoformat()
    if isinstance(value, str):
        try:
            return datetime.fromisoformat(value).isoformat()
        except ValueError:
            raise ValueError("must be a share between 0 and 1, an ISO date (2014-03-01) or a timestamp") from None
    if isinstance(value, int | float) and not isinstance(value, bool) and value <= 0:
        raise ValueError("must be above 0")
    return value


class Section(BaseModel):
    """A group of keys; an unknown key is an error, and a config is never changed in place."""

    model_config = ConfigDict(extra="forbid", frozen=True, validate_default=True, allow_inf_nan=False)


class DataConfig(Section):
    """How raw interactions become sequences (`actsr preprocess`)."""

    duplicates: Literal["first", "last", "keep"] = Field(
        "keep", description="Which of a user's repeated interactions with one item stays."
    )
    intervals: dict[str, tuple[float | None, float | None]] = Field(
        default_factory=dict, description="Closed interval of values to keep, by column: {timestamp: [0, null]}."
    )
    user_core: int = Field(0, ge=0, description="Drop users with fewer interactions, repeated until stable.")
    item_core: int = Field(0, ge=0, description="Drop items with fewer interactions, repeated until stable.")
    max_length: int | None = Field(None, ge=3, description="Keep only the latest so many interactions of a user.")

    @field_validator("intervals")
    @classmethod
    def _ordered(
        cls, intervals: dict[str, tuple[float | None, float | None]]
    ) -> dict[str, tuple[float | None, float | None]]:
        for column, (low, high) in intervals.items():
            if low is not None and high is not None and low > high:
                raise ValueError(f"interval of '{column}' is empty: {low:g} > {high:g}")
        return intervals


Moment = Annotated[float | str, BeforeValidator(_moment)]
Target = Literal["first", "last", "random", "all"]


class LastSplit(Section):
    """Leave one out: the last item of each user is for test, the one before it for validation."""

    by: Literal["last"] = "last"


class TimeSplit(Section):
    """Two moments cut the log into training, validation and test."""

    by: Literal["time"] = "time"
    valid_from: Moment = Field(
        0.8, description="First moment of validation: a share of the interactions, an ISO date (UTC) or a timestamp."
    )
    test_from: Moment = Field(0.9, description="First moment of test, likewise.")
    target: Target = Field("all", description="Which of a user's items behind a cut are targets.")
    seed: int = Field(0, ge=0, description="Random seed of target: random.")


class FileSplit(Section):
    """Training, validation and test as the data set's files have them."""

    by: Literal["files"] = "files"
    target: Target = Field("all", description="Which of a user's items in the validation or test file are targets.")
    seed: int = Field(0, ge=0, description="Random seed of target: random.")


class NoSplit(Section):
    """Everything is for training: nothing is held out."""

    by: Literal["none"] = "none"


SplitConfig = Annotated[LastSplit | TimeSplit | FileSplit | NoSplit, Field(discriminator="by")]


class ModelConfig(Section):
    """The architecture and its calibrators."""

    name: str = Field("sasrec", description="Model, as `actsr models` lists it, or package.module:Class of your own.")
    calibration: Calibration = Field("none", description="Which calibrators the attention has.")
    max_length: int = Field(50, ge=1, description="Longest history that the model reads, in items.")
    hidden_size: int = Field(64, ge=1, description="Width of the hidden states.")
    inner_size: int = Field(128, ge=1, description="Width inside the feed-forward blocks; of the state in GRU4Rec.")
    layers: int = Field(2, ge=1, description="Number of transformer layers.")
    heads: int = Field(2, ge=1, description="Number of attention heads; must divide hidden_size.")
    hidden_dropout: Probability = Field(0.5, description="Dropout on hidden states.")
    attention_dropout: Probability = Field(0.5, description="Dropout on attention weights and adversarial masks.")
    activation: Literal["gelu", "relu", "swish", "tanh", "sigmoid"] = Field(
        "gelu", description="Activation of the feed-forward blocks."
    )
    layer_norm_eps: float = Field(1e-12, gt=0, description="Added to the variance in layer normalisation.")
    initializer_range: float = Field(0.02, gt=0, description="Standard deviation of the initial weights.")
    position_embedding: bool | None = Field(
        None, description="Learned absolute positions; null: on in the plain backbone, off where spatially calibrated."
    )
    use_order: bool = Field(True, description="Order term of the spatial calibrator.")
    use_distance: bool = Field(True, description="Distance term of the spatial calibrator.")
    combine: Literal["gate", "fixed", "annealing"] = Field(
        "gate", description="How the attention and its adversarially calibrated form are combined."
    )
    annealing_steps: int = Field(
        100_000, ge=1, description="With combine: annealing, steps after which the plain share is 1/e."
    )
    two_level: bool = Field(
        True, description="Calibrate adversarially on top of the spatially calibrated attention, not beside it."
    )
    rich_combine: Literal["fixed", "trainable"] = Field(
        "fixed", description="With two_level: false, the share of the adversarial side: one half, or learned."
    )
    renorm: Literal["softmax", "sum", "none"] = Field(
        "sum", description="How calibrated weights become a distribution again: softmax (published), sum, none."
    )
    similarity: Literal["dot", "cosine"] = Field(
        "dot", description="How items are scored: dot product with the hidden state, or cosine over temperature."
    )
    temperature: float = Field(0.07, gt=0, description="With similarity: cosine, what cosines are divided by.")
    mask_ratio: float = Field(0.4, gt=0, lt=1, description="BERT4Rec: share of the places that are masked in training.")
    mask_last: float = Field(
        0.0, ge=0, le=1, description="BERT4Rec: share of the sequences in which the last place alone is masked."
    )
    user_size: int | None = Field(
        None, ge=1, description="SSE-PT: the users' part of hidden_size, the rest is the items'; null: half."
    )
    user_replacement: Probability = Field(
        0.0, description="SSE-PT: chance that training replaces a user by any other (stochastic shared embeddings)."
    )
    item_replacement: Probability = Field(
        0.0, description="SASRec, SSE-PT: chance that training replaces an item of a history by any other."
    )
    time_span: int = Field(256, ge=1, description="TiSASRec: longer time intervals are clipped to this many units.")
    interval_scale: Literal["user", "raw"] = Field(
        "user", description="TiSASRec: the unit of intervals: the user's smallest one, or a second (published AC code)."
    )
    neighbours: int = Field(100, ge=1, description="Item-KNN: neighbours that are kept of each item.")
    neighbour_reach: int = Field(5, ge=1, description="Item-KNN: items so many places apart count as neighbours.")
    neighbour_shrinkage: float = Field(
        0.0, ge=0, description="Item-KNN: added to the interactions of an item, against chance among rare ones."
    )
    neighbour_decay: float = Field(
        0.8, gt=0, le=1, description="Item-KNN: weight of a history's item over that of the one behind it."
    )
    options: dict[str, Any] = Field(default_factory=dict, description="Settings of a model of your own.")
    reproduce_published_faults: bool = Field(
        False, description="Compute what the published code computes, its faults included (for parity only)."
    )

    @model_validator(mode="after")
    def _heads_divide_width(self) -> Self:
        if self.hidden_size % self.heads:
            raise ValueError(f"hidden_size {self.hidden_size} is not a multiple of heads {self.heads}")
        return self


class TrainingConfig(Section):
    """The optimisation of a run."""

    loss: Literal["ce", "sampled", "gbce", "bce", "bpr"] = Field(
        "ce",
        description="Cross-entropy over the catalogue, or against sampled items: softmax, gBCE, BCE, BPR.",
    )
    negatives: int = Field(
        256, ge=1, description="Losses sampled, gbce, bce: items drawn per batch, which all its targets share."
    )
    negative_sampling: Literal["log-uniform", "uniform", "in-batch"] = Field(
        "log-uniform",
        description="Loss sampled: items by rank of popularity, all alike, or the other targets of the batch.",
    )
    gbce_calibration: float = Field(
        0.75, ge=0, le=1, description="Loss gbce: 0 is bce, 1 takes back all overconfidence that sampling brings."
    )
    mask_weight: float = Field(0.3, ge=0, description="Weight of the penalty that keeps adversarial masks open.")
    label_smoothing: Probability = Field(
        0.0, description="Loss ce: share of the target's probability that is spread evenly over the catalogue."
    )
    optimizer: Literal["adam", "adamw"] = Field(
        "adam", description="adam: weight_decay is an L2 penalty in the gradient; adamw: it shrinks the weights."
    )
    learning_rate: float = Field(1e-3, gt=0, description="Learning rate, the highest that the schedule reaches.")
    schedule: Literal["constant", "linear", "cosine"] = Field(
        "constant", description="The learning rate after the warm-up: constant, or falling to 1 % by the last epoch."
    )
    warmup: float = Field(0.0, ge=0, description="Epochs, or parts of one, in which the learning rate rises from 0.")
    weight_decay: float = Field(0.0, ge=0, description="Strength of the optimizer's weight decay.")
    ema: Probability = Field(
        0.0, description="Decay of a moving average of the weights, which is then validated and saved; 0: none."
    )
    batch_size: int = Field(
        512,
        ge=1,
        description="Targets (training prefixes) per optimiser step; in cloze training, items of the windows.",
    )
    window_stride: int | None = Field(
        None,
        ge=1,
        description="How far windows move over longer histories than max_length: 1 is exact. "
        "null: 1, in cloze training max_length.",
    )
    epochs: int = Field(200, ge=1, description="Passes over the training targets at most.")
    stop_after: int | None = Field(
        None, ge=1, description="Stop after this epoch; the schedule still falls over training.epochs."
    )
    patience: int = Field(10, ge=1, description="Validations without a better monitor before training stops.")
    validate_every: int = Field(1, ge=1, description="Epochs between validations.")
    monitor: Measure = Field("hit@10", description="Validation metric that picks the best epoch.")
    gradient_clip: float | None = Field(None, gt=0, description="Largest norm of the gradient of each objective.")
    seed: int = Field(0, ge=0, description="Seed of initial weights, dropout, noise and batch order.")
    device: Device = Field("auto", description="auto, cpu, cuda, cuda:N or mps.")
    precision: Literal["float32", "bf16"] = Field(
        "float32", description="bf16: products in bfloat16; on a CPU those with the catalogue alone."
    )
    threads: int | None = Field(None, ge=1, description="CPU threads; null lets torch choose.")
    log_attention: int = Field(
        0, ge=0, description="Epochs between heat maps of four users' attention in TensorBoard; 0: none."
    )

    @property
    def last_epoch(self) -> int:
        """The epoch after which training ends at the latest."""
        return self.epochs if self.stop_after is None else min(self.epochs, self.stop_after)

    @model_validator(mode="after")
    def _settings_go_together(self) -> Self:
        if self.label_smoothing and self.loss != "ce":
            raise ValueError(f"training.label_smoothing goes with training.loss ce, not with {self.loss}")
        if self.warmup > self.epochs:
            raise ValueError(f"training.warmup {self.warmup:g} is longer than training.epochs {self.epochs}")
        return self


class EvaluationConfig(Section):
    """How a ranking is judged."""

    seen: Literal["rank", "exclude", "exclude-repeats"] = Field(
        "rank",
        description="Items of the user's own history: rank them (protocol A), exclude them (protocol B), or exclude "
        "them and count a target that repeats one as a miss (protocol B as published).",
    )
    candidates: Literal["all", "uniform", "popularity"] = Field(
        "all",
        description="What a target is ranked among: the whole catalogue, or sampled items (protocol C), drawn "
        "uniformly or by popularity.",
    )
    n_candidates: int = Field(100, ge=1, description="Sampled items per target, with candidates: uniform, popularity.")
    candidate_seed: int = Field(0, ge=0, description="Random seed of the sampled items.")
    metrics: tuple[str, ...] = Field(("hit", "ndcg", "mrr"), min_length=1, description="Metrics, see docs/evaluate.md.")
    k: tuple[Annotated[int, Field(ge=1)], ...] = Field((1, 5, 10, 20, 50), min_length=1, description="Cut-offs.")
    batch_size: int = Field(256, ge=1, description="Users scored at a time; bounds memory, changes no number.")


class RunConfig(Section):
    """A whole run: what a preset holds and what `config.yaml` of a run records."""

    description: str = Field("", description="One line for `actsr presets`.")
    dataset: str = Field("", description="Name of the data set, as `actsr download --list` or your own folder has it.")
    data: DataConfig = DataConfig()
    split: SplitConfig = LastSplit()
    model: ModelConfig = ModelConfig()
    training: TrainingConfig = TrainingConfig()
    evaluation: EvaluationConfig = EvaluationConfig()

    @field_validator("dataset")
    @classmethod
    def _plain_name(cls, name: str) -> str:
        if name in (".", "..") or "/" in name or "\\" in name:
            raise ValueError("must be a plain name, as it names folders")
        return name

    @model_validator(mode="after")
    def _windows_overlap(self) -> Self:
        if (self.training.window_stride or 1) > self.model.max_length:
            raise ValueError(
                f"training.window_stride {self.training.window_stride} is more than model.max_length "
                f"{self.model.max_length}: targets between two windows would be missed"
            )
        return self
