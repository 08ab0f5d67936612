"""Makes the folder of this version beside this file: a prepared data set, a run, and what they answer.

    python tests/compat/make.py

Commit the folder when a version is released. `tests/test_compat.py` opens the folders of all versions.
"""

from __future__ import annotations

import json
import os
import platform
import shutil
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

import actsr_cli as actsr
from actsr_cli.version import __version__

HISTORY = ["i1", "i2", "i3"]
SETTINGS = {
    "model.hidden_size": 8,
    "model.inner_size": 16,
    "model.layers": 1,
    "model.max_length": 8,
    "training.epochs": 2,
    "training.threads": 1,
    "training.device": "cpu",
    "evaluation.k": [3],
    "training.monitor": "ndcg@3",
}


def main() -> None:
    """Write the folder of this version."""
    folder = Path(__file__).parent / __version__
    shutil.rmtree(folder, ignore_errors=True)
    platform.platform = lambda *_, **__: "any machine"  # a record that is committed names no machine
    sys.argv = ["actsr", "train"]
    with TemporaryDirectory() as scratch:
        os.chdir(scratch)
        rows = [f"u{user},i{(user + step) % 12},{1000 * step + user}" for user in range(24) for step in range(6)]
        Path("log.csv").write_text("user,item,timestamp\n" + "\n".join(rows) + "\n")
        actsr.prepare("small", "log.csv", data_dir="data")
        run = actsr.train("ac-sasrec", dataset="small", settings=SETTINGS, name="old", data_dir="data", runs_dir="runs")
        listed = actsr.load(run, device="cpu", threads=1).recommend(HISTORY, k=5)
        answers = {
            "metrics": actsr.evaluate(run, data_dir="data").metrics,
            "history": HISTORY,
            "items": [[item, score] for item, _, score in listed],
        }
        shutil.rmtree("runs/small/ac-sasrec/old/tensorboard")
        without_locks = shutil.ignore_patterns("*.lock")
        shutil.copytree("data", folder / "data", ignore=without_locks)
        shutil.copytree("runs", folder / "runs", ignore=without_locks)
        (folder / "answers.json").write_text(json.dumps(answers, indent=2) + "\n")


if __name__ == "__main__":
    main()
