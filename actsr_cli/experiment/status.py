"""The states of a run."""

from __future__ import annotations

from enum import StrEnum


class Status(StrEnum):
    """The state of a run.

    A record never holds `stopped` or `unreadable`; both are found out when a run is read. The process of a stopped run
    has died before it could record an end. An unreadable run is damaged, or another version of actsr has made it.
    """

    RUNNING = "running"
    FINISHED = "finished"
    INTERRUPTED = "interrupted"
    STOPPED = "stopped"
    PRUNED = "pruned"
    FAILED = "failed"
    UNREADABLE = "unreadable"
