"""The models by name. Classes are imported when one is built, so that listing the built-in ones costs nothing."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from dataclasses import dataclass
from importlib import import_module
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import TYPE_CHECKING

from actsr_cli.config import Calibration, ModelConfig
from actsr_cli.errors import ConfigError, nearest

if TYPE_CHECKING:
    from actsr_cli.models.base import CountingModel, SequentialModel

    Trainable = SequentialModel | CountingModel

CALIBRATED_PREFIX = "ac-"
ENTRY_POINTS = "actsr.models"
"""Packages register models of their own under this group of entry points."""

_SEE_TRACEBACK = "actsr --debug … shows where."
_CALIBRATORS = (
    "use_order",
    "use_distance",
    "combine",
    "annealing_steps",
    "two_level",
    "rich_combine",
    "renorm",
)
_ENCODER = ("hidden_size", "inner_size", "layers", "heads", "position_embedding")


@dataclass(frozen=True)
class ModelSpec:
    """A model that can be trained.

    Attributes:
        name: its name in a config.
        title: its name in the literature.
        paper: where it was published.
        target: `module:Class` of the implementation.
        options: keys of the `model` section that shape it, besides those of calibration and regularisation.
        needs_users: whether it learns something about each user.
        needs_timestamps: whether it reads the times of interactions.
        calibrated: whether its attention can be calibrated.
    """

    name: str
    title: str
    paper: str
    target: str
    options: tuple[str, ...] = ()
    needs_users: bool = False
    needs_timestamps: bool = False
    calibrated: bool = True

    @property
    def names(self) -> tuple[str, ...]:
        """Its names on the command line: plain, and short for full calibration."""
        return (self.name, f"{CALIBRATED_PREFIX}{self.name}") if self.calibrated else (self.name,)


_MODELS = (
    ModelSpec(
        name="sasrec",
        title="SASRec",
        paper="Kang and McAuley, Self-Attentive Sequential Recommendation, ICDM 2018",
        target="actsr_cli.models.sasrec:SASRec",
        options=(*_ENCODER, "item_replacement"),
    ),
    ModelSpec(
        name="bert4rec",
        title="BERT4Rec",
        paper="Sun et al., BERT4Rec, CIKM 2019",
        target="actsr_cli.models.bert4rec:BERT4Rec",
        options=(*_ENCODER, "mask_ratio", "mask_last"),
    ),
    ModelSpec(
        name="sse-pt",
        title="SSE-PT",
        paper="Wu et al., SSE-PT: Sequential Recommendation via Personalized Transformer, RecSys 2020",
        target="actsr_cli.models.sse_pt:SSEPT",
        options=(*_ENCODER, "user_size", "user_replacement", "item_replacement"),
        needs_users=True,
    ),
    ModelSpec(
        name="tisasrec",
        title="TiSASRec",
        paper="Li et al., Time Interval Aware Self-Attention for Sequential Recommendation, WSDM 2020",
        target="actsr_cli.models.tisasrec:TiSASRec",
        options=(*_ENCODER[:-1], "time_span", "interval_scale"),
        needs_timestamps=True,
    ),
    ModelSpec(
        name="gru4rec",
        title="GRU4Rec",
        paper="Hidasi et al., Session-based Recommendations with Recurrent Neural Networks, ICLR 2016",
        target="actsr_cli.models.gru4rec:GRU4Rec",
        options=("hidden_size", "inner_size", "layers"),
        calibrated=False,
    ),
    ModelSpec(
        name="item-knn",
        title="Item-KNN",
        paper="Sarwar et al., Item-Based Collaborative Filtering, WWW 2001, here aware of sequence",
        target="actsr_cli.models.item_knn:ItemKNN",
        options=("neighbours", "neighbour_reach", "neighbour_shrinkage", "neighbour_decay"),
        calibrated=False,
    ),
    ModelSpec(
        name="popularity",
        title="Popularity",
        paper="the number of training interactions",
        target="actsr_cli.models.popularity:Popularity",
        calibrated=False,
    ),
)


def all_models() -> tuple[ModelSpec, ...]:
    """Every built-in model, in the order in which they are listed."""
    return _MODELS


def registered_names() -> list[str]:
    """Names of the models that installed packages register; no class is imported."""
    return [point.name for point in _points()]


def hidden_names() -> list[str]:
    """Names that installed packages register although built-in models have them: they cannot be chosen."""
    return [point.name for point in entry_points(group=ENTRY_POINTS) if point.name in _built_in_names()]


def model_names() -> list[str]:
    """Every name that `--model` takes, besides `package.module:Class`; no class is imported."""
    own = [name for point in _points() for name in (point.name, f"{CALIBRATED_PREFIX}{point.name}")]
    return [name for spec in _MODELS for name in spec.names] + own


def find_model(name: str) -> ModelSpec:
    """The model called `name`: a built-in one, a registered one, or `package.module:Class`.

    Raises:
        ConfigError: there is none, naming the nearest, or its class cannot be imported.
    """
    for spec in _MODELS:
        if spec.name == name:
            return spec
    for point in _points():
        if point.name == name:
            return _spec_of(name, f"{point.module}:{point.attr}")
    if ":" in name:
        return _spec_of(name, name)
    raise ConfigError(f"unknown model '{name}'; {nearest(name, model_names())}")


def parse_name(name: str) -> tuple[str, Calibration]:
    """Model and calibration behind a name on the command line: `ac-sasrec` is (sasrec, full)."""
    plain = name.removeprefix(CALIBRATED_PREFIX)
    if name in model_names() or ":" in name:
        exact = any(name == spec.name for spec in _MODELS) or any(name == point.name for point in _points())
        return (name, "none") if exact or plain == name else (plain, "full")
    raise ConfigError(
        f"unknown model '{name}'; {nearest(name, model_names())}",
        hint="All: actsr models. A class of your own: --model package.module:Class",
    )


def display_name(config: ModelConfig) -> str:
    """The short name of a configured model: sasrec, ac-sasrec, sasrec-spatial, sasrec-adversarial."""
    name = config.name.rpartition(":")[2]
    if config.calibration == "none":
        return name
    if config.calibration == "full":
        return f"{CALIBRATED_PREFIX}{name}"
    return f"{name}-{config.calibration}"


def check_model(config: ModelConfig) -> ModelSpec:
    """The model of a configuration, if its settings suit it.

    Raises:
        ConfigError: there is no such model, it has no attention to calibrate, or `model.options` has what it does not
            read.
    """
    spec = find_model(config.name)
    if config.calibration != "none" and not spec.calibrated:
        calibrated = ", ".join(other.name for other in _MODELS if other.calibrated)
        raise ConfigError(
            f"{spec.title} has no attention to calibrate: model.calibration must be none, not {config.calibration}",
            hint=f"These have: {calibrated}.",
        )
    own = () if spec in _MODELS else spec.options
    for option in config.options:
        if option not in own:
            known = f"; {nearest(option, own)}" if own else ": it takes none"
            raise ConfigError(f"unknown key 'model.options.{option}' for {spec.title}{known}")
    return spec


def unread_keys(config: ModelConfig, given: Iterable[str]) -> list[str]:
    """Which of the `given` keys of the `model` section shape other models or calibrators, but not this one."""
    spec = find_model(config.name)
    if spec not in _MODELS:
        return []
    shaping = {option for other in _MODELS for option in other.options}
    read = {*spec.options, *(_CALIBRATORS if config.calibration != "none" else ())}
    return [key for key in given if key in shaping.union(_CALIBRATORS) and key not in read]


def build_model(config: ModelConfig, n_items: int, n_users: int = 0) -> Trainable:
    """A freshly initialised model.

    Args:
        config: the architecture.
        n_items: items of the catalogue, padding not counted.
        n_users: users of the data set.

    Raises:
        ConfigError: see `check_model`; or a class of somebody's own fails.
    """
    spec = check_model(config)
    chosen = _import(spec.target)
    if spec in _MODELS:
        return chosen(config, n_items, n_users)
    try:
        return chosen(config, n_items, n_users)
    except Exception as error:
        raise ConfigError(f"model '{config.name}' cannot be built: {_in_words(error)}", hint=_SEE_TRACEBACK) from error


def model_size(config: ModelConfig, n_items: int, n_users: int) -> int:
    """How many numbers a model learns: its parameters, or what a counting model has counted. None is allocated."""
    import torch

    with torch.device("meta"):
        model = build_model(config, n_items, n_users)
    return sum(tensor.numel() for tensor in (list(model.parameters()) or model.buffers()))


def _points() -> tuple[EntryPoint, ...]:
    return tuple(point for point in entry_points(group=ENTRY_POINTS) if point.name not in _built_in_names())


def _built_in_names() -> set[str]:
    return {name for spec in _MODELS for name in spec.names}


def _spec_of(name: str, target: str) -> ModelSpec:
    """What the class of somebody's model says about itself."""
    found = _import(target)
    return ModelSpec(
        name=name,
        title=found.__name__,
        paper=found.paper,
        target=target,
        options=found.options,
        needs_users=found.needs_users,
        needs_timestamps=found.needs_timestamps,
        calibrated=found.calibrated,
    )


def _import(target: str) -> type[Trainable]:
    """The class at `module:Class`; modules in the working directory are found, too."""
    from actsr_cli.models.base import CountingModel, SequentialModel

    module_name, _, class_name = target.partition(":")
    if not all(part.isidentifier() for part in (*module_name.split("."), class_name)):
        raise ConfigError(f"model '{target}' is not of the form package.module:Class")
    here = str(Path.cwd())
    if here not in sys.path:
        sys.path.append(here)
    try:
        module = import_module(module_name)
    except Exception as error:
        raise ConfigError(f"model '{target}' cannot be imported: {_in_words(error)}", hint=_SEE_TRACEBACK) from error
    found = getattr(module, class_name, None)
    if not isinstance(found, type) or not issubclass(found, SequentialModel | CountingModel):
        what = "has no such class" if found is None else "holds something else than a model class"
        raise ConfigError(
            f"model '{target}': {module_name} {what}",
            hint="A model is a subclass of actsr_cli.models.base.CustomModel, see docs/your-own-model.md.",
        )
    return found


def _in_words(error: Exception) -> str:
    return f"{type(error).__name__}: {error}"
