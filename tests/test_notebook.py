"""The notebook of the documentation, and how results show themselves in notebooks."""

from __future__ import annotations

import ast
from pathlib import Path
from typing import Any

import nbformat
import pandas as pd
import pytest
import torch
from pages import Block
from sandbox import sandbox
from tracing import HISTORIES, model

from actsr_cli.inspection.trace import trace
from actsr_cli.pages.tables import table_html
from tools.notebook import DIGEST, NOTEBOOK, code_cells, digest
from tools.site import notebook_page

BOOK = nbformat.read(NOTEBOOK, as_version=4)  # type: ignore[no-untyped-call]
PLACE = "docs/notebook.ipynb"


def test_outputs_belong_to_the_code() -> None:
    """`make notebook` executes all cells, in order, and records their code."""
    assert BOOK.metadata[DIGEST] == digest(BOOK), "after a change of docs/notebook.ipynb: make notebook"
    assert [cell.execution_count for cell in code_cells(BOOK)] == list(range(1, len(code_cells(BOOK)) + 1))
    outputs = [each for cell in code_cells(BOOK) for each in cell.outputs]
    assert len(outputs) > 8 and {each.output_type for each in outputs} == {"execute_result"}
    assert str(Path.home()) not in NOTEBOOK.read_text(encoding="utf-8")


def shown_last(code: str) -> tuple[str, str]:
    """The code of a cell with its last expression, if it ends in one, kept under a name; and that name."""
    *before, last = ast.parse(code).body
    if not isinstance(last, ast.Expr):
        return code, ""
    kept = ast.Assign([ast.Name("shown", ast.Store())], last.value, lineno=last.lineno)
    return ast.unparse(ast.Module([*before, kept], [])) + "\n", "shown"


def test_cells_run_and_show_what_they_showed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with sandbox(tmp_path, monkeypatch) as box:
        for number, cell in enumerate(code_cells(BOOK), start=1):
            code, name = shown_last(cell.source)
            box.execute(Block(PLACE, number, "python", code))
            box.check()
            kinds = {kind for each in cell.outputs for kind in each.data}
            assert kinds == kinds_of(box.names.pop(name)) if name else not kinds


def kinds_of(value: Any) -> set[str]:
    return {"text/plain", "text/html"} if hasattr(value, "_repr_html_") else {"text/plain"}


def test_the_page_of_the_site_has_the_code_and_its_outputs() -> None:
    page = notebook_page()
    assert page.startswith("# actsr in a notebook") and "```python\nrun = actsr.train(" in page
    assert page.count("```python") == len(code_cells(BOOK)) and page.count('<div class="output">') > 6


def test_tables_escape_everything() -> None:
    frame = pd.DataFrame({"<b>": ["<i>&"], "share": [0.25], "gain": [-0.5], "count": [7]})
    html = table_html("<h1>", frame, ["share"], ["<u>"])
    assert html.startswith("<h4>&lt;h1&gt;</h4><table>") and html.endswith("<p>&lt;u&gt;</p>")
    assert "<th>&lt;b&gt;</th>" in html and "<td>&lt;i&gt;&amp;</td>" in html
    assert "<td>-0.500</td><td>7</td>" in html and ">25.0%</td>" in html and "25.0%, transparent 25.0%" in html
    assert not any(tag in html for tag in ("<b>", "<i>", "<u>", "<h1>"))


@pytest.mark.parametrize("value", [-0.5, 1.5])
def test_bars_stay_within_their_cells(value: float) -> None:
    html = table_html("", pd.DataFrame({"share": [value]}), ["share"])
    assert ("100.0%, transparent 100.0%" if value > 1 else " 0.0%, transparent 0.0%") in html


def test_a_trace_shows_the_prediction_of_each_history() -> None:
    traced = trace(model(), HISTORIES)
    assert repr(traced) == "AttentionTrace(3 histories, 2 layers, 2 heads; plain, spatial, mask, calibrated)"
    frame = traced.to_frame(1)
    assert frame["item"].tolist() == [9, 2, 6]
    expected = traced.last_rows("spatial")[-1][1, :, :3].mean(dim=0)
    torch.testing.assert_close(torch.tensor(frame["spatial"], dtype=torch.float32), expected)
    one_head = traced.to_frame(1, layer=0, head=1)["plain"]
    torch.testing.assert_close(torch.tensor(one_head, dtype=torch.float32), traced.last_rows("plain")[0][1, 1, :3])
    assert traced._repr_html_().count("<table") == 3
