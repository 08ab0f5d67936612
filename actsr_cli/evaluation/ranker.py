"""The one way to order a catalogue: histories in, ranks of their targets and lists of the best items out."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
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
from actsr_cli.evaluation.protocol import CandidateSampler, Protocol

_SCORES_AT_A_TIME = 2**25
"""Of a catalogue of a million items, 33 histories' scores at a time: 128 MiB."""


class Scorer(Interface):
    """What is asked for scores, such as a `Model`."""

    @property
    def n_items(self) -> int:
        """Items of the catalogue, padding not counted."""

    @property
    def max_length(self) -> int:
        """Latest items of a history that are read."""

    def score(self, batch: Batch) -> Tensor:
        """(batch, n_items + 1) scores; column 0 is padding and means nothing."""


@dataclass(frozen=True)
class Ranking:
    """How a scorer orders the catalogue for some histories.

    Attributes:
        histories: the histories, with their targets.
        better: (rows,) int64, candidates with a higher score than the target. -1 where there is no target.
        equal: (rows,) int64, other candidates with the same score.
        top_items: (rows, top) int64, the candidates with the highest scores, the best first, of equal ones the lowest
            id first; 0 where there are no more.
        top_scores: (rows, top) float32, their scores.
        log_total: (rows,) log of the sum over the catalogue of exp(score), so that a score minus it is a
            log-probability; 0 unless asked for.
        target_scores: (rows,) float32 score of each target; NaN without one.
    """

    histories: Histories
    better: NDArray[np.int64]
    equal: NDArray[np.int64]
    top_items: NDArray[np.int64]
    top_scores: NDArray[np.float32]
    log_total: NDArray[np.float32]
    target_scores: NDArray[np.float32]

    @property
    def ranks(self) -> NDArray[np.float64]:
        """(rows,) expected rank of each target from 1, equal scores being put in random order; NaN without a target."""
        return np.where(self.better < 0, np.nan, 1 + self.better + self.equal / 2)

    @property
    def log_probability(self) -> NDArray[np.float64]:
        """(rows,) of the target, by the softmax over all items of the catalogue."""
        return (self.target_scores - self.log_total).astype(np.float64)

    @property
    def top_log_probability(self) -> NDArray[np.float64]:
        """(rows, top) of the listed items, likewise; -inf where there are no more."""
        return (self.top_scores - self.log_total[:, None]).astype(np.float64)


