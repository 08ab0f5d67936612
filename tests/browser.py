"""A browser without a window, for the tests of the pages."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from selenium import webdriver
from selenium.webdriver.common.by import By
from selenium.webdriver.remote.webelement import WebElement


@contextmanager
def chromium() -> Iterator[webdriver.Chrome]:
    """Chromium for as long as the context lasts; the test is skipped where it is not installed."""
    browser, driver = shutil.which("chromium"), shutil.which("chromedriver")
    if browser is None or driver is None:
        pytest.skip("chromium and chromedriver are not installed")
    options = webdriver.ChromeOptions()
    options.binary_location = browser
    for argument in ("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"):
        options.add_argument(argument)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    chrome = webdriver.Chrome(options=options, service=webdriver.ChromeService(driver))
    try:
        yield chrome
    finally:
        chrome.quit()


def open_page(chrome: webdriver.Chrome, page: Path, width: int = 1280) -> None:
    """Open the page in a file; see `open_address`."""
    open_address(chrome, page.as_uri(), width)


def open_address(chrome: webdriver.Chrome, address: str, width: int = 1280) -> None:
    """Open a page in a window of this width, and forget what the browser has logged before."""
    metrics = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": False}
    chrome.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
    for log in ("browser", "performance"):
        chrome.get_log(log)  # type: ignore[no-untyped-call]
    chrome.get(address)


def complaints(chrome: webdriver.Chrome) -> list[str]:
    """Errors on the console, and requests over a network, since the page was opened."""
    performance = [entry["message"] for entry in chrome.get_log("performance")]  # type: ignore[no-untyped-call]
    requests = [each for each in performance if "Network.requestWillBeSent" in each and '"url":"http' in each]
    return [entry["message"] for entry in chrome.get_log("browser")] + requests  # type: ignore[no-untyped-call]


def overflow(chrome: webdriver.Chrome) -> int:
    """By how many pixels the page is wider than the window."""
    script = "return document.documentElement.scrollWidth - document.documentElement.clientWidth"
    return int(chrome.execute_script(script))


def prefer(chrome: webdriver.Chrome, scheme: str) -> None:
    """Let the browser prefer light or dark pages."""
    features = [{"name": "prefers-color-scheme", "value": scheme}]
    chrome.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": features})


def cells(table: WebElement) -> list[list[str]]:
    """The texts of the body of a table."""
    rows = table.find_elements(By.CSS_SELECTOR, "tbody tr")
    return [[each.text for each in row.find_elements(By.CSS_SELECTOR, "th, td")] for row in rows]
