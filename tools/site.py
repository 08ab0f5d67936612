"""A hook of MkDocs: pages of the site that are no files of docs/.

These are the API reference, from the public names of the package, the notebook, and pages of the repository's root.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import nbformat
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files

import actsr_cli
from tools.notebook import NOTEBOOK

ROOT = Path(__file__).parents[1]
OF_THE_ROOT = {"../CONTRIBUTING.md": "contributing.md", "../CHANGELOG.md": "changes.md"}
"""Pages of the root as pages of docs/ link to them, and their names on the site."""
RETURNED = {
    "actsr_cli.experiment.data.Preparation": ("to_frame", "filters"),
    "actsr_cli.experiment.run.Run": ("record", "status", "metrics", "vocabulary"),
    "actsr_cli.experiment.evaluate.Evaluation": ("metrics", "to_frame"),
    "actsr_cli.recommending.recommendations.ItemList": ("ids", "notes", "to_frame"),
    "actsr_cli.recommending.recommendations.Recommendations": ("to_frame", "to_arrow"),
    "actsr_cli.recommending.explanation.Explanation": ("probability", "to_frame"),
    "actsr_cli.inspection.trace.AttentionTrace": (),
}
"""What the public functions return, in the order in which a program meets it, with the members for users."""


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages that are no files of docs/."""
    files.append(File.generated(config, "api.md", content=api_page()))
    files.append(File.generated(config, "notebook.md", content=notebook_page()))
    for name, on_site in OF_THE_ROOT.items():
        text = (ROOT / "docs" / name).read_text(encoding="utf-8")
        files.append(File.generated(config, on_site, content=text.replace("](docs/", "](")))
    return files


def on_page_markdown(markdown: str, **_: Any) -> str:
    """The text of a page, with links to files outside docs/ and to the notebook as the site has them."""
    for name, on_site in (OF_THE_ROOT | {"notebook.ipynb": "notebook.md"}).items():
        markdown = markdown.replace(f"]({name}", f"]({on_site}")
    return markdown


def api_page() -> str:
    """The API reference in Markdown: a directive of mkdocstrings for each public name."""
    names = sorted((name for name in actsr_cli.__all__ if name != "__version__"), key=str.lower)
    public = [f"{actsr_cli._MODULES[name]}.{name}" for name in names]
    return "\n\n".join(
        [
            "# API reference",
            "`import actsr_cli as actsr` offers these names. [In Python](python.md) shows how they go together.",
            "## Public names",
            *(f"::: {path}" for path in public),
            "## What they return",
            *(f"::: {path}\n    options:\n      members: {list(members)}" for path, members in RETURNED.items()),
        ]
    )


def notebook_page() -> str:
    """The notebook in Markdown, with its outputs."""
    parts = []
    for cell in nbformat.read(NOTEBOOK, as_version=4).cells:  # type: ignore[no-untyped-call]
        parts.append(f"```python\n{cell.source}\n```" if cell.cell_type == "code" else cell.source)
        for output in cell.get("outputs", []):
            html, text = output.data.get("text/html"), output.data.get("text/plain")
            parts.append(f'<div class="output">{html}</div>' if html else f"```text\n{text}\n```")
    return "\n\n".join(parts)
