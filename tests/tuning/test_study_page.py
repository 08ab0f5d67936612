"""The page of a study in a browser."""

from __future__ import annotations

import itertools
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from statistics import pvariance
from typing import Any

import optuna
import pytest
from browser import cells, complaints, open_page, overflow, prefer
from matplotlib.image import imread
from optuna.distributions import BaseDistribution, CategoricalDistribution
from optuna.trial import TrialState, create_trial
from selenium import webdriver
from selenium.webdriver.common.by import By

from actsr_cli.commands.tune_view import outcome_record, print_outcome
from actsr_cli.config import RunConfig
from actsr_cli.tuning.outcome import outcome_of
from actsr_cli.tuning.output import write_outcome
from actsr_cli.tuning.queue import ERROR, RUN
from actsr_cli.tuning.space import read_space
from actsr_cli.tuning.study import Plan, open_study

RAW: dict[str, list[Any]] = {
    "training.learning_rate": [1e-3, 3e-3, 1e-2],
    "model.layers": [1, 2],
    "training.schedule": ["constant", "cosine"],
}
COMMAND = "actsr tune --grid --space 'a <b>.yaml' & more"


def plan_in(folder: Path) -> Plan:
    return Plan(
        name="one <b>",
        sampler="grid",
        config=RunConfig(dataset="demo"),
        preset="demo",
        space=read_space(RAW, "here"),
        fingerprint="abc",
        trials=None,
        pruning=True,
        storage=None,
        runs_dir=folder / "runs",
        data_dir=folder / "dataset",
    )


def finish(study: optuna.Study, rows: list[tuple[Any, ...]], *, failed: int = 0) -> None:
    """Give a study its trials: value 0.2 + 0.1 per layer + 20 per unit of the rate; the first ones have failed."""
    kinds: dict[str, BaseDistribution] = {key: CategoricalDistribution(values) for key, values in RAW.items()}
    begin = datetime(2026, 3, 1, 12, 30)
    for number, row in enumerate(rows):
        value = 0.2 + 0.1 * row[1] + 20 * row[0]
        fails = number < failed
        trial = create_trial(
            state=TrialState.FAIL if fails else TrialState.COMPLETE,
            params=dict(zip(RAW, row, strict=True)),
            distributions=kinds,
            value=None if fails else value,
            intermediate_values={} if fails else {epoch: value * epoch / 4 for epoch in range(1, 5)},
            user_attrs={ERROR: "the loss is <nan>"} if fails else {RUN: f"demo/sasrec/one-t{number:03}"},
        )
        trial.datetime_start, trial.datetime_complete = begin, begin + timedelta(minutes=3)
        study.add_trial(trial)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> tuple[Plan, optuna.Study]:
    plan = plan_in(tmp_path_factory.mktemp("whole"))
    study = open_study(plan)
    finish(study, list(itertools.product(*RAW.values())))
    write_outcome(plan, study, outcome_of(plan, study), COMMAND)
    return plan, study


@pytest.fixture
def opened(chromium: webdriver.Chrome, whole: tuple[Plan, optuna.Study]) -> webdriver.Chrome:
    open_page(chromium, whole[0].folder / "study.html")
    return chromium


def texts(chrome: webdriver.Chrome, selector: str) -> list[str]:
    return [each.text for each in chrome.find_elements(By.CSS_SELECTOR, selector)]


def test_it_says_what_was_done(opened: webdriver.Chrome) -> None:
    assert complaints(opened) == []
    assert opened.title == "Study" or "demo/sasrec/one <b>" in opened.title
    assert texts(opened, "h1") == ["demo/sasrec/one <b>"]
    facts = dict(zip(texts(opened, "#facts dt"), texts(opened, "#facts dd"), strict=True))
    assert facts["Command"] == COMMAND
    assert facts["Date"] == "2026-03-01 12:30 to 2026-03-01 12:33"
    assert facts["Trials"] == "12 finished" and facts["Protocol"] == "A, seen items ranked"
    winner = dict(zip(texts(opened, "#winner dt"), texts(opened, "#winner dd"), strict=True))
    assert winner["Trial"] == "10, run demo/sasrec/one-t010"
    assert winner["hit@10"] == "0.6000" and winner["Epochs"] == "4"
    assert winner["Settings"] == "learning_rate=0.01 layers=2 schedule=constant"


def test_the_table_has_all_trials_the_best_on_top(opened: webdriver.Chrome) -> None:
    (table,) = opened.find_elements(By.CSS_SELECTOR, "#trials table")
    rows = cells(table)
    values = [float(row[1]) for row in rows]
    assert values == sorted(values, reverse=True) and len(rows) == 12
    assert rows[0] == ["10", "0.6000", "finished", "0.01", "2", "constant", "4", "3.0"]


