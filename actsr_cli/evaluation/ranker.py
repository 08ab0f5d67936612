"""Ranks a catalogue for histories: the rank of each target, and lists of the best items."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from threading import Lock, local
from typing import Protocol as Interface

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from actsr_cli.batch import PADDING, Batch
from actsr_cli.data.batches import history_batches
from actsr_cli.data.histories import Histories
from actsr_cli.distributed import ALONE, Workers
from actsr_cli.errors import RunError
from actsr_cli.evaluation.ordering import best_items, places, places_among
from actsr_cli.evaluation.protocol import CandidateSampler, Protocol
from actsr_cli.threads import run_on_each

_SCORES_AT_A_TIME = 2**25
"""Limit of the scores in memory, 128 MiB: 33 histories with a catalogue of a million items."""


class ScoreError(RunError):
    """A score is not a number, so nothing can be ranked by it."""

    def __init__(
        self,
        message: str = "the model scores an item with NaN: it cannot be ranked",
        hint: str = "Its training may have diverged: train with a lower --learning-rate, or in float32.",
    ) -> None:
        super().__init__(message, hint)


class Scorer(Interface):
    """The methods of a model that a ranker calls."""

    @property
    def n_items(self) -> int:
        """Number of items in the catalogue, without padding."""

    @property
    def max_length(self) -> int:
        """Number of latest items of a history that the model reads."""

    def score(self, batch: Batch) -> Tensor:
        """(batch, n_items + 1) scores; column 0 is padding and has no meaning."""


@dataclass(frozen=True)
class Ranking:
    """How a scorer orders the catalogue for some histories.

    Attributes:
        histories: the histories, with their targets.
        n_items: number of items in the catalogue.
        better: (rows,) int64 number of candidates that score higher than the target; -1 without a target; `n_items` if
            the target is a miss whatever its score is.
        equal: (rows,) int64 number of other candidates with the target's score.
        top_items: (rows, top) int64 item ids with the highest scores, best first; of equal scores the lowest id comes
            first. 0 where the list is shorter. An item with a score of -inf is never listed.
        top_scores: (rows, top) float32, their scores; -inf where the list is shorter.
        log_total: (rows,) log of the sum over the catalogue of exp(score): a score minus it is a log-probability. 0
            unless `rank` computed it.
        target_scores: (rows,) float32 score of each target; NaN without one.
    """

    histories: Histories
    n_items: int
    better: NDArray[np.int64]
    equal: NDArray[np.int64]
    top_items: NDArray[np.int64]
    top_scores: NDArray[np.float32]
    log_total: NDArray[np.float32]
    target_scores: NDArray[np.float32]

    @property
    def ranks(self) -> NDArray[np.float64]:
        """(rows,) expected rank of each target from 1, with equal scores in random order; NaN without a target."""
        return np.where(self.better < 0, np.nan, 1 + self.better + self.equal / 2)

    @property
    def log_probability(self) -> NDArray[np.float64]:
        """(rows,) log-probability of each target, by the softmax over all items of the catalogue."""
        return (self.target_scores - self.log_total).astype(np.float64)

    @property
    def top_log_probability(self) -> NDArray[np.float64]:
        """(rows, top) log-probability of the listed items, likewise; -inf where the list is shorter."""
        return (self.top_scores - self.log_total[:, None]).astype(np.float64)


class Ranker:
    """Orders a catalogue by a model's scores. Memory is bounded by the batch, and no rank depends on the batch size.

    On a CPU each thread of PyTorch ranks batches of its own: `scorer.score` is called from several threads at once.

    Args:
        scorer: the model, on `device` and in evaluation mode.
        device: where to score.
        protocol: which items a target is ranked among.
        batch_size: histories scored at a time; fewer if the scores of all threads would exceed 128 MiB.
        item_counts: (n_items + 1,) training interactions of each item; sampled candidates need them.
        workers: the processes that share the histories. Each gets the whole ranking.
        listed: (n_items + 1,) bool, items allowed in lists, or (rows, n_items + 1), those of each history; None allows
            all. Ranks do not depend on it.
    """

    def __init__(
        self,
        scorer: Scorer,
        *,
        device: torch.device,
        protocol: Protocol | None = None,
        batch_size: int = 256,
        item_counts: NDArray[np.int64] | None = None,
        workers: Workers = ALONE,
        listed: NDArray[np.bool_] | None = None,
    ) -> None:
        self.scorer = scorer
        self.device = device
        self.protocol = protocol or Protocol()
        self.batch_size = batch_size
        self.workers = workers
        self._not_listed = None if listed is None else torch.from_numpy(~listed).to(device)
        self._of_thread = local()
        self._sampler: CandidateSampler | None = None
        if self.protocol.sampled:
            if item_counts is None:
                raise ValueError(f"candidates: {self.protocol.candidates} needs item_counts")
            self._sampler = CandidateSampler(self.protocol, item_counts)

    def rank(
        self,
        histories: Histories,
        *,
        top: int = 0,
        log_probability: bool = False,
        on_batch: Callable[[int, int], None] | None = None,
    ) -> Ranking:
        """Rank the target of each history, and list the best items.

        Args:
            histories: histories of any length, at least one item each.
            top: length of the lists; 0 makes no lists.
            log_probability: also compute `log_total`.
            on_batch: called with (done, total) histories, by one thread at a time.

        Raises:
            ScoreError: a score is not a number, in any process.
        """
        found = _Found(len(histories), min(top, self.scorer.n_items))
        threads = torch.get_num_threads() if self.device.type == "cpu" else 1
        size = self._at_a_time(top, threads)
        batches = history_batches(histories, self.scorer.max_length, size, self.device, self.workers)
        telling, done = Lock(), 0

        def rank_batch(taken: tuple[NDArray[np.int64], Batch]) -> None:
            nonlocal done
            rows, batch = taken
            with torch.inference_mode():  # it is a setting of each thread
                scores = self.scorer.score(batch)
                if bool(torch.isnan(scores[:, 1:].amax(dim=1)).any()):  # a row with a NaN has it as its maximum
                    raise ScoreError
                self._rank_rows(histories, rows, scores, found)
                if log_probability:
                    found.log_total[rows] = scores[:, 1:].float().logsumexp(dim=1).cpu().numpy()
            with telling:
                done = min(done + self.workers.count * len(rows), len(histories))
                if on_batch is not None:
                    on_batch(done, len(histories))

        failed = torch.zeros((), dtype=torch.int64, device=self.device)
        try:
            run_on_each(rank_batch, batches, min(threads, -(-len(histories) // size)))
        except ScoreError:
            failed += 1
        if self.workers.sum(failed):  # so that no process waits for another
            raise ScoreError
        return found.ranking(histories, self.scorer.n_items, self.workers, self.device)

    def _at_a_time(self, top: int, threads: int) -> int:
        """Number of histories in a batch of each thread; lists need about four times the memory of the scores."""
        limit = _SCORES_AT_A_TIME // (4 if top else 1) // threads
        return max(1, min(self.batch_size, limit // self.scorer.n_items))

    def _rank_rows(self, histories: Histories, rows: NDArray[np.int64], scores: Tensor, found: _Found) -> None:
        """Fill in the ranks and the lists of some rows."""
        targets = torch.from_numpy(histories.targets[rows]).to(self.device)
        seen = None if self.protocol.seen == "rank" else torch.from_numpy(histories.padded(rows)).to(self.device)
        candidates = self._candidates(histories, rows)
        if histories.targets[rows].any():
            self._place_targets(rows, scores, targets, seen, candidates, found)
        else:
            found.better[rows], found.target_scores[rows] = -1, np.nan
        if n_listed := found.top_items.shape[1]:
            items, of_items = best_items(self._listable(rows, scores, targets, seen, candidates), n_listed)
            found.top_items[rows] = items.cpu().numpy()
            found.top_scores[rows] = of_items.cpu().numpy()

    def _place_targets(
        self,
        rows: NDArray[np.int64],
        scores: Tensor,
        targets: Tensor,
        seen: Tensor | None,
        candidates: Tensor | None,
        found: _Found,
    ) -> None:
        """Fill in how many candidates are better than each target, and how many are equal."""
        if candidates is None:
            better, equal = places(scores, targets, seen)
            if seen is not None and self.protocol.seen == "exclude-repeats":
                missed = (seen == targets.unsqueeze(1)).any(dim=1)
                better = torch.where(missed, self.scorer.n_items, better)
                equal = equal.masked_fill(missed, 0)
        else:
            better, equal = places_among(scores, targets, candidates)
        unknown = targets == PADDING
        found.better[rows] = better.masked_fill(unknown, -1).cpu().numpy()
        found.equal[rows] = equal.masked_fill(unknown, 0).cpu().numpy()
        of_target = scores.gather(1, targets.unsqueeze(1)).squeeze(1).float()
        found.target_scores[rows] = of_target.masked_fill(unknown, torch.nan).cpu().numpy()

    def _candidates(self, histories: Histories, rows: NDArray[np.int64]) -> Tensor | None:
        """(rows, n_candidates) sampled items, padded with 0; None if the whole catalogue is ranked."""
        if self._sampler is None:
            return None
        drawn = np.stack(
            [
                self._sampler.draw(
                    int(histories.users[row]),
                    int(histories.lengths[row]),
                    np.append(histories.items[histories.starts[row] : histories.ends[row]], histories.targets[row]),
                )
                for row in rows
            ]
        )
        return torch.from_numpy(drawn).to(self.device)

    def _listable(
        self,
        rows: NDArray[np.int64],
        scores: Tensor,
        targets: Tensor,
        seen: Tensor | None,
        candidates: Tensor | None,
    ) -> Tensor:
        """(rows, n_items + 1) float32 scores, -inf for items that are not allowed in the list."""
        memory = vars(self._of_thread).get("memory", scores[:0])  # used again, it costs less than new memory
        if len(memory) < len(scores):
            memory = self._of_thread.memory = torch.empty(scores.shape, dtype=torch.float32, device=self.device)
        listable: Tensor = memory[: len(scores)].copy_(scores)
        listable[:, PADDING] = -torch.inf
        if self._not_listed is not None:
            of_rows = self._not_listed[torch.from_numpy(rows)] if self._not_listed.dim() == 2 else self._not_listed
            listable.masked_fill_(of_rows, -torch.inf)
        if candidates is not None:
            kept = torch.cat([candidates, targets.unsqueeze(1)], dim=1)
            only = torch.full_like(listable, -torch.inf)
            return only.scatter_(1, kept, listable.gather(1, kept))
        if seen is None:
            return listable
        if self.protocol.seen == "exclude":  # a target that repeats a seen item stays
            seen = seen.masked_fill(seen == targets.unsqueeze(1), PADDING)
        return listable.scatter_(1, seen, -torch.inf)


class _Found:
    """The arrays of a ranking while they are filled, each row by the process that ranks it."""

    def __init__(self, rows: int, top: int) -> None:
        self.better = np.zeros(rows, dtype=np.int64)
        self.equal = np.zeros(rows, dtype=np.int64)
        self.top_items = np.zeros((rows, top), dtype=np.int64)
        self.top_scores = np.zeros((rows, top), dtype=np.float32)
        self.log_total = np.zeros(rows, dtype=np.float32)
        self.target_scores = np.zeros(rows, dtype=np.float32)

    def ranking(self, histories: Histories, n_items: int, workers: Workers, device: torch.device) -> Ranking:
        """The ranking after all rows are filled; rows of other processes are 0, so the sum over processes is whole."""
        if workers.count > 1:
            for name, array in vars(self).items():
                setattr(self, name, workers.sum(torch.from_numpy(array).to(device)).cpu().numpy())
        return Ranking(histories, n_items, **vars(self))
