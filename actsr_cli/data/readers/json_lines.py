"""Reads Amazon reviews as published by McAuley's group: one JSON object per line, often gzipped."""

from __future__ import annotations

import json
import math
from collections.abc import Collection
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from actsr_cli.data.readers.columns import Columns
from actsr_cli.data.readers.interactions import BadLines, Interactions
from actsr_cli.data.readers.text import read_lines
from actsr_cli.errors import DataError

USER, ITEM, RATING, TIME = "reviewerID", "asin", "overall", "unixReviewTime"
_ALIASES = {RATING: RATING, TIME: TIME, "rating": RATING, "timestamp": TIME}


def read_amazon_reviews(path: Path, columns: Columns, wanted: Collection[str], bad_lines: BadLines) -> Interactions:
    """Read reviewerID, asin, overall and unixReviewTime of each line.

    Raises:
        DataError: a filter needs another column, or the file holds no interactions.
    """
    if unknown := sorted(set(wanted) - _ALIASES.keys()):
        raise DataError(f"no numeric column '{unknown[0]}' in {path} to filter by; known: {', '.join(_ALIASES)}")
    rows: list[tuple[str, str, float, float]] = []
    for number, line in enumerate(read_lines(path, columns.encoding), start=1):
        if not line.strip():
            continue
        parsed = _parse(line)
        if isinstance(parsed, str):
            bad_lines.report(number, parsed)
        else:
            rows.append(parsed)
    if not rows:
        raise DataError(f"{path} holds no interactions")
    users, items, ratings, times = zip(*rows, strict=True)
    user_codes, user_names = pd.factorize(np.array(users, dtype=object))
    item_codes, item_names = pd.factorize(np.array(items, dtype=object))
    numbers = {RATING: np.array(ratings, dtype=np.float64), TIME: np.array(times, dtype=np.float64)}
    return Interactions(
        users=user_codes.astype(np.int64),
        items=item_codes.astype(np.int64),
        user_names=user_names,
        item_names=item_names,
        timestamps=numbers[TIME],
        numbers={name: numbers[_ALIASES[name]] for name in wanted},
    )


def _parse(line: str) -> tuple[str, str, float, float] | str:
    """User, item, rating and time of a review, or the reason why it is malformed."""
    try:
        review: Any = json.loads(line)
    except json.JSONDecodeError as error:
        return f"not JSON: {error.msg}"
    except (ValueError, RecursionError) as error:  # a number or a nesting beyond Python's limits
        return f"not JSON: {error}"
    if not isinstance(review, dict):
        return "not a JSON object"
    for key in (USER, ITEM, TIME):
        if review.get(key) in (None, ""):
            return f"no {key}"
    rating = math.nan if review.get(RATING) is None else _number(review[RATING])
    time = _number(review[TIME])
    if rating is None:
        return f"{RATING} {review[RATING]!r} is not a number"
    if time is None:
        return f"{TIME} {review[TIME]!r} is not a number"
    return str(review[USER]), str(review[ITEM]), rating, time


def _number(value: object) -> float | None:
    """The value as a finite number, or None if it is anything else."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    try:
        number = float(value)
    except OverflowError:
        return None
    return number if math.isfinite(number) else None
