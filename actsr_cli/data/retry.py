"""How often and how long a download is retried."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class RetryPolicy:
    """How patient a download is.

    Attributes:
        retries: tries after the first one that bring nothing new before a mirror is given up.
        first_wait: seconds before the first retry; each further one waits twice as long.
        longest_wait: seconds that a wait lasts at most, whatever the server asks for.
        timeout: seconds without a byte, or without a connection, that count as a failure.
    """

    retries: int = 4
    first_wait: float = 1.0
    longest_wait: float = 60.0
    timeout: float = 30.0

    def wait(self, failures: int) -> float:
        """Seconds to wait after so many failures in a row."""
        return min(self.first_wait * 2.0 ** (failures - 1), self.longest_wait)
