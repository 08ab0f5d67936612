"""What calibrated attention looks at, stage by stage, and whether that is what its predictions rest on."""

from actsr_cli.inspection.trace import AttentionTrace, trace

__all__ = ["AttentionTrace", "trace"]
