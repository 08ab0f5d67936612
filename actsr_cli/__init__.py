"""actsr: train, evaluate, tune and explain attention-calibrated transformers for sequential recommendation."""

__version__ = "0.2.0"
