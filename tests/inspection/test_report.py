"""The report in a browser: narrow and wide windows, mouse and keyboard."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from browser import cells, complaints, open_page, overflow, prefer
from selenium import webdriver
from selenium.webdriver.common.action_chains import ActionChains
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.remote.webelement import WebElement
from selenium.webdriver.support.select import Select
from tracing import model

from actsr_cli.inspection.answers import Case
from actsr_cli.inspection.faithfulness import faithfulness
from actsr_cli.inspection.findings import Findings
from actsr_cli.inspection.learned import learned_curves
from actsr_cli.inspection.report import Report, ReportedRun, report_page
from actsr_cli.inspection.robustness import robustness
from actsr_cli.inspection.sharpness import effective_share
from actsr_cli.inspection.views import Explained, Subject, View, is_calibrated, view
from actsr_cli.models.base import SequentialModel

CPU = torch.device("cpu")
SUBJECTS = [
    Subject("ann", Case(np.array([3, 1, 4, 1, 5]), 9)),
    Subject("<b>bob</b>", Case(np.array([2, 6]), 7)),
    Subject("history", Case(np.array([8, 9, 10]), 0)),
]


def name(item: int) -> str:
    return f"</script> item {item} & {{{{data}}}}"


def reported(run: str, looked_at: SequentialModel) -> ReportedRun:
    looked_at.eval()
    views = [view(looked_at, subject.case, device=CPU) for subject in SUBJECTS]
    cases = [Case(np.array(items), 7) for items in ([3, 1, 4, 1, 5], [2, 6, 9, 10])]
    findings = Findings(
        run=run,
        users=2,
        effective_share=effective_share(looked_at, cases, device=CPU),
        curves=learned_curves(looked_at, cases, device=CPU),
        noise_mass=None,
        faithfulness=faithfulness(looked_at, cases, device=CPU),
        robustness=robustness(looked_at, cases, [0.5], device=CPU),
    )
    return ReportedRun(run, is_calibrated(looked_at), views, findings)


@pytest.fixture(scope="module")
def runs() -> list[ReportedRun]:
    return [reported("sample/ac-bert4rec/a", model("bert4rec")), reported("sample/sasrec/b", model(calibration="none"))]


@pytest.fixture(scope="module")
def page(runs: list[ReportedRun], tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("report") / "report.html"
    path.write_text(report_page(Report("A <sample>", "About & more", SUBJECTS, runs, name)), encoding="utf-8")
    return path


@pytest.fixture
def opened(chromium: webdriver.Chrome, page: Path) -> webdriver.Chrome:
    open_page(chromium, page)
    return chromium


def choose(chrome: webdriver.Chrome, control: str, text: str) -> None:
    Select(chrome.find_element(By.ID, control)).select_by_visible_text(text)


def canvases(chrome: webdriver.Chrome) -> list[WebElement]:
    return chrome.find_elements(By.CSS_SELECTOR, "#maps canvas")


def test_it_loads_nothing_and_has_no_error(opened: webdriver.Chrome, page: Path) -> None:
    assert complaints(opened) == []
    assert not re.search(r"(src|href)=\"(?!#)", page.read_text(encoding="utf-8"))
    assert opened.find_element(By.TAG_NAME, "h1").text == "A <sample>"
    assert "</script> item 9 & {{data}}" in opened.find_element(By.ID, "target").text


def test_the_table_has_the_traced_weights(opened: webdriver.Chrome, runs: list[ReportedRun]) -> None:
    choose(opened, "layer", "1")
    choose(opened, "head", "2")
    tables = opened.find_elements(By.CSS_SELECTOR, "#histories table")
    for table, run in zip(tables, runs, strict=True):
        seen: View = run.views[0]
        rows = cells(table)
        assert len(rows) == int(seen.trace.lengths[0])
        for column, stage in enumerate(seen.trace.stages):
            weights = seen.trace.last_rows(stage)[0][0, 1]
            shown = [float(row[1 + column].removesuffix(" %")) for row in rows]
            np.testing.assert_allclose(shown, 100 * weights.numpy(), atol=0.06)
    assert [row[0] for row in rows] == [f"{place}. {name(item)}" for place, item in enumerate((3, 1, 4, 1, 5), 1)]


def test_all_bars_have_one_scale(opened: webdriver.Chrome) -> None:
    full = float(opened.find_element(By.ID, "full").text.removesuffix(" %"))
    bars = opened.find_elements(By.CSS_SELECTOR, "#histories .bar")
    pair = "[parseFloat(each.style.getPropertyValue('--w')), parseFloat(each.textContent)]"
    pairs = opened.execute_script(f"return arguments[0].map((each) => {pair})", bars)
    assert len(pairs) == 6 * 4 + 5 and max(width for width, _ in pairs) == pytest.approx(100)
    for width, shown in pairs:  # of either run, at any stage
        assert width == pytest.approx(100 * shown / full, abs=0.5)


def test_a_stage_that_a_run_does_not_have(opened: webdriver.Chrome) -> None:
    choose(opened, "stage", "mask")
    heads = [
        table.find_elements(By.TAG_NAME, "th")[1].text for table in opened.find_elements(By.CSS_SELECTOR, ".history")
    ]
    assert heads == ["mask", "plain (there is no mask stage)"]
    maps = [each.text for each in opened.find_elements(By.CSS_SELECTOR, "#maps figcaption")]
    assert maps == heads
    choose(opened, "stage", "all")


def test_maps_have_the_names_of_the_items(opened: webdriver.Chrome) -> None:
    (figure,) = opened.find_elements(By.CSS_SELECTOR, "#maps > div:nth-child(2) figure")
    for side in ("queries", "keys"):
        names = figure.find_elements(By.CSS_SELECTOR, f".{side} span")
        assert [each.get_attribute("title") for each in names] == [name(item) for item in (3, 1, 4, 1, 5)]
        assert all(each.is_displayed() and each.text for each in names)


def test_the_ticks_are_round(opened: webdriver.Chrome) -> None:
    for svg in opened.find_elements(By.CSS_SELECTOR, ".chart svg"):
        ticks = [float(each.text.removesuffix(" %")) for each in svg.find_elements(By.CLASS_NAME, "rise")]
        steps = np.diff(ticks)
        assert len(ticks) > 2 and np.allclose(steps, steps[0])
        first = f"{steps[0]:.6e}"[0]
        assert first in "125", ticks


def test_an_importance_that_rounds_to_zero_has_no_sign(chromium: webdriver.Chrome, tmp_path: Path) -> None:
    run = reported("sample/ac-sasrec/a", model())
    told = Explained(7, (0.004, -0.004, -0.5, 1.25, 0.0))
    report = Report("signs", "", SUBJECTS[:1], [replace(run, views=[replace(run.views[0], explained=told)])], name)
    (tmp_path / "report.html").write_text(report_page(report), encoding="utf-8")
    open_page(chromium, tmp_path / "report.html")
    rows = cells(chromium.find_element(By.CSS_SELECTOR, "#histories table"))
    assert [row[1] for row in rows] == ["0.00", "0.00", "-0.50", "+1.25", "0.00"]


@pytest.mark.parametrize("two_level", [True, False])
def test_the_calibrated_column_is_seen_on_a_phone(chromium: webdriver.Chrome, tmp_path: Path, two_level: bool) -> None:
    run = reported("sample/ac-sasrec/a", model(two_level=two_level))
    text = report_page(Report("phone", "", SUBJECTS, [run], lambda item: f"a rather long title {item}"))
    (tmp_path / "report.html").write_text(text, encoding="utf-8")
    open_page(chromium, tmp_path / "report.html", width=380)
    heads = chromium.find_elements(By.CSS_SELECTOR, ".history thead th")
    assert [each.text for each in heads][-1] == "calibrated" and len(heads) == (5 if two_level else 6)
    last = chromium.find_elements(By.CSS_SELECTOR, ".history tbody tr:first-child td")[-1]
    for each in (heads[-1], last):
        box = each.rect
        assert box["x"] + box["width"] <= 380 and box["width"] > 20
    region = chromium.find_element(By.CSS_SELECTOR, "#histories .scroll")
    assert chromium.execute_script("return arguments[0].scrollWidth - arguments[0].clientWidth", region) == 0


def test_choosing_a_user_and_a_stage(opened: webdriver.Chrome) -> None:
    assert len(canvases(opened)) == 5
    choose(opened, "stage", "calibrated")
    assert len(canvases(opened)) == 2  # a plain run has the plain stage alone
    choose(opened, "stage", "all")
    opened.find_element(By.ID, "next").click()
    assert Select(opened.find_element(By.ID, "user")).first_selected_option.text.startswith("<b>bob</b>, rank")
    opened.find_element(By.ID, "next").click()
    assert "no target" in opened.find_element(By.ID, "target").text
    opened.find_element(By.ID, "next").click()
    assert Select(opened.find_element(By.ID, "user")).first_selected_option.text.startswith("ann")


def test_pointing_at_a_cell_reads_it_out(opened: webdriver.Chrome, runs: list[ReportedRun]) -> None:
    canvas = canvases(opened)[4]  # of the second run, whose history has five items
    opened.execute_script("arguments[0].scrollIntoView({block: 'center'})", canvas)
    cell = canvas.size["width"] / 5
    ActionChains(opened).move_to_element_with_offset(canvas, round(-2 * cell), round(cell)).perform()
    weight = float(runs[1].views[0].trace.weights("plain")[1][0, :, 3, 0].mean())
    reading = opened.find_element(By.ID, "reading").text
    assert f"query 4. {name(1)}, key 1. {name(3)}: plain {100 * weight:.1f} %" in reading


def test_the_keyboard_is_enough(opened: webdriver.Chrome) -> None:
    for _ in range(40):
        opened.switch_to.active_element.send_keys(Keys.TAB)
        if opened.switch_to.active_element.tag_name == "canvas":
            break
    else:
        pytest.fail("no heat map can be reached by the tab key")
    assert "query 6. ?, key 6. ?" in opened.find_element(By.ID, "reading").text
    opened.switch_to.active_element.send_keys(Keys.ARROW_LEFT, Keys.ARROW_LEFT, Keys.ARROW_UP, Keys.ARROW_RIGHT)
    reading = opened.find_element(By.ID, "reading")
    assert f"query 5. {name(5)}, key 5. {name(5)}" in reading.text and reading.get_attribute("aria-live") == "polite"


def test_everything_has_a_name_for_screen_readers(opened: webdriver.Chrome) -> None:
    opened.execute_script("for (const each of document.querySelectorAll('details')) each.open = true")
    for element in opened.find_elements(By.CSS_SELECTOR, "select, button, [role=img], [role=region]"):
        assert element.accessible_name, element.get_attribute("outerHTML")
    assert opened.find_element(By.TAG_NAME, "html").get_attribute("lang") == "en"


@pytest.mark.parametrize("width", [360, 768, 1920])
def test_nothing_runs_over_the_edge(chromium: webdriver.Chrome, page: Path, width: int) -> None:
    open_page(chromium, page, width)
    assert overflow(chromium) == 0


def test_dark_and_light(chromium: webdriver.Chrome, page: Path) -> None:
    for scheme, other in (("dark", "light"), ("light", "dark")):
        prefer(chromium, scheme)
        chromium.get(page.as_uri())
        root = chromium.find_element(By.TAG_NAME, "html")
        assert root.get_attribute("data-theme") == scheme
        before = chromium.find_element(By.TAG_NAME, "body").value_of_css_property("background-color")
        chromium.find_element(By.ID, "theme").click()
        assert root.get_attribute("data-theme") == other
        assert chromium.find_element(By.TAG_NAME, "body").value_of_css_property("background-color") != before


def test_curves_and_tables_of_what_was_measured(opened: webdriver.Chrome) -> None:
    learned = [each.text for each in opened.find_elements(By.CSS_SELECTOR, "#learned h3")]
    assert len(learned) == 4 and learned[0] == "Mean weight of a key"
    captions = [each.text for each in opened.find_elements(By.CSS_SELECTOR, "#measured h3")]
    assert sum("is the attention faithful?" in text for text in captions) == 2
    assert sum("noise in histories" in text for text in captions) == 2
    assert len(opened.find_elements(By.CSS_SELECTOR, "#measured svg")) == 2 * 2 + 3


def test_fifty_long_histories_stay_small() -> None:
    long = model(max_length=50).eval()
    items = np.random.default_rng(0).integers(1, 11, (50, 50))
    subjects = [Subject(f"u{row}", Case(history, 3)) for row, history in enumerate(items)]
    views = [view(long, subject.case, device=CPU) for subject in subjects]
    curves = learned_curves(long, [each.case for each in subjects], device=CPU)
    findings = Findings("a/b/c", 50, {}, curves, None, None, [])
    runs = [ReportedRun("a/b/c", True, views, findings)]
    text = report_page(Report("long", "", subjects, runs, lambda item: f"item {item}"))
    assert len(text) < 4e6