class Ranker:
    """Orders a catalogue by a scorer's scores; memory is bounded by the batch, and no rank depends on its size.

    Args:
        scorer: the model, on `device` and in evaluation mode.
        device: where to score.
        protocol: which items a target is ranked among.
        batch_size: histories at a time; fewer where the catalogue is so large that their scores would need gigabytes.
        item_counts: (n_items + 1,) training interactions of each item, which sampled candidates need.
        workers: the processes that share the histories; each gets the whole ranking.
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
    ) -> None:
        self.scorer = scorer
        self.device = device
        self.protocol = protocol or Protocol()
        self.batch_size = batch_size
        self.workers = workers
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
            histories: of any length.
            top: length of the lists; 0 makes none.
            log_probability: also tell how probable targets (and listed items) are.
            on_batch: hears (done, total) histories.

        Raises:
            RunError: a score is not a number.
        """
        found = _Found(len(histories), min(top, self.scorer.n_items))
        done = 0
        with torch.inference_mode():
            for rows, batch in history_batches(
                histories, self.scorer.max_length, self._at_a_time(top), self.device, self.workers
            ):
                scores = self.scorer.score(batch)
                self._rank_rows(histories, rows, scores, found)
                if log_probability:
                    found.log_total[rows] = scores[:, 1:].float().logsumexp(dim=1).cpu().numpy()
                done = min(done + self.workers.count * len(rows), len(histories))
                if on_batch is not None:
                    on_batch(done, len(histories))
        return found.ranking(histories, self.workers, self.device)

    def _at_a_time(self, top: int) -> int:
        """Histories in a batch; a list needs about eight times the memory of the scores."""
        limit = _SCORES_AT_A_TIME // (8 if top else 1)
        return max(1, min(self.batch_size, limit // self.scorer.n_items))

    def _rank_rows(self, histories: Histories, rows: NDArray[np.int64], scores: Tensor, found: _Found) -> None:
        """Put what the scores of some rows say into its place."""
        if bool(torch.isnan(scores[:, 1:].amax(dim=1)).any()):  # a row with a NaN has it as its maximum
            raise RunError("the model scores an item with NaN: it cannot be ranked", hint="Train again in float32.")
        targets = torch.from_numpy(histories.targets[rows]).to(self.device)
        seen = None if self.protocol.seen == "rank" else torch.from_numpy(histories.padded(rows)).to(self.device)
        candidates = self._candidates(histories, rows)
        if candidates is None:
            better, equal = places(scores, targets, seen)
            if seen is not None and self.protocol.seen == "exclude-repeats":
                missed = (seen == targets.unsqueeze(1)).any(dim=1)
                better = torch.where(missed, self.scorer.n_items, better)
                equal = equal.masked_fill(missed, 0)
        else:
            better, equal = _places_among(scores, targets, candidates)
        unknown = targets == PADDING
        found.better[rows] = better.masked_fill(unknown, -1).cpu().numpy()
        found.equal[rows] = equal.masked_fill(unknown, 0).cpu().numpy()
        of_target = scores.gather(1, targets.unsqueeze(1)).squeeze(1).float()
        found.target_scores[rows] = of_target.masked_fill(unknown, torch.nan).cpu().numpy()
        if found.top_items.shape[1]:
            allowed = self._allowed(scores, targets, seen, candidates)
            items, of_items = best_items(scores, allowed, found.top_items.shape[1])
            found.top_items[rows] = items.cpu().numpy()
            found.top_scores[rows] = of_items.float().cpu().numpy()

    def _candidates(self, histories: Histories, rows: NDArray[np.int64]) -> Tensor | None:
        """(rows, n_candidates) sampled items, padded with 0; None where the whole catalogue is ranked."""
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

    def _allowed(self, scores: Tensor, targets: Tensor, seen: Tensor | None, candidates: Tensor | None) -> Tensor:
        """(rows, n_items + 1) bool: what a list may hold."""
        if candidates is not None:
            allowed = torch.zeros_like(scores, dtype=torch.bool).scatter_(1, candidates, True)
            allowed.scatter_(1, targets.unsqueeze(1), True)
        else:
            allowed = torch.ones_like(scores, dtype=torch.bool)
            if seen is not None:
                repeats_stay = self.protocol.seen == "exclude"
                excluded = seen.masked_fill(seen == targets.unsqueeze(1), PADDING) if repeats_stay else seen
                allowed.scatter_(1, excluded, False)
        allowed[:, PADDING] = False
        return allowed


def places(scores: Tensor, targets: Tensor, seen: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """How many items score higher than each target, and how many others score the same.

    Args:
        scores: (batch, n_items + 1); column 0 is padding and never counts.
        targets: (batch,) item ids.
        seen: (batch, any) item ids to leave out, padded with 0; a target among them stays. None ranks every item.

    Returns:
        Two (batch,) int64.
    """
    columns = targets.unsqueeze(1)
    of_target = scores.gather(1, columns)
    # Comparisons are written as numbers, whose sums are vectorised where those of bool are not; float32 counts to 2²⁴.
    exact = torch.float32 if scores.shape[1] <= 2**24 else torch.float64
    marks = torch.empty_like(scores, dtype=exact)
    counts = []
    for compare in (torch.gt, torch.ge):
        compare(scores, of_target, out=marks)
        if seen is not None:
            marks.scatter_(1, seen, 0.0)
        marks[:, PADDING] = 0.0
        marks.scatter_(1, columns, 0.0)
        counts.append(marks.sum(dim=1).long())
    better, not_worse = counts
    return better, not_worse - better


def _places_among(scores: Tensor, targets: Tensor, candidates: Tensor) -> tuple[Tensor, Tensor]:
    """As `places`, among (batch, any) candidates alone, padded with 0, the target not among them."""
    of_target = scores.gather(1, targets.unsqueeze(1))
    of_candidates = scores.gather(1, candidates)
    real = candidates != PADDING
    return ((of_candidates > of_target) & real).sum(dim=1), ((of_candidates == of_target) & real).sum(dim=1)


def best_items(scores: Tensor, allowed: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """The best allowed items of each row, of equal ones the lowest id first, and their scores.

    Args:
        scores: (batch, n_items + 1).
        allowed: (batch, n_items + 1) bool.
        k: how many.

    Returns:
        (batch, k) int64 item ids, 0 where no more are allowed, and (batch, k) scores, -inf there.
    """
    exact = scores.float() + 0.0  # -0 becomes 0
    bits = exact.view(torch.int32).long()
    order = torch.where(bits < 0, bits ^ 0x7FFFFFFF, bits)  # whole numbers in the order of the scores
    keys = (order << 32) - torch.arange(scores.shape[1], device=scores.device)
    keys = keys.masked_fill(~allowed, torch.iinfo(torch.int64).min)
    items = keys.topk(k, dim=1).indices
    gone = ~allowed.gather(1, items)
    return items.masked_fill(gone, PADDING), scores.gather(1, items).masked_fill(gone, -torch.inf)


class _Found:
    """The arrays of a ranking while they are filled, each row by the process that ranks it."""

    def __init__(self, rows: int, top: int) -> None:
        self.better = np.zeros(rows, dtype=np.int64)
        self.equal = np.zeros(rows, dtype=np.int64)
        self.top_items = np.zeros((rows, top), dtype=np.int64)
        self.top_scores = np.zeros((rows, top), dtype=np.float32)
        self.log_total = np.zeros(rows, dtype=np.float32)
        self.target_scores = np.zeros(rows, dtype=np.float32)

    def ranking(self, histories: Histories, workers: Workers, device: torch.device) -> Ranking:
        """The ranking, once all rows are filled: what each process has not ranked is 0, so that sums are the whole."""
        if workers.count > 1:
            for name, array in vars(self).items():
                setattr(self, name, workers.sum(torch.from_numpy(array).to(device)).cpu().numpy())
        return Ranking(histories, **vars(self))
