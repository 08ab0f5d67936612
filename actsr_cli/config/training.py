"""Settings of the training."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from actsr_cli.config.section import Probability, Section, formed_like

Measure = Annotated[str, formed_like(r"[a-z][a-z_]*(@[1-9][0-9]*)?", "a metric such as ndcg@10, see docs/evaluate.md")]
Device = Annotated[str, formed_like(r"auto|cpu|mps|cuda(:[0-9]+)?", "auto, cpu, cuda, cuda:N or mps")]
LARGEST_SEED = 2**32 - 1
"""The largest that NumPy takes."""
FixedPrecision = Literal["float32", "bf16"]
Precision = Literal["float32", "bf16", "auto"]


class TrainingConfig(Section):
    """How a model is trained."""

    optimizer: Literal["adam", "adamw"] = Field(
        "adam", description="adam: weight_decay is an L2 penalty in the gradient; adamw: decoupled weight decay."
    )
    learning_rate: float = Field(1e-3, gt=0, description="Peak learning rate of the optimizer.")
    schedule: Literal["constant", "linear", "cosine"] = Field(
        "constant", description="Learning rate after the warm-up: constant, or decaying to 1 % by the last epoch."
    )
    warmup: float = Field(0.0, ge=0, description="Epochs in which the learning rate rises from 0; may be fractional.")
    weight_decay: float = Field(0.0, ge=0, description="Strength of the optimizer's weight decay.")
    item_updates: Literal["all", "touched"] = Field(
        "all",
        description="Rows of the item table that a step updates: all, or those of the batch's items, "
        "for large catalogues and a loss that draws negatives.",
    )
    ema: Probability = Field(
        0.0, description="Decay of the moving average of weights, which is validated and saved; 0: no average."
    )
    batch_size: int = Field(
        512,
        ge=1,
        le=10_000_000,
        description="Targets (training prefixes) per optimizer step; in cloze training, items in the windows.",
    )
    window_stride: int | None = Field(
        None,
        ge=1,
        description="Step between windows of a history longer than max_length; 1 is exact. "
        "null: 1, in cloze training max_length.",
    )
    epochs: int = Field(200, ge=1, le=1_000_000, description="Maximum number of epochs.")
    stop_after: int | None = Field(
        None, ge=1, description="Stop after this epoch; the schedule still covers training.epochs."
    )
    patience: int = Field(10, ge=1, description="Stop after this many validations without a better monitor.")
    validate_every: int = Field(1, ge=1, description="Epochs between validations.")
    monitor: Measure = Field("hit@10", description="Validation metric that selects the best epoch.")
    gradient_clip: float | None = Field(None, gt=0, description="Maximum gradient norm of each objective.")
    seed: int = Field(
        0, ge=0, le=LARGEST_SEED, description="Random seed: initial weights, dropout, noise and batch order."
    )
    device: Device = Field("auto", description="Device: auto, cpu, cuda, cuda:N or mps.")
    precision: Precision = Field(
        "float32",
        description="bf16: matrix products in bfloat16; on a CPU, only the scores of items. auto: the faster one, "
        "measured at the start.",
    )
    threads: int | None = Field(None, ge=1, le=1_024, description="CPU threads; null: chosen by torch.")
    checkpoint_minutes: float | None = Field(
        30.0, gt=0, description="Minutes between checkpoints within an epoch; null: only after each epoch."
    )
    on_nan: Literal["stop", "backoff"] = Field(
        "stop",
        description="If a number is not finite: stop, or return to the last finished epoch with a lower learning rate.",
    )
    backoff_factor: float = Field(
        0.5, gt=0, lt=1, description="With on_nan: backoff, what the learning rate is multiplied by each time."
    )
    backoff_limit: int = Field(3, ge=1, description="With on_nan: backoff, how often it may happen in a training.")
    log_attention: int = Field(
        0, ge=0, description="Write attention maps of four users to TensorBoard every N epochs; 0: never."
    )

    @property
    def last_epoch(self) -> int:
        """The last epoch of a training that is not stopped early."""
        return self.epochs if self.stop_after is None else min(self.epochs, self.stop_after)

    @model_validator(mode="after")
    def _settings_go_together(self) -> Self:
        if self.warmup > self.epochs:
            raise ValueError(f"training.warmup {self.warmup:g} is longer than training.epochs {self.epochs}")
        if self.item_updates == "touched" and self.weight_decay and self.optimizer == "adam":
            raise ValueError(
                "training.item_updates: touched cannot be used with training.weight_decay of optimizer adam, which "
                "gives every item a gradient in each step: use training.optimizer: adamw"
            )
        if self.item_updates == "touched" and self.weight_decay * self.learning_rate >= 1:
            raise ValueError("training.item_updates: touched needs a learning_rate · weight_decay below 1")
        return self
