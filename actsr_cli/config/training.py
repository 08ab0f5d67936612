"""Settings of the optimisation."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from actsr_cli.config.section import Probability, Section, formed_like

Measure = Annotated[str, formed_like(r"[a-z][a-z_]*(@[1-9][0-9]*)?", "a metric such as ndcg@10, see docs/evaluate.md")]
Device = Annotated[str, formed_like(r"auto|cpu|mps|cuda(:[0-9]+)?", "auto, cpu, cuda, cuda:N or mps")]
Precision = Literal["float32", "bf16"]


class TrainingConfig(Section):
    """The optimisation of a run."""

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
    precision: Precision = Field(
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
        if self.warmup > self.epochs:
            raise ValueError(f"training.warmup {self.warmup:g} is longer than training.epochs {self.epochs}")
        return self
