"""How often and how long a download is retried."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class RetryPolicy:
    """How often and after which waits a download is retried.

    Attributes:
        retries: maximum number of retries in a row that bring no new bytes; then the download fails.
        first_wait: seconds before the first retry; each further wait is twice as long.
        longest_wait: maximum seconds of a wait, also if the server asks for more.
        timeout: seconds without data or connection that count as a failure.
    """

    retries: int = 4
    first_wait: float = 1.0
    longest_wait: float = 60.0
    timeout: float = 30.0

    def wait(self, failures: int) -> float:
        """Seconds to wait after this number of failures in a row."""
        return min(self.first_wait * 2.0 ** (failures - 1), self.longest_wait)
