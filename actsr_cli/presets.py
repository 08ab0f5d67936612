"""Presets, and how a run's configuration comes together: defaults < preset < file < --set < options.

Listing the shipped presets needs no schema: it is imported where settings are checked.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from actsr_cli.errors import ConfigError, nearest
from actsr_cli.plugins import trust
from actsr_cli.words import name_problem, shortened

if TYPE_CHECKING:
    from actsr_cli.config import Choice, RunConfig

DEFAULT = "default"
SETTINGS = "settings"
"""The origin of what is set in Python."""
TUNE = "tune"
"""The section of a preset that holds a search space."""
COUNTED_KEYS = frozenset({"training.device", "training.monitor", "training.seed", "training.threads"})
"""What a model that is counted reads of the sections `training` and `loss`."""
_OPTIONS = {"model.name": "--model", "calibration.kind": "--calibration", "data.intervals": "--interval"}
_PACKAGE = Path(__file__).parent


@dataclass(frozen=True)
class Preset:
    """A file of settings.

    Attributes:
        name: its name, or its path if it was given as a path.
        path: the file.
        values: its settings, as nested mappings.
        config: the same settings completed by the defaults.
        space: its `tune` section, read only by `actsr tune`: the search space by dotted key.
    """

    name: str
    path: Path
    values: dict[str, Any]
    config: RunConfig
    space: dict[str, Any]

    @property
    def origin(self) -> str:
        """Its name as the source of a setting."""
        return f"preset {self.name}"


@dataclass(frozen=True)
class Shipped:
    """A shipped preset in one line.

    Attributes:
        name: its name.
        dataset: the data set that it is made for.
        model, calibration: what it trains.
        description: what it is.
    """

    name: str
    dataset: str
    model: str
    calibration: str
    description: str


@dataclass(frozen=True)
class ResolvedConfig:
    """A configuration with the source of every setting.

    Attributes:
        config: the settings.
        sources: for every dotted key, `default`, `preset NAME`, `file PATH`, `--set` or the option's name.
        preset: the preset that it is based on, or None.
    """

    config: RunConfig
    sources: dict[str, str]
    preset: Preset | None = None

    @property
    def given(self) -> dict[str, str]:
        """Sources of explicit settings: neither defaults, nor from the preset, which may serve several models."""
        own = {DEFAULT, self.preset.origin if self.preset else DEFAULT}
        return {key: source for key, source in self.sources.items() if source not in own}


def preset_folder() -> Path:
    """The folder of the shipped presets: in the installed package, or beside the package in a checkout."""
    installed = _PACKAGE / "preset_files"
    return installed if installed.is_dir() else _PACKAGE.parent / "presets"


def preset_names() -> list[str]:
    """Names of the shipped presets."""
    return sorted(path.stem for path in preset_folder().glob("*.yaml"))


def shipped_presets() -> list[Shipped]:
    """The shipped presets, read without the schema; each names its model and calibration."""
    import yaml

    found = []
    for name in preset_names():
        values = yaml.load((preset_folder() / f"{name}.yaml").read_text(encoding="utf-8"), _fast_loader())  # noqa: S506
        model, calibration = values["model"]["name"], values["calibration"]["kind"]
        found.append(Shipped(name, values["dataset"], model, calibration, values["description"]))
    return found


def _fast_loader() -> type[Any]:
    """A safe YAML loader: the one in C where libyaml is installed."""
    import yaml

    loader: type[Any] = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    return loader


def load_preset(name: str | Path) -> Preset:
    """Load a shipped preset by name, or any preset by the path of its file.

    Raises:
        ConfigError: there is no such preset, or the schema refuses a setting in it.
    """
    from actsr_cli.config.refusals import checked
    from actsr_cli.config.schema import leaves

    text = str(name)
    shipped = text in preset_names()
    path = preset_folder() / f"{text}.yaml" if shipped else Path(text)
    if not (path.suffix in (".yaml", ".yml") or len(path.parts) > 1 or (name_problem(text) is None and path.is_file())):
        raise ConfigError(
            f"unknown preset '{shortened(text)}'; {nearest(text, preset_names())}", hint="All: actsr presets"
        )
    values, space = _settings_and_space(path)
    config = checked(values, {key: f"preset {text}" for key, _ in leaves(values)})
    return Preset(text, path, values, config, space)


def _settings_and_space(path: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    """The settings of a file in the form of a preset, and its `tune` section."""
    from actsr_cli.config.reading import read_yaml
    from actsr_cli.config.schema import spelled_out

    values = spelled_out(read_yaml(path))
    space = values.pop(TUNE, None) or {}
    if not isinstance(space, dict):
        raise ConfigError(f"{TUNE} in {path} must be a section of keys, not a {type(space).__name__}")
    return values, space


@cache
def preset_for(*datasets: str) -> str | None:
    """The preset for a data set with one of these names (not its published variant), or None."""
    names = [name for name in preset_names() if not name.endswith("-published")]
    wanted = set(datasets) - {""}
    return next((name for name in names if load_preset(name).config.dataset in wanted), None)


def resolve(
    *,
    preset: str | Path | None = None,
    file: Path | None = None,
    overrides: Sequence[str] = (),
    options: Mapping[str, object] | None = None,
    settings: Mapping[str, object] | None = None,
    of_run: bool = False,
) -> ResolvedConfig:
    """Build a configuration from its layers; later layers win.

    A preset is made for its own model, calibration and loss. If a later layer makes another choice, keys of the preset
    that this choice does not have are dropped. In all other layers, a key of another choice is an error.

    Args:
        preset: name or path of a preset.
        file: a YAML file in the form of a preset.
        overrides: `section.key=value` texts, values in YAML.
        options: dotted keys with their values; None means not given.
        settings: dotted keys with their values, given in Python; None is a value.
        of_run: whether the preset or file is the record of a run: a model or loss that it names is not trusted for
            that, as those in all other layers are.

    Raises:
        ConfigError: a source is missing or malformed, or holds what the schema refuses: which key, from where, and what
            to write; or `--set` or an option gives a counted model a setting of a training.
    """
    from actsr_cli.config.reading import parse_override
    from actsr_cli.config.refusals import checked
    from actsr_cli.config.schema import leaves, merged, nested, spelled_out, without_foreign

    loaded = None if preset is None else load_preset(preset)
    given = [] if file is None else [(f"file {file}", _settings_and_space(file)[0])]
    given += [("--set", spelled_out(parse_override(text))) for text in overrides]
    given += [
        (option_name(key), spelled_out(nested(key, value)))
        for key, value in (options or {}).items()
        if value is not None
    ]
    given += [(SETTINGS, spelled_out(nested(key, value))) for key, value in (settings or {}).items()]
    own = {} if loaded is None else loaded.values
    layers = given if loaded is None else [(loaded.origin, without_foreign(own, _chosen_over(own, given))), *given]
    values: dict[str, Any] = {}
    origins: dict[str, str] = {}
    for origin, layer in layers:
        if not (of_run and origin.startswith(("preset ", "file "))):
            _trust_code_in(layer)
        values = merged(values, layer)
        for key, _ in leaves(layer):
            origins.pop(key, None)  # keeps the latest origin last
            origins[key] = origin
    config = checked(values, origins)
    _check_counted(config, origins)
    sources = {key: origins.get(key, DEFAULT) for key, _ in leaves(config.model_dump())}
    return ResolvedConfig(config, sources, loaded)


def preset_name(resolved: ResolvedConfig) -> str | None:
    """The preset of a configuration in a form that works everywhere: a name, or the absolute path of a file."""
    preset = resolved.preset
    if preset is None:
        return None
    return preset.name if preset.name in preset_names() else str(preset.path.resolve())


def with_values(config: RunConfig, values: Mapping[str, object]) -> RunConfig:
    """A configuration with some values replaced, by dotted key.

    If one of them makes another choice (of model, calibration or loss), keys that this choice lacks are dropped.

    Raises:
        ConfigError: the new values do not fit the others.
    """
    from actsr_cli.config.refusals import checked
    from actsr_cli.config.schema import chosen, merged, nested, without_foreign

    wanted: dict[str, Any] = {}
    for key, value in values.items():
        wanted = merged(wanted, nested(key, value))
    before = config.model_dump()
    return checked(merged(without_foreign(before, chosen(merged(before, wanted))), wanted), {})


def _check_counted(config: RunConfig, origins: Mapping[str, str]) -> None:
    """Raise where `--set` or an option gives a counted model a setting of a training that it does not have.

    Presets and files may have such settings: they serve several models.

    Args:
        config: the configuration.
        origins: by dotted key, where its value is from; what has its default is left out.

    Raises:
        ConfigError: there is such a setting.
    """
    if config.model.trained:
        return
    for key, origin in origins.items():
        if (
            key.startswith(("training.", "loss."))
            and key not in COUNTED_KEYS
            and (origin.startswith("--") or origin == SETTINGS)
        ):
            raise ConfigError(
                f"{key} ({origin}): {config.model.name} is counted in one pass and does not read this key",
                hint=f"Leave it out. Of training and loss it reads only {', '.join(sorted(COUNTED_KEYS))}.",
            )


def option_name(key: str) -> str:
    """The command-line option that sets a dotted key: training.batch_size is --batch-size."""
    return _OPTIONS.get(key) or "--" + key.rpartition(".")[2].replace("_", "-")


def _trust_code_in(layer: Mapping[str, Any]) -> None:
    """Allow importing the model and the loss that the user names."""
    for section in ("model", "loss"):
        part = layer.get(section)
        name = part.get("name") if isinstance(part, Mapping) else None
        if isinstance(name, str):
            trust(name)


def _chosen_over(below: Mapping[str, Any], layers: Sequence[tuple[str, Mapping[str, Any]]]) -> dict[str, type[Choice]]:
    """The choices that are in force after all layers."""
    from actsr_cli.config.schema import chosen, merged

    values = dict(below)
    for _, layer in layers:
        values = merged(values, layer)
    return chosen(values)
