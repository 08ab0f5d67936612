"""The page of the service in a browser: narrow and wide windows, light and dark, titles that look like HTML."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from browser import complaints, open_address, overflow, prefer
from selenium import webdriver
from selenium.common.exceptions import StaleElementReferenceException
from selenium.webdriver.common.by import By
from selenium.webdriver.remote.webelement import WebElement
from selenium.webdriver.support.select import Select
from selenium.webdriver.support.wait import WebDriverWait
from servers import NAMES, Server, serving, trained

from actsr_cli.recommending.recommender import Recommender
from actsr_cli.serving.service import Opener

KEY = "a-key-of-16-chars"


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("paged")
    trained(folder, "one")
    return folder


@pytest.fixture(scope="module")
def recommender(runs: Path) -> Recommender:
    return Opener(Path("dataset"), "cpu", 8).open_folder(runs / "d" / "ac-sasrec" / "one").recommender


@pytest.fixture(scope="module")
def server(runs: Path) -> Iterator[Server]:
    with serving(runs) as made:
        yield made


def found(chrome: webdriver.Chrome, selector: str) -> list[WebElement]:
    return chrome.find_elements(By.CSS_SELECTOR, selector)


def texts(chrome: webdriver.Chrome, selector: str) -> list[str]:
    """The texts of all elements at one moment: the page may replace them at any time."""
    script = "return Array.from(document.querySelectorAll(arguments[0]), (each) => each.textContent)"
    return list(map(str, chrome.execute_script(script, selector)))


def until(chrome: webdriver.Chrome, condition: Callable[[], bool]) -> None:
    WebDriverWait(chrome, 20, 0.05).until(lambda _: condition())


def click(chrome: webdriver.Chrome, selector: str, place: int = 0) -> None:
    """Click one of the elements; it is looked up again if the page has replaced it in the meantime."""

    def clicked(_: webdriver.Chrome) -> bool:
        found(chrome, selector)[place].click()
        return True

    WebDriverWait(chrome, 20, 0.05, [StaleElementReferenceException]).until(clicked)


def strangers(chrome: webdriver.Chrome, server: Server) -> list[str]:
    """Errors on the console, and requests to others than the server."""
    return [each for each in complaints(chrome) if f'"url":"{server.url}/' not in each]


def add(chrome: webdriver.Chrome, item: str) -> None:
    """Click an item, and wait for its list."""
    before = len(found(chrome, "#history > li"))
    place = texts(chrome, "#found .id").index(item)
    click(chrome, "#found .pick", place)
    until(chrome, lambda: len(found(chrome, "#history > li")) == before + 1 and bool(found(chrome, "#history svg")))


def title(name: str) -> str:
    return f"Title <b>{name}</b>"


@pytest.mark.parametrize("width", [380, 1280])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_history_is_built_and_explained(
    chromium: webdriver.Chrome, server: Server, recommender: Recommender, width: int, scheme: str
) -> None:
    prefer(chromium, scheme)
    open_address(chromium, f"{server.url}/", width)
    until(chromium, lambda: len(found(chromium, "#list > li")) == 10)
    assert "most popular" in texts(chromium, "#by")[0]
    history = [NAMES[0], NAMES[4], NAMES[2]]
    for item in history:
        add(chromium, item)
    assert texts(chromium, "#history .title") == list(map(title, history))
    assert found(chromium, "#history b") == []
    wanted = recommender.recommend(history)
    until(chromium, lambda: texts(chromium, "#list .title") == [each.title for each in wanted])
    assert texts(chromium, "#list .number") == [f"{each.score:.3f}" for each in wanted]
    explained = recommender.explain(history)
    until(chromium, lambda: len(found(chromium, "#history .measure")) == 6)
    shown = texts(chromium, "#history .measure > span:last-child")
    assert shown[::2] == [f"{100 * each:.1f} %" for each in explained.importance["calibrated"]]
    signed = [f"{each:+.3f}".replace("-", "\N{MINUS SIGN}") for each in explained.importance["left out"]]
    assert shown[1::2] == signed
    widths = [float(each.get_attribute("width") or 0) for each in found(chromium, "#history .attention")]
    assert max(widths) == 100 and widths.index(100) == explained.importance["calibrated"].argmax()
    assert overflow(chromium) == 0
    assert strangers(chromium, server) == []
    dark = str(chromium.execute_script("return document.documentElement.dataset.theme"))
    assert dark == scheme


def test_search_why_remove_and_length(chromium: webdriver.Chrome, server: Server) -> None:
    open_address(chromium, f"{server.url}/")
    until(chromium, lambda: len(found(chromium, "#found > li")) == 11)
    chromium.find_element(By.ID, "query").send_keys("B>I00")
    until(chromium, lambda: texts(chromium, "#matches") == ["9 items, the most popular first."])
    assert len(found(chromium, "#found > li")) == 9
    add(chromium, "i003")
    add(chromium, "i004")
    third = texts(chromium, "#list .title")[2]
    click(chromium, "#list .small", 2)
    until(chromium, lambda: texts(chromium, "#explained")[0].startswith(f"Why {third}: rank"))
    assert [each.get_attribute("aria-pressed") for each in found(chromium, "#list .small")][:3] == [
        "false",
        "false",
        "true",
    ]
    Select(chromium.find_element(By.ID, "k")).select_by_visible_text("5")
    until(chromium, lambda: len(found(chromium, "#list > li")) == 5)
    click(chromium, "#history button")
    until(chromium, lambda: texts(chromium, "#history .title") == [title("i004")])
    chromium.find_element(By.ID, "clear").click()
    until(chromium, lambda: "most popular" in texts(chromium, "#by")[0])
    assert found(chromium, "#history > li") == [] and strangers(chromium, server) == []


def test_the_page_asks_for_a_key_and_says_what_is_wrong(
    chromium: webdriver.Chrome, runs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ACTSR_API_KEY", KEY)
    with serving(runs) as server:
        open_address(chromium, f"{server.url}/", 380)
        field = chromium.find_element(By.ID, "key")
        until(chromium, field.is_displayed)
        assert "there is no API key" in texts(chromium, "#alert")[0]
        field.send_keys("wrong")
        click(chromium, "#key-form button")
        until(chromium, lambda: "the API key is wrong" in texts(chromium, "#alert")[0])
        field.clear()
        field.send_keys(KEY)
        click(chromium, "#key-form button")
        until(chromium, lambda: len(found(chromium, "#list > li")) == 10)
        assert not chromium.find_element(By.ID, "alert").is_displayed() and not field.is_displayed()
        server.stop()
        click(chromium, "#found .pick")
        until(chromium, lambda: "The server does not answer" in texts(chromium, "#alert")[0])


def test_a_browser_runs_nothing_but_the_script_of_the_page(chromium: webdriver.Chrome, server: Server) -> None:
    open_address(chromium, f"{server.url}/")
    until(chromium, lambda: len(found(chromium, "#list > li")) == 10)
    chromium.execute_script(
        "const script = document.createElement('script'); script.textContent = 'document.title = \"foreign\"';"
        "document.body.append(script); document.body.insertAdjacentHTML('beforeend', "
        '\'<img src="http://127.0.0.1:1/x.png" onerror="document.title = 1">\')'
    )
    until(chromium, lambda: sum("Content Security Policy" in each for each in complaints(chromium)) > 0)
    assert chromium.title == "Recommendations"
