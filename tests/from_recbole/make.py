"""Makes the checkpoints beside this file with RecBole 1.2.1, and what RecBole answers with them.

    python -m venv own
    own/bin/pip install torch recbole==1.2.1 "numpy<2" "pandas<2.3" "scipy<1.14" "setuptools<81"
    own/bin/python tests/from_recbole/make.py

It writes the interactions, MODEL.pth as RecBole's trainer saves it, the tokens in RecBole's order, and in answers.json
the scores of some histories and the metrics of the test split. `tests/commands/test_import.py` compares ours with them.
"""

from __future__ import annotations

import json
import os
import random
import shutil
import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from recbole.config import Config
from recbole.data import create_dataset, data_preparation
from recbole.utils import get_model, get_trainer, init_seed

HERE = Path(__file__).resolve().parent
NAME, LENGTH = "tiny", 6
MODELS: dict[str, dict[str, Any]] = {
    "SASRec": {"n_layers": 1, "inner_size": 8, "hidden_act": "gelu"},
    "BERT4Rec": {"n_layers": 2, "inner_size": 12, "hidden_act": "swish", "layer_norm_eps": 1e-5},
}
SETTINGS: dict[str, Any] = {
    "data_path": ".",
    "checkpoint_dir": "saved",
    "use_gpu": False,
    "epochs": 30,
    "learner": "sgd",  # no moments in the checkpoint
    "learning_rate": 0.3,
    "train_neg_sample_args": None,
    "load_col": {"inter": ["user_id", "item_id", "timestamp"]},
    "hidden_size": 8,
    "n_heads": 2,
    "hidden_dropout_prob": 0.1,
    "attn_dropout_prob": 0.1,
    "MAX_ITEM_LIST_LENGTH": LENGTH,
    "metrics": ["Hit", "NDCG", "MRR"],
    "topk": [1, 3, 5],
    "valid_metric": "NDCG@5",
    "show_progress": False,
}


def interactions() -> str:
    """A log of 40 users and 12 items, whose lines are in no order."""
    chance = random.Random(0)  # noqa: S311 (no secret)
    rows = []
    for user in range(40):
        item = chance.randrange(12)
        for step in range(chance.randrange(4, 10)):
            item += chance.choice([1, 1, 1, 2, 5])
            rows.append(f"u{user}\ti{item % 12}\t{1000 * step + chance.randrange(900)}\n")
    chance.shuffle(rows)
    return "user_id:token\titem_id:token\ttimestamp:float\n" + "".join(rows)


def trained(name: str) -> dict[str, Any]:
    """Train a model, keep its checkpoint, and return what it answers."""
    config = Config(model=name, dataset=NAME, config_dict={**SETTINGS, **MODELS[name]})
    init_seed(config["seed"], True)
    dataset = create_dataset(config)
    train, valid, test = data_preparation(config, dataset)
    model = get_model(name)(config, train.dataset)
    trainer = get_trainer(config["MODEL_TYPE"], name)(config, model)
    trainer.saved_model_file = f"saved/{name}.pth"
    trainer.fit(train, valid, verbose=False, show_progress=False)
    state = torch.load(trainer.saved_model_file, weights_only=False)["state_dict"]  # our own file
    model.load_state_dict(state)
    metrics = trainer.evaluate(test, load_best_model=False)
    shutil.copy(trainer.saved_model_file, HERE)
    tokens = dataset.field2id_token["item_id"]
    (HERE / "tokens.txt").write_text("\n".join(tokens))
    chance = random.Random(1)  # noqa: S311 (no secret)
    histories = [[chance.randrange(1, 13) for _ in range(length)] for length in range(1, 10)]
    return {
        "tokens": list(tokens),
        "histories": [[tokens[item] for item in history] for history in histories],
        "scores": [scores(model, history) for history in histories],
        "metrics": dict(metrics),
    }


def scores(model: Any, history: list[int]) -> list[float]:
    """The scores of all items, padding included, after a history, which RecBole's data cut to the latest items."""
    latest = history[-LENGTH:]
    padded = latest + [0] * (LENGTH - len(latest))
    model.eval()
    with torch.no_grad():
        found = model.full_sort_predict(
            {"item_id_list": torch.tensor([padded]), "item_length": torch.tensor([len(latest)])}
        )
    return [round(value, 7) for value in found.view(-1).tolist()]


def main() -> None:
    """Write the files."""
    sys.argv = sys.argv[:1]  # RecBole reads them
    with TemporaryDirectory() as scratch:
        os.chdir(scratch)
        Path(NAME).mkdir()
        for file in (Path(NAME) / f"{NAME}.inter", HERE / f"{NAME}.inter"):
            file.write_text(interactions())
        answers = {name: trained(name) for name in MODELS}
        (HERE / "answers.json").write_text(json.dumps(answers) + "\n")


if __name__ == "__main__":
    main()
