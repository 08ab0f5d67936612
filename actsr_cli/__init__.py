"""actsr: train, evaluate, tune, explain and use attention-calibrated transformers for sequential recommendation.

>>> import actsr_cli as actsr
>>> actsr.load("beauty/ac-sasrec/first").recommend(["B004756YJA", "B004ZT0SSG"], k=10)

A name is imported when it is used: `import actsr_cli` loads neither torch nor pandas.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from actsr_cli.version import __version__

if TYPE_CHECKING:
    from actsr_cli.api import evaluate, load, prepare, resume, train, train_seeds
    from actsr_cli.attention import CalibratedAttention
    from actsr_cli.errors import ActsrError
    from actsr_cli.recommending.export import export
    from actsr_cli.recommending.recommender import Recommender
    from actsr_cli.sessions import combine

_MODULES = {
    "combine": "actsr_cli.sessions",
    "evaluate": "actsr_cli.api",
    "export": "actsr_cli.recommending.export",
    "load": "actsr_cli.api",
    "prepare": "actsr_cli.api",
    "resume": "actsr_cli.api",
    "train": "actsr_cli.api",
    "train_seeds": "actsr_cli.api",
    "ActsrError": "actsr_cli.errors",
    "CalibratedAttention": "actsr_cli.attention",
    "Recommender": "actsr_cli.recommending.recommender",
}
"""Where each public name is defined."""

__all__ = [
    "ActsrError",
    "CalibratedAttention",
    "Recommender",
    "__version__",
    "combine",
    "evaluate",
    "export",
    "load",
    "prepare",
    "resume",
    "train",
    "train_seeds",
]


if not TYPE_CHECKING:  # else type checkers would believe in any name

    def __getattr__(name: str) -> Any:
        """Import a public name on its first use (PEP 562)."""
        if name not in _MODULES:
            raise AttributeError(f"module 'actsr_cli' has no attribute '{name}'")
        value = getattr(import_module(_MODULES[name]), name)
        globals()[name] = value
        return value


def __dir__() -> list[str]:
    return sorted(__all__)