def test_page_text_picture_and_json_agree_on_the_importance(
    opened: webdriver.Chrome, whole: tuple[Plan, optuna.Study], capsys: pytest.CaptureFixture[str]
) -> None:
    plan, study = whole
    outcome = outcome_of(plan, study)
    rates, layers = 20**2 * pvariance([1e-3, 3e-3, 1e-2]), 0.1**2 * pvariance([1, 2])
    share = 100 * rates / (rates + layers)
    rows = cells(opened.find_element(By.CSS_SELECTOR, "#importance table"))
    assert [row[0] for row in rows] == [
        "training.learning_rate",
        "model.layers",
        "training.schedule",
        "interactions and chance",
    ]
    shown = [row[1].removesuffix(" %") for row in rows]
    assert shown == [f"{share:.0f}", f"{100 - share:.0f}", "0", "0"]
    print_outcome(plan, outcome)
    said = " ".join(capsys.readouterr().out.split())
    assert ", ".join(f"{row[0].rpartition('.')[2]} {number}%" for row, number in zip(rows, shown, strict=True)) in said
    told = outcome_record(plan, outcome)
    assert told["importances"]["training.learning_rate"] == pytest.approx(share / 100)
    assert imread(plan.folder / "param_importances.png").ndim == 3


def test_charts_count_whole_epochs_and_name_their_values(opened: webdriver.Chrome) -> None:
    _, epochs = opened.find_elements(By.CSS_SELECTOR, "#charts .chart")
    assert [each.text for each in epochs.find_elements(By.CLASS_NAME, "tick")] == ["1", "2", "3", "4"]
    assert [each.text for each in epochs.find_elements(By.CSS_SELECTOR, ".legend li")][-1] == "others"
    keys = opened.find_elements(By.CSS_SELECTOR, "#keys .chart")
    assert [each.find_element(By.TAG_NAME, "h3").text for each in keys] == list(RAW)
    assert [each.text for each in keys[2].find_elements(By.CLASS_NAME, "tick")] == ["constant", "cosine"]
    assert len(keys[0].find_elements(By.TAG_NAME, "circle")) == 12


def test_everything_has_a_name_and_opens_by_the_keyboard(opened: webdriver.Chrome) -> None:
    opened.execute_script("for (const each of document.querySelectorAll('details')) each.open = true")
    for element in opened.find_elements(By.CSS_SELECTOR, "button, summary, table, [role=img], [role=region]"):
        assert element.accessible_name or element.tag_name == "table", element.get_attribute("outerHTML")
    assert all(each.get_attribute("tabindex") == "0" for each in opened.find_elements(By.CLASS_NAME, "scroll"))


@pytest.mark.parametrize("width", [380, 1280])
def test_it_fits_phones_and_desks_in_light_and_dark(
    chromium: webdriver.Chrome, whole: tuple[Plan, optuna.Study], width: int
) -> None:
    path = whole[0].folder / "study.html"
    assert path.stat().st_size < 1.5e6
    backgrounds = set()
    for scheme in ("dark", "light"):
        prefer(chromium, scheme)
        open_page(chromium, path, width)
        assert overflow(chromium) == 0
        backgrounds.add(chromium.find_element(By.TAG_NAME, "body").value_of_css_property("background-color"))
        value = chromium.find_elements(By.CSS_SELECTOR, "#trials thead th")[1].rect
        assert value["x"] + value["width"] < width
    assert len(backgrounds) == 2


def test_a_study_with_failures_shows_them_and_no_importance(chromium: webdriver.Chrome, tmp_path: Path) -> None:
    plan = replace(plan_in(tmp_path), name="part")
    study = open_study(plan)
    finish(study, list(itertools.product(*RAW.values()))[:6], failed=2)
    (plan.folder / "param_importances.png").touch()
    write_outcome(plan, study, outcome_of(plan, study), COMMAND)
    assert not (plan.folder / "param_importances.png").exists()
    open_page(chromium, plan.folder / "study.html")
    assert texts(chromium, "#note") == ["Not shown: it takes 20 finished trials or all 12 combinations, there are 4."]
    rows = cells(chromium.find_element(By.CSS_SELECTOR, "#trials table"))
    assert [row[2] for row in rows] == ["finished"] * 4 + ["failed"] * 2
    assert rows[-1][-1] == "the loss is <nan>" and complaints(chromium) == []
