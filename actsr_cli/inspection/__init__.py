"""Shows calibrated attention stage by stage, and measures whether it explains the predictions."""

from actsr_cli.inspection.trace import AttentionTrace, trace

__all__ = ["AttentionTrace", "trace"]
