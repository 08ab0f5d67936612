"""The documentation site: every page is in it, and it needs no network."""

from __future__ import annotations

import re
import shutil
from pathlib import Path
from typing import Any

import pytest
from browser import complaints, open_page, overflow
from mkdocs.commands.build import build
from mkdocs.config import load_config
from pages import ROOT
from selenium.webdriver import Chrome
from selenium.webdriver.common.by import By
from selenium.webdriver.support.wait import WebDriverWait

import actsr_cli
from tools.site import RETURNED, api_page, on_page_markdown


def listed(nav: Any) -> list[str]:
    """The pages of a navigation, in order."""
    found: list[str] = []
    for entry in nav:
        for below in entry.values() if isinstance(entry, dict) else [entry]:
            found += listed(below) if isinstance(below, list) else [str(below)]
    return found


def test_the_navigation_has_every_page_once() -> None:
    pages = sorted(path.name for path in (ROOT / "docs").glob("*.md"))
    made = {"api.md", "notebook.md", "contributing.md", "changes.md"}
    assert sorted(listed(load_config(str(ROOT / "mkdocs.yml")).nav)) == sorted([*pages, *made])


def test_the_reference_has_every_public_name() -> None:
    names = set(re.findall(r"^::: [\w.]*?(\w+)$", api_page(), re.MULTILINE))
    assert names == {*actsr_cli.__all__, *(path.rpartition(".")[2] for path in RETURNED)} - {"__version__"}


def test_links_to_the_root_of_the_repository_lead_to_pages() -> None:
    text = on_page_markdown("[a](../CONTRIBUTING.md#recipes) [b](notebook.ipynb) [c](other.md)")
    assert text == "[a](contributing.md#recipes) [b](notebook.md) [c](other.md)"


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A site of two pages of its own, with the settings of the real one; the real one takes longer to build."""
    folder = tmp_path_factory.mktemp("site")
    shutil.copytree(ROOT / "docs" / "assets", folder / "docs" / "assets")
    (folder / "docs" / "index.md").write_text(
        f"# First\n\nSee [the second](second.md#gini-index).\n\n```\nactsr {'--set model.layers=1 ' * 9}\n```\n"
        f"\n|{' data |' * 12}\n|{'---:|' * 12}\n|{' .1017 ± .0015 |' * 12}\n"
    )
    (folder / "docs" / "second.md").write_text("# Second\n\n## Gini index\n\nHow even lists are.\n")
    nav = [{"First": "index.md"}, {"Second": "second.md"}]
    out = str(folder / "site")
    build(
        load_config(
            str(ROOT / "mkdocs.yml"),
            docs_dir=str(folder / "docs"),
            site_dir=out,
            nav=nav,
            hooks=[],
            plugins=["search", "offline"],
        )
    )
    return Path(out)


@pytest.mark.parametrize("width", [1280, 380])
def test_pages_open_as_files_without_a_network(chromium: Chrome, site: Path, width: int) -> None:
    open_page(chromium, site / "index.html", width)
    assert overflow(chromium) == 0
    assert complaints(chromium) == []


def test_search_works_in_files(chromium: Chrome, site: Path) -> None:
    open_page(chromium, site / "index.html")
    chromium.execute_script("document.querySelector('.md-search__input').focus()")
    chromium.find_element(By.CSS_SELECTOR, ".md-search__input").send_keys("gini")
    result = WebDriverWait(chromium, 20).until(
        lambda page: page.find_elements(By.CSS_SELECTOR, ".md-search-result__link")
    )[0]
    assert "second.html" in str(result.get_attribute("href"))
    assert complaints(chromium) == []
