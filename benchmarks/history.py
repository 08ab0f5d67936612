"""Results of measurements over time, in a JSON file."""

from __future__ import annotations

import json
import os
import platform
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch

import actsr_cli


def remember(path: Path | None, benchmark: str, result: Any, **settings: Any) -> None:
    """Append a result (a dataclass) with its settings, date, versions and machine to `path`, if there is one."""
    if path is None:
        return
    entry = {
        "benchmark": benchmark,
        "date": datetime.now(UTC).date().isoformat(),
        "actsr": actsr_cli.__version__,
        "torch": torch.__version__,
        "machine": f"{platform.machine()}, {os.cpu_count()} cores",
        **settings,
        **{name: round(value, 3) for name, value in asdict(result).items()},
    }
    entries = json.loads(path.read_text(encoding="utf-8")) if path.exists() else []
    lines = ",\n".join(json.dumps(each) for each in [*entries, entry])
    path.write_text(f"[\n{lines}\n]\n", encoding="utf-8")
