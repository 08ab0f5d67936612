"""`actsr presets` and `actsr presets show`: the shipped settings."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any

import typer

from actsr_cli import console
from actsr_cli.commands.completion import complete_preset
from actsr_cli.commands.options import AsJson, ConfigFile, Overrides
from actsr_cli.commands.tables import print_rows
from actsr_cli.models.registry import short_name
from actsr_cli.presets import TUNE, load_preset, preset_folder, preset_names, resolve, shipped_presets

if TYPE_CHECKING:
    from actsr_cli.presets import ResolvedConfig

presets = typer.Typer(rich_markup_mode="rich", add_completion=False)


@presets.callback(invoke_without_command=True)
def list_presets(context: typer.Context, as_json: AsJson = False) -> None:
    """List the shipped presets: one per data set, and the settings of the published code.

    [bold]Example:[/]  actsr presets

    [bold]Example:[/]  actsr presets show beauty --resolved
    """
    if context.invoked_subcommand is not None:
        return
    if as_json:
        console.print_json([asdict(each) for each in shipped_presets()])
        return
    rows = [
        (each.name, each.dataset, short_name(each.model, each.calibration), each.description)
        for each in shipped_presets()
    ]
    print_rows(("preset", "data set", "model", "description"), rows)


@presets.command()
def show(
    name: Annotated[
        str, typer.Argument(metavar="NAME", help="Preset by name or file.", autocompletion=complete_preset)
    ],
    resolved: Annotated[bool, typer.Option("--resolved", help="Show every key with its value and its source.")] = False,
    config: ConfigFile = None,
    overrides: Overrides = None,
    as_json: AsJson = False,
) -> None:
    """Show a preset as YAML. Save it, change it and train with it: `actsr train --preset FILE`.

    [bold]Example:[/]  actsr presets show beauty > mine.yaml

    [bold]Example:[/]  actsr presets show beauty --resolved --set training.epochs=5
    """
    if as_json:
        console.print_json(_told(name, resolve(preset=name, file=config, overrides=overrides or []), resolved))
        return
    if name in preset_names() and not resolved and config is None and not overrides:  # a shipped preset is valid
        typer.echo((preset_folder() / f"{name}.yaml").read_text(encoding="utf-8").rstrip())
        return
    import yaml

    combined = resolve(preset=name, file=config, overrides=overrides or [])
    if resolved:
        text = _with_sources(combined)
    elif config is None and not overrides:
        text = load_preset(name).path.read_text(encoding="utf-8")
    else:
        settings = combined.config.model_dump(mode="json", exclude_unset=True)
        text = yaml.safe_dump(settings | {TUNE: load_preset(name).space}, sort_keys=False)
    typer.echo(text.rstrip())


def _told(name: str, combined: ResolvedConfig, resolved: bool) -> dict[str, Any]:
    """A preset for JSON; with `resolved`, every setting and its source."""
    told = {
        "preset": name,
        "settings": combined.config.model_dump(mode="json", exclude_unset=not resolved),
        TUNE: load_preset(name).space,
    }
    return told | ({"sources": combined.sources} if resolved else {})


def _with_sources(resolved: ResolvedConfig) -> str:
    """YAML with a comment behind each key that names the source of its value."""
    lines = []
    for key, value in resolved.config.model_dump(mode="json").items():
        if isinstance(value, dict):
            lines.append(f"\n{key}:")
            lines += [_line(f"{key}.{name}", name, inner, resolved, "  ") for name, inner in value.items()]
        else:
            lines.append(_line(key, key, value, resolved, ""))
    return "\n".join(lines)


def _line(key: str, name: str, value: Any, resolved: ResolvedConfig, indent: str) -> str:
    import yaml

    written = yaml.safe_dump(value, default_flow_style=True, width=10_000).removesuffix("\n...\n").strip()
    text = f"{indent}{name}: {written}"
    return f"{text:<44}  # {resolved.sources[key]}"
