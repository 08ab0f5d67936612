"""The states of a run, and the settings that do not belong to its results."""

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


LONGER_KEYS = frozenset({"training.epochs", "training.patience"})
"""Settings that make a training longer."""
RESUMABLE_KEYS = LONGER_KEYS | {
    *("training.device", "training.threads", "training.log_attention", "training.checkpoint_minutes"),
    *("training.on_nan", "training.backoff_limit"),
}
"""Settings that may change when a run is resumed: duration, device, logging, checkpoints and what follows a failure."""
