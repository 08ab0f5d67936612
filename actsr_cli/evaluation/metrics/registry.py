"""The metrics by name: what each is called, which way is better, what it needs, and how it is computed.

Whoever only prints metrics needs their names: numpy is imported where values are computed.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from statistics import fmean, stdev
from typing import TYPE_CHECKING, Literal

from actsr_cli.errors import ConfigError, nearest

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from scipy import sparse

    from actsr_cli.evaluation.ranker import Ranking

    Values = NDArray[np.float64]

Better = Literal["higher", "lower"]


@dataclass(frozen=True)
class Catalogue:
    """The facts that metrics use about the items.

    Attributes:
        counts: (n_items + 1,) training interactions of each item; 0 at padding.
        categories: categories of each item id, or None if none are known.
    """

    counts: NDArray[np.int64]
    categories: tuple[tuple[str, ...], ...] | None = None

    @property
    def n_items(self) -> int:
        return len(self.counts) - 1

    @cached_property
    def category_marks(self) -> sparse.csr_array[np.float32]:
        """(n_items + 1, categories) 1 where an item has a category."""
        import numpy as np
        from scipy import sparse

        named = self.categories or ((),) * len(self.counts)
        number = {name: index for index, name in enumerate(dict.fromkeys(name for names in named for name in names))}
        items = np.repeat(np.arange(len(named)), [len(set(names)) for names in named])
        columns = [number[name] for names in named for name in dict.fromkeys(names)]
        shape = (len(named), max(1, len(number)))
        return sparse.csr_array((np.ones(len(columns), dtype=np.float32), (items, columns)), shape=shape)


@dataclass(frozen=True)
class Judged:
    """A ranking, and the facts about its items."""

    ranking: Ranking
    catalogue: Catalogue

    def lists(self, k: int) -> NDArray[np.int64]:
        """(rows, k) the first items of each list, 0 if there are no more."""
        if self.ranking.top_items.shape[1] < min(k, self.catalogue.n_items):
            raise ValueError(f"this ranking has no lists of length {k}")
        return self.ranking.top_items[:, :k]


@dataclass(frozen=True)
class Metric:
    """A metric.

    Attributes:
        name: name in settings and files; with a cut-off it is NAME@K.
        label: name in tables.
        better: which way is better.
        compute: maps a judged ranking and a cut-off to (rows,) values, one per target, or to a single number if
            `of_catalogue`.
        about: description in one line.
        needs: `lists` of recommended items, `categories` of items.
        cutoff: whether it has a cut-off.
        of_catalogue: whether it is one number for all lists together: it has no value per user.
        decimals: digits after the decimal point in tables.
        smallest: the smallest cut-off at which it has a value.
    """

    name: str
    label: str
    better: Better
    compute: Callable[[Judged, int], Values]
    about: str
    needs: frozenset[str] = frozenset()
    cutoff: bool = True
    of_catalogue: bool = False
    decimals: int = 4
    smallest: int = 1


ALL = "all"
"""Stands for all metrics, as the value of an option."""
_METRICS: dict[str, Metric] = {}


def register(metric: Metric) -> Metric:
    """Register a metric: it then works in every command.

    Raises:
        ValueError: the name is taken or not allowed.
    """
    if metric.name in _METRICS or not re.fullmatch(r"[a-z][a-z_]*", metric.name):
        raise ValueError(f"a metric cannot be called '{metric.name}'")
    _METRICS[metric.name] = metric
    return metric


def all_metrics() -> tuple[Metric, ...]:
    """Every metric, in the order in which they are listed."""
    return tuple(_METRICS.values())


@dataclass(frozen=True)
class Measure:
    """A metric at a cut-off.

    Attributes:
        metric: the metric.
        k: the cut-off; 0 if it has none.
    """

    metric: Metric
    k: int = 0

    @property
    def name(self) -> str:
        """Name, such as ndcg@10."""
        return f"{self.metric.name}@{self.k}" if self.metric.cutoff else self.metric.name

    @property
    def label(self) -> str:
        """Label, such as NDCG@10."""
        return f"{self.metric.label}@{self.k}" if self.metric.cutoff else self.metric.label

    @property
    def lower_is_better(self) -> bool:
        return self.metric.better == "lower"

    @property
    def decimals(self) -> int:
        """Digits after the decimal point in tables."""
        return self.metric.decimals

    def text(self, value: float | None, sign: str = "") -> str:
        """A value with the decimals of the metric; a dash if there is no value.

        Args:
            value: None or NaN is no value.
            sign: `+` also shows the sign of a positive value.
        """
        return "-" if value is None or math.isnan(value) else f"{value:{sign}.{self.decimals}f}"

    def spread(self, values: Sequence[float | None]) -> str:
        """Mean ± sample standard deviation (n - 1) of the runs that have a value; one value has no ±."""
        known = [value for value in values if value is not None and not math.isnan(value)]
        mean = self.text(fmean(known) if known else None)
        return mean if len(known) < 2 else f"{mean} ± {self.text(stdev(known))}"

    def of(self, judged: Judged) -> Values:
        """(users,) value of each user, the mean over the user's targets; a single number if `of_catalogue`."""
        values = self.metric.compute(judged, self.k)
        return values if self.metric.of_catalogue else per_user(values, judged.ranking.histories.users)


