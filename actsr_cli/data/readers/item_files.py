"""What is known of items: titles and categories from the atomic `.item` file beside the interactions."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from actsr_cli.data.readers.atomic import read_header_types
from actsr_cli.data.readers.delimited import read_delimited
from actsr_cli.data.readers.interactions import BadLines, find_column
from actsr_cli.data.readers.tables import USUAL_NAMES
from actsr_cli.errors import DataError

TITLES = ("title", "movie_title", "item_title", "item_name", "name")
CATEGORIES = ("categories", "category", "genre", "genres", "class")
_ONE, _SEVERAL = "token", "token_seq"


@dataclass(frozen=True)
class ItemDetails:
    """What an item file says of items, by raw id.

    Attributes:
        titles: a title; empty where the file has no column of titles.
        categories: the categories of an item, each once; empty where the file has no column of categories.
    """

    titles: dict[str, str] = field(default_factory=dict)
    categories: dict[str, tuple[str, ...]] = field(default_factory=dict)


def read_item_file(path: Path, bad_lines: BadLines) -> ItemDetails:
    """Titles and categories by raw item id; columns are found by their usual names.

    A column of categories is of type `token`, one category per item, or `token_seq`, several separated by blanks.

    Raises:
        DataError: the file has no item ids, or is no atomic file.
    """
    types = read_header_types(path)
    names = list(types)
    item = find_column(names, None, USUAL_NAMES["item"], "item", path)
    if item is None:
        raise DataError(f"{path} has no column of item ids; it has: {', '.join(names)}")
    title = find_column(names, None, TITLES, "title", path)
    classed = [name for name in names if types[name] in (_ONE, _SEVERAL)]
    category = find_column(classed, None, CATEGORIES, "category", path)
    used = [name for name in (title, category) if name is not None]
    if not used:
        return ItemDetails()
    table = read_delimited(path, "\t", names, [item, *used], quoted=False)
    for line, reason in table.malformed:
        bad_lines.report(line, reason)
    ids = table.frame[item]
    titles = {} if title is None else dict(zip(ids, table.frame[title], strict=True))
    if category is None:
        return ItemDetails(titles)
    texts = zip(ids, table.frame[category], strict=True)
    return ItemDetails(titles, {key: _categories(text, types[category]) for key, text in texts})


def _categories(text: str, kind: str) -> tuple[str, ...]:
    """The categories in a field, each once, in their order."""
    found = text.split(" ") if kind == _SEVERAL else [text.strip()]
    return tuple(dict.fromkeys(each for each in found if each))
