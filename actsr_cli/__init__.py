"""actsr: train, evaluate, tune and explain attention-calibrated transformers for sequential recommendation."""

from actsr_cli.version import __version__

__all__ = ["__version__"]
