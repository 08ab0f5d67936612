"""Ranking protocols: a target is ranked among the whole catalogue, with or without seen items, or among a sample."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal, Self

from actsr_cli.errors import ConfigError, RunError, nearest

if TYPE_CHECKING:  # whoever only prints a protocol's title does not wait for numpy
    import numpy as np
    from numpy.typing import NDArray

    from actsr_cli.config import EvaluationConfig

Seen = Literal["rank", "exclude", "exclude-repeats"]
Candidates = Literal["all", "uniform", "popularity"]
_TITLES: dict[Seen, str] = {
    "rank": "A, seen items ranked",
    "exclude": "B, seen items excluded",
    "exclude-repeats": "B as published, seen items excluded, a repeated target is a miss",
}
_SAMPLED_KEY = re.compile(r"(uniform|popularity)-(\d+)-seed(\d+)")


@dataclass(frozen=True)
class Protocol:
    """How a target is ranked.

    Attributes:
        seen: `rank` ranks items of the user's history too (protocol A). `exclude` excludes them, except a target that
            repeats one (protocol B). `exclude-repeats` excludes such a target, too: it is a miss (B as published).
        candidates: the whole catalogue, or sampled items that the user has not had (protocol C), drawn uniformly or by
            popularity.
        n_candidates: sampled items per target.
        seed: seed of the sample; a target has the same sample in every run.
    """

    seen: Seen = "rank"
    candidates: Candidates = "all"
    n_candidates: int = 100
    seed: int = 0

    @classmethod
    def of(cls, config: EvaluationConfig, seen: Seen | None = None) -> Self:
        """The protocol of a configuration, with another `seen` if one is given."""
        return cls(seen or config.seen, config.candidates, config.n_candidates, config.candidate_seed)

    @classmethod
    def chosen(
        cls,
        config: EvaluationConfig,
        seen: Seen | None = None,
        candidates: Candidates | None = None,
        n_candidates: int | None = None,
    ) -> Self:
        """The protocol of a configuration, with what is chosen over it; None leaves it as it is.

        Raises:
            ConfigError: the choices contradict each other.
        """
        which = candidates or ("all" if seen is not None else config.candidates)
        if which != "all" and seen is not None:
            raise ConfigError(
                "seen does not go with sampled candidates: a user has never seen them",
                hint="Leave seen out, or set candidates to all.",
            )
        if n_candidates is not None and which == "all":
            raise ConfigError("n_candidates needs candidates uniform or popularity")
        return cls(seen or config.seen, which, n_candidates or config.n_candidates, config.candidate_seed)

    @classmethod
    def from_key(cls, key: str) -> Self:
        """The protocol of a key; settings that the key does not name have their defaults.

        Raises:
            RunError: no protocol has this key.
        """
        for seen in _TITLES:
            if seen == key:
                return cls(seen)
        found = _SAMPLED_KEY.fullmatch(key)
        if found is None:
            raise RunError(f"'{key}' is not a protocol; {nearest(key, _TITLES)}")
        candidates: Candidates = "uniform" if found[1] == "uniform" else "popularity"
        return cls(candidates=candidates, n_candidates=int(found[2]), seed=int(found[3]))

    @property
    def sampled(self) -> bool:
        """Whether targets are ranked among a sample; `seen` is then ignored."""
        return self.candidates != "all"

    @property
    def key(self) -> str:
        """A short name under which metrics are stored."""
        return f"{self.candidates}-{self.n_candidates}-seed{self.seed}" if self.sampled else self.seen

    @property
    def title(self) -> str:
        """The description in every table of metrics."""
        if not self.sampled:
            return _TITLES[self.seen]
        how = "uniformly" if self.candidates == "uniform" else "by popularity"
        return (
            f"C, target among {self.n_candidates} sampled items (drawn {how}, seed {self.seed}): "
            "not comparable with ranks over the whole catalogue"
        )


@dataclass(frozen=True)
class CandidateSampler:
    """Draws the items that a target is ranked among in protocol C.

    Each target's items are drawn one by one without replacement. They only depend on the seed, the target's user and
    the target's position in the history.

    Args:
        protocol: which items, how many, and the seed.
        item_counts: (n_items + 1,) training interactions of each item; padding has none.
    """

    protocol: Protocol
    item_counts: NDArray[np.int64]
    _shares: NDArray[np.float64] = field(init=False, repr=False)
    _eligible: NDArray[np.bool_] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        import numpy as np

        weights = self.item_counts.astype(np.float64)
        if self.protocol.candidates == "uniform":
            weights = np.ones_like(weights)
        weights[0] = 0.0
        object.__setattr__(self, "_shares", np.cumsum(weights) / weights.sum())
        object.__setattr__(self, "_eligible", weights > 0)

    def draw(self, user: int, place: int, taken: NDArray[np.int64]) -> NDArray[np.int64]:
        """(n_candidates,) item ids, padded with 0 if the catalogue has no more.

        Args:
            user: the user id, from 0; -1 is an unknown user.
            place: length of the history.
            taken: item ids that may not be drawn: the target and the user's history.
        """
        import numpy as np

        wanted = self.protocol.n_candidates
        found = np.zeros(wanted, dtype=np.int64)
        known = set(taken.tolist())
        n_left = int(self._eligible.sum()) - int(self._eligible[list(known)].sum())
        if n_left <= wanted:  # take all of them
            left = np.setdiff1d(np.flatnonzero(self._eligible), taken)
            found[: len(left)] = left
            return found
        rng = np.random.default_rng([self.protocol.seed, user + 1, place])
        count = 0
        while count < wanted:
            for item in np.searchsorted(self._shares, rng.random(2 * wanted), side="right").tolist():
                if item not in known and count < wanted:
                    known.add(item)
                    found[count] = item
                    count += 1
        return found
