"""Executes docs/notebook.ipynb anew, in an empty folder, and writes its outputs into it: `make notebook`."""

from __future__ import annotations

import hashlib
import os
import tempfile
from pathlib import Path

import nbformat
from nbclient import NotebookClient
from nbformat import NotebookNode

NOTEBOOK = Path(__file__).parents[1] / "docs" / "notebook.ipynb"
DIGEST = "executed"
"""Where the notebook's metadata say which code its outputs belong to."""
METADATA = {"kernelspec": {"name": "python3", "language": "python", "display_name": "Python 3"}}


def code_cells(notebook: NotebookNode) -> list[NotebookNode]:
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def digest(notebook: NotebookNode) -> str:
    """The SHA-256 of the code of all cells, in order."""
    return hashlib.sha256("\0".join(cell.source for cell in code_cells(notebook)).encode()).hexdigest()


def execute(notebook: NotebookNode) -> None:
    """Execute all cells in an empty folder. An error in one is raised.

    What differs from time to time is left out: times of execution, progress, and what goes to standard error.
    """
    with tempfile.TemporaryDirectory() as folder:
        client = NotebookClient(notebook, kernel_name="python3", resources={"metadata": {"path": folder}})
        client.execute(env=os.environ | {"ACTSR_DATA": "dataset", "ACTSR_RUNS": "runs"})
    for cell in notebook.cells:
        cell.metadata.pop("execution", None)
    for cell in code_cells(notebook):
        cell.outputs = [
            each for each in cell.outputs if each.output_type == "execute_result" or each.get("name") == "stdout"
        ]
    notebook.metadata = nbformat.from_dict(METADATA | {DIGEST: digest(notebook)})  # type: ignore[no-untyped-call]


def main() -> None:
    notebook = nbformat.read(NOTEBOOK, as_version=4)  # type: ignore[no-untyped-call]
    execute(notebook)
    nbformat.write(notebook, NOTEBOOK)  # type: ignore[no-untyped-call]


if __name__ == "__main__":
    main()
