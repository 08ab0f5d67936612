"""The bounds of what the service accepts."""

from __future__ import annotations

from dataclasses import dataclass

LARGEST_BODY = 2**20
"""Bytes of the body of a request."""
ALL_BODIES = 2**27
"""Bytes of the bodies of all requests at the same time."""
LARGEST_HEADER = 2**15
"""Bytes of the first line and the header of a request."""
MOST_HISTORIES = 100
"""Histories of one request."""
LONGEST_HISTORY = 5_000
"""Items of one history."""
MOST_CANDIDATES = 20_000
"""Items of `only`, and of `without`."""
LONGEST_LIST = 500
"""The largest k."""
MOST_FOUND = 100
"""The most items that a search returns."""
LONGEST_QUERY = 200
"""Characters of a search."""
MOST_REQUESTS = 1_000
"""Requests that are read, computed or answered at the same time."""
SECONDS_TO_READ = 10.0
"""The longest time in which the header of a request, and then its body, must arrive."""
SECONDS_TO_WRITE = 20.0
"""The longest time for which a client may leave an answer unread."""
SECONDS_IDLE = 30
"""How long a connection without a request stays open."""
SECONDS_TO_STOP = 10.0
"""The longest time from a signal to the end of the process."""
COST_OF_AN_EXPLANATION = 32
"""Histories that take about as long to rank as one explanation takes."""


@dataclass(frozen=True)
class Limits:
    """What can be chosen at the start.

    Attributes:
        batch: the most histories that are computed at once.
        wait: seconds that a request waits for others to join its batch.
        queue: the most histories that are accepted and not answered.
    """

    batch: int = 64
    wait: float = 0.002
    queue: int = 1024
