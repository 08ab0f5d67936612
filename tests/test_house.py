"""Style rules that the linter does not check: short functions, few parameters, short files."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import actsr_cli

PACKAGE = Path(actsr_cli.__file__).parent
LINES_OF_A_FILE, LINES_OF_A_FUNCTION, PARAMETERS = 320, 60, 8

Function = ast.FunctionDef | ast.AsyncFunctionDef


def functions() -> Iterator[tuple[str, Function]]:
    """All functions of the package except commands and their counterparts in Python: their parameters are options."""
    for path in sorted(PACKAGE.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, Function) and not is_command(path, node):
                yield f"{path.relative_to(PACKAGE)}:{node.lineno} {node.name}", node


def is_command(path: Path, function: Function) -> bool:
    if path.name == "api.py":
        return True
    if path.parent.name != "commands" and path.name != "app.py":
        return False
    annotations = " ".join(ast.unparse(each.annotation) for each in function.args.args if each.annotation)
    return "typer." in annotations or "RunsDir" in annotations


def parameters(function: Function) -> int:
    named = [each.arg for each in (*function.args.posonlyargs, *function.args.args, *function.args.kwonlyargs)]
    return len([name for name in named if name not in ("self", "cls")])


def test_files_can_be_read_in_one_sitting() -> None:
    lengths = {str(path.relative_to(PACKAGE)): len(path.read_text().splitlines()) for path in PACKAGE.rglob("*.py")}
    assert len(lengths) > 100
    assert {name: n for name, n in lengths.items() if n > LINES_OF_A_FILE and not name.startswith("commands")} == {}


def test_functions_are_short() -> None:
    lengths = {name: (node.end_lineno or node.lineno) - node.lineno + 1 for name, node in functions()}
    assert len(lengths) > 500
    assert {name: n for name, n in lengths.items() if n > LINES_OF_A_FUNCTION} == {}


def test_functions_have_few_parameters() -> None:
    assert {name: parameters(node) for name, node in functions() if parameters(node) > PARAMETERS} == {}