def find_metric(name: str, where: str = "metrics") -> Metric:
    """The metric called `name`.

    Args:
        name: without a cut-off.
        where: the setting that names it, for the message.

    Raises:
        ConfigError: there is no such metric.
    """
    if name == ALL:
        raise ConfigError(f"'{ALL}' ({where}) is no metric: it stands alone, as the value of the option --metrics")
    if name not in _METRICS:
        raise ConfigError(f"unknown metric '{name}' ({where}); {nearest(name, _METRICS)}")
    return _METRICS[name]


def parse_measure(text: str, where: str = "metrics") -> Measure:
    """The measure called `text`, such as ndcg@10, or rank.

    Args:
        text: a metric, with its cut-off if it has one.
        where: the setting that names it, for the message.

    Raises:
        ConfigError: there is no such metric, or its cut-off is missing, superfluous or no positive whole number.
    """
    name, at, k = text.partition("@")
    metric = find_metric(name, where)
    if not metric.cutoff and at:
        raise ConfigError(f"{where}: {name} has no cut-off: write {name}, not {text}")
    if metric.cutoff and not re.fullmatch(r"[1-9][0-9]*", k):
        raise ConfigError(f"{where}: {text} needs a cut-off, such as {name}@10")
    if metric.cutoff and int(k) < metric.smallest:
        raise ConfigError(f"{where}: {name} needs a cut-off of {metric.smallest} or more, not {k}")
    return Measure(metric, int(k) if metric.cutoff else 0)


def measures(names: Sequence[str], ks: Iterable[int], where: str = "metrics") -> list[Measure]:
    """Each metric at each cut-off where it has a value, metric by metric; those without a cut-off once."""
    cutoffs = sorted(set(ks))
    found = [find_metric(name, where) for name in dict.fromkeys(names)]
    return [Measure(m, k) for m in found for k in (cutoffs if m.cutoff else (0,)) if not m.cutoff or k >= m.smallest]


def chosen_metrics(names: Sequence[str], *, has_categories: bool) -> list[str]:
    """Names of metrics, where `all` stands for all that the data allow.

    Args:
        names: the chosen names, or `all` alone.
        has_categories: whether items have categories.
    """
    if list(names) != [ALL]:
        return list(names)
    return [metric.name for metric in all_metrics() if has_categories or "categories" not in metric.needs]


def list_length(wanted: Iterable[Measure]) -> int:
    """Length of the recommended lists that the measures need; 0 if they need none."""
    return max((measure.k for measure in wanted if "lists" in measure.metric.needs), default=0)


def summarize(judged: Judged, wanted: Iterable[Measure]) -> dict[str, float]:
    """Each measure by name: the mean over users of each user's mean over targets.

    Raises:
        ValueError: nothing was ranked.
    """
    import numpy as np

    if not len(judged.ranking.histories):
        raise ValueError("no ranks to average")
    found = {}
    for measure in wanted:
        values = measure.of(judged)
        known = values[~np.isnan(values)]
        found[measure.name] = float(known.mean()) if known.size else float("nan")
    return found


def per_user(values: Values, users: NDArray[np.int64]) -> Values:
    """(users,) mean of each user's values, NaNs left out, in the order of first appearance; unknown users stay apart.

    Args:
        values: (rows,) one per target.
        users: (rows,) the user of each; -1 is an unknown user.
    """
    import numpy as np

    named = np.where(users < 0, -1 - np.arange(len(users)), users)
    _, first, group = np.unique(named, return_index=True, return_inverse=True)
    if len(first) == len(values):
        return values
    known = ~np.isnan(values)
    counts = np.bincount(group, weights=known)
    sums = np.bincount(group, weights=np.where(known, values, 0.0))
    means: Values = np.divide(sums, counts, out=np.full(len(sums), np.nan), where=counts > 0)
    in_order: Values = means[np.argsort(first, kind="stable")]
    return in_order
