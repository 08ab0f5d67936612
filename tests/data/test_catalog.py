"""Entries of the catalogue are found by name and alias, ignoring case; unknown names are errors."""

from __future__ import annotations

import pytest

from actsr_cli.data.catalog import CATALOG, all_names, find_entry, known, same_data_set
from actsr_cli.errors import DataError


@pytest.mark.parametrize(
    ("name", "found"),
    [
        ("amazon-beauty", "amazon-beauty"),
        ("beauty", "amazon-beauty"),
        ("Amazon_Beauty", "amazon-beauty"),
        ("AMAZON_BEAUTY", "amazon-beauty"),
        ("sports", "amazon-sports-outdoors"),
        ("Amazon_Sports_and_Outdoors", "amazon-sports-outdoors"),
        ("toys", "amazon-toys-games"),
        ("Amazon_Toys_and_Games", "amazon-toys-games"),
        ("Yelp", "yelp"),
        ("ML-100k", "ml-100k"),
        ("demo", "demo"),
    ],
)
def test_a_name_or_an_alias_finds_its_entry(name: str, found: str) -> None:
    assert find_entry(name).name == found
    assert known(name) is find_entry(name)


def test_one_data_set_has_several_names() -> None:
    assert all_names("beauty") == ("beauty", "amazon-beauty", "Amazon_Beauty")
    assert all_names("shop") == ("shop",)
    assert same_data_set("beauty", "AMAZON-BEAUTY") and same_data_set("shop", "shop")
    assert not same_data_set("beauty", "toys") and not same_data_set("shop", "Shop")


def test_an_unknown_name_is_told_the_nearest() -> None:
    with pytest.raises(DataError, match=r"unknown data set 'amazon-beuty'; did you mean 'amazon-beauty'\?"):
        find_entry("amazon-beuty")
    assert known("amazon-beuty") is None


def test_a_name_far_from_all_is_told_the_list() -> None:
    with pytest.raises(DataError, match=r"known: .*ml-100k"):
        find_entry("zzzz")


def test_no_two_entries_answer_to_one_name() -> None:
    names = [name.casefold() for entry in CATALOG for name in (entry.name, *entry.aliases)]
    assert len(names) == len(set(names))


def test_published_archives_and_figures() -> None:
    archives = {entry.name: (entry.archive, entry.expected) for entry in CATALOG if entry.archive}
    assert archives == {
        "amazon-beauty": ("Amazon_ratings/Amazon_Beauty.zip", (22363, 12101, 198502)),
        "amazon-sports-outdoors": ("Amazon_ratings/Amazon_Sports_and_Outdoors.zip", (35598, 18357, 296337)),
        "amazon-toys-games": ("Amazon_ratings/Amazon_Toys_and_Games.zip", (19412, 11924, 167597)),
        "yelp": ("Yelp/yelp.zip", (30499, 20068, 317182)),
        "ml-100k": ("MovieLens/ml-100k.zip", (943, 1682, 100000)),
    }
