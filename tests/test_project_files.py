"""Files for people and services beside the code: citation, issue templates, hooks."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import yaml

from actsr_cli.app import COMMANDS

ROOT = Path(__file__).parents[1]


def read(name: str) -> Any:
    return yaml.safe_load((ROOT / name).read_text(encoding="utf-8"))


def test_the_citation_names_the_authors_of_the_readme_in_their_order() -> None:
    paper = read("CITATION.cff")["preferred-citation"]
    authors = [f"{each['given-names']} {each['family-names']}" for each in paper["authors"]]
    said = " ".join((ROOT / "README.md").read_text(encoding="utf-8").split())
    assert f"{', '.join(authors[:-1])} and {authors[-1]}: *{paper['title']}*, CIKM {paper['year']}" in said


def test_the_results_of_the_readme_are_those_of_the_results_page() -> None:
    readme, results = ((ROOT / name).read_text(encoding="utf-8") for name in ("README.md", "docs/results.md"))
    rows = re.findall(r"^\| (?:data|Beauty|Toys|Sports|Yelp) .*$", readme, re.MULTILINE)
    assert len(rows) == 5 and "\n".join([rows[0], "|---|---:|---:|---:|---:|", *rows[1:]]) in results


def test_issue_templates_ask_for_commands_that_exist() -> None:
    forms = [read(f".github/ISSUE_TEMPLATE/{name}.yml") for name in ("bug", "wish")]
    assert all(form["name"] and form["description"] and form["body"] for form in forms)
    text = (ROOT / ".github/ISSUE_TEMPLATE/bug.yml").read_text()
    named = re.findall(r"actsr (?:--debug )?(\w+)", text)
    assert named and set(named) <= COMMANDS.keys()


def test_hooks_run_what_make_test_runs() -> None:
    makefile = (ROOT / "Makefile").read_text()
    hooks = read(".pre-commit-config.yaml")["repos"][0]["hooks"]
    for hook in hooks:
        program = hook["entry"].replace(".venv/bin/", "$(BIN)/")
        assert program in makefile
