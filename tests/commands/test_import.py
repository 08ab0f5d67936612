"""`actsr import`: runs of weights that RecBole and the published code have trained score as there."""

from __future__ import annotations

import json
import pickle
import shutil
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from processes import call
from safetensors.torch import load_file

import actsr_cli as actsr
from actsr_cli.errors import DataError, RunError
from actsr_cli.inspection.answers import Case
from actsr_cli.inspection.export import place_names
from actsr_cli.inspection.views import view
from actsr_cli.models.base import EncoderModel
from actsr_cli.models.pickles import _translated
from actsr_cli.models.recbole import Weights, read_weights
from actsr_cli.models.reference import published_config, read_published

RECBOLE = Path(__file__).parents[1] / "from_recbole"
ANSWERS: dict[str, Any] = json.loads((RECBOLE / "answers.json").read_text())
TOKENS = ANSWERS["SASRec"]["tokens"]
RUNS = {"SASRec": "sasrec", "BERT4Rec": "bert4rec"}


@pytest.fixture(scope="module", autouse=True)
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The working directory: the data set `tiny`, whose items come in another order than RecBole's, and two runs."""
    with pytest.MonkeyPatch.context() as patch:
        folder = tmp_path_factory.mktemp("import")
        patch.chdir(folder)
        header, *rows = (RECBOLE / "tiny.inter").read_text().splitlines(keepends=True)
        Path("tiny.inter").write_text(header + "".join(sorted(rows, key=lambda row: float(row.split("\t")[2]))))
        call("preprocess", "tiny", "--from-file", "tiny.inter")
        for file in RUNS:
            shutil.copy(RECBOLE / f"{file}.pth", folder)
            call("import", f"{file}.pth", "-d", "tiny", "--tokens", str(RECBOLE / "tokens.txt"), "--name", file)
        yield folder


@pytest.mark.parametrize("name", RUNS)
def test_a_checkpoint_of_recbole_scores_as_there(name: str) -> None:
    recommender, expected = actsr.load(name, device="cpu"), ANSWERS[name]
    assert recommender.vocabulary.item_names[1:] != tuple(TOKENS[1:])
    for history, scores in zip(expected["histories"], expected["scores"], strict=True):
        ours = [score for *_, score in recommender.score(history, TOKENS[1:])]
        assert ours == pytest.approx(scores[1:], abs=1e-5)


@pytest.mark.parametrize("name", RUNS)
def test_it_is_evaluated_as_there(name: str) -> None:
    found = actsr.evaluate(name, metrics=["hit", "ndcg", "mrr"], k=[1, 3, 5]).metrics
    assert {key: round(value, 4) for key, value in found.items()} == ANSWERS[name]["metrics"]


@pytest.mark.parametrize("name", RUNS)
def test_its_settings_are_those_of_the_checkpoint(name: str) -> None:
    shown = json.loads(call("runs", "show", name, "--json").stdout)
    assert (shown["status"], shown["imported"]) == ("finished", f"{name}.pth")
    model = {"layers": 1, "inner_size": 8} if name == "SASRec" else {"output_layer": True, "inner_size": 12}
    assert (
        shown["settings"]["model"].items()
        >= {"hidden_size": 8, "max_length": 6, "hidden_dropout": 0.1, **model}.items()
    )
    if name == "BERT4Rec":
        assert shown["settings"]["model"]["activation"] == "swish"
        assert shown["settings"]["model"]["layer_norm_eps"] == 1e-5


def test_the_explanation_of_a_bert4rec_leaves_out_the_oldest_item_that_recbole_does_not_read() -> None:
    history = ANSWERS["BERT4Rec"]["histories"][3]
    recommender = actsr.load("BERT4Rec", device="cpu")
    assert isinstance(recommender.model, EncoderModel)
    found = recommender.explain(history, TOKENS[1])
    assert found.trace is not None
    known = recommender.vocabulary
    assert [known.item_names[item] for item in found.trace.item_ids[0, :-1]] == history[1:]
    for name, values in found.importance.items():
        assert name == "left out" or (values[0] == 0 and (values[1:] != 0).all()), name
    seen = view(recommender.model, Case(known.item_ids(history), 1), device=recommender.device, start=torch.zeros(8))
    assert place_names(seen, known.display_name) == [*history[1:], "?"]
    assert seen.explained is not None
    assert len(seen.explained.importance) == len(history) - 1


def test_it_is_exported(tmp_path: Path) -> None:
    call("export", "BERT4Rec", "--format", "safetensors", "--output", str(tmp_path / "weights"))
    exported = load_file(tmp_path / "weights" / "model.safetensors")
    assert exported["output_layer.bias"].shape == (13,)


def test_it_cannot_be_trained_further() -> None:
    for work in ("--resume", "--refit"):
        arguments = ["--resume", "SASRec", *(["--refit"] if work == "--refit" else [])]
        said = call("train", *arguments, exit_code=1).stderr
        assert "its weights come from SASRec.pth" in " ".join(said.split())
    with pytest.raises(RunError, match="cannot be resumed"):
        actsr.resume("SASRec", settings={"training.epochs": 9})


@pytest.mark.parametrize(
    ("tokens", "said"),
    [
        (TOKENS[1:-1], "tokens.txt has 11 items, and the checkpoint has 12"),
        ([*TOKENS[1:-1], "other"], "tokens.txt lacks 1 item of the data set, such as 'i9'"),
        ([*TOKENS[1:-1], "i6"], "tokens.txt has item 'i6' twice"),
    ],
)
def test_tokens_that_are_not_the_items(tokens: list[str], said: str, tmp_path: Path) -> None:
    (tmp_path / "tokens.txt").write_text("\n".join(tokens))
    arguments = ("import", "SASRec.pth", "-d", "tiny", "--tokens", str(tmp_path / "tokens.txt"), "--name", "x")
    assert said in " ".join(call(*arguments, exit_code=1).stderr.split())
    assert not list(Path("runs").glob("*/*/x"))


def test_tokens_are_asked_for() -> None:
    said = call("import", "SASRec.pth", "-d", "tiny", exit_code=1).stderr
    assert "does not name its items" in said
    assert "--tokens FILE" in said


def test_a_data_set_with_other_items() -> None:
    rows = Path("tiny.inter").read_text().splitlines(keepends=True)
    Path("less.inter").write_text("".join(row for row in rows if "\ti9\t" not in row))
    call("preprocess", "less", "--from-file", "less.inter")
    said = call("import", "SASRec.pth", "-d", "less", "--tokens", str(RECBOLE / "tokens.txt"), exit_code=1).stderr
    assert "the data set has 11 items, and the checkpoint has 12" in " ".join(said.split())


@pytest.mark.parametrize(
    "option",
    [["--preset", "beauty"], ["--model", "ac-sasrec"], ["--set", "model.layers=2"], ["--set", "calibration=full"]],
)
def test_options_that_would_change_the_model(option: list[str]) -> None:
    arguments = ("import", "SASRec.pth", "-d", "tiny", "--tokens", str(RECBOLE / "tokens.txt"), *option)
    assert "SASRec.pth has the settings of its model" in " ".join(call(*arguments, exit_code=1).stderr.split())


def changed(path: Path, **values: Any) -> Path:
    """A checkpoint of RecBole with other settings, in protocol 4 as before; the other content stays a pickle."""
    with zipfile.ZipFile(RECBOLE / "SASRec.pth") as old, zipfile.ZipFile(path, "w") as new:
        for member in old.infolist():
            content = old.read(member)
            for before, after in values.items() if member.filename.endswith("data.pkl") else ():
                assert before.encode() in content
                content = content.replace(before.encode(), after.encode())
            new.writestr(member.filename, content)
    return path


def test_other_models_of_recbole_are_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="is a GRURec of RecBole; only SASRec and BERT4Rec can be imported") as caught:
        read_weights(changed(tmp_path / "gru.pth", SASRec="GRURec"))
    assert "state_dict" in str(caught.value.hint)
    with pytest.raises(DataError, match="lack n_heads"):
        read_weights(changed(tmp_path / "heads.pth", n_heads="m_heads"))


def test_a_table_with_too_few_rows_is_refused() -> None:
    weights = Weights(Path("x.pth"), {"output_bias": torch.zeros(3), "scalar": torch.zeros(())}, {})
    with pytest.raises(DataError, match="output_bias has 3 rows, not 4"):
        weights.in_order("output_bias", torch.arange(4))
    with pytest.raises(DataError, match="has no table scalar"):
        weights.n_rows("scalar")


class Evil:
    """Runs code when it is unpickled."""

    def __reduce__(self) -> tuple[object, ...]:
        return (Path.touch, (Path("unpickled"),))


class Alias:
    """Names a function in two parts of a text that other parts of the pickle use, too."""

    def __reduce__(self) -> str | tuple[object, ...]:
        return (eval, ("open('unpickled', 'w')",))


@pytest.mark.parametrize("protocol", [2, 4, 5])
@pytest.mark.parametrize("evil", [Evil(), Alias()])
def test_no_code_of_a_checkpoint_is_run(evil: object, protocol: int, tmp_path: Path) -> None:
    file = tmp_path / "evil.pth"
    torch.save(
        {"config": evil, "eval": "builtins", "as": "recbole.config.configurator"}, file, pickle_protocol=protocol
    )
    with pytest.raises(DataError, match=r"was not opened|cannot be read") as caught:
        read_weights(file)
    assert "\n" not in str(caught.value)
    assert not Path("unpickled").exists()


def test_what_recbole_names_is_never_imported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "recbole").mkdir()
    (tmp_path / "recbole" / "__init__.py").write_text("open('unpickled', 'w')")
    monkeypatch.syspath_prepend(tmp_path)
    assert read_weights(RECBOLE / "SASRec.pth").settings["model.name"] == "sasrec"
    assert not Path("unpickled").exists()


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner) | st.tuples(inner, inner),
)


@given(VALUES)
@settings(max_examples=40)
def test_a_translated_pickle_has_the_same_values(values: Any) -> None:
    content = pickle.dumps([values, values, {"again": values}], protocol=4)
    try:
        translated = _translated(content, Path("x.pth"))
    except DataError as error:
        assert "LONG4" in str(error)  # a number of more than 255 bytes
        return
    assert translated[:2] == b"\x80\x02"
    assert pickle.loads(translated) == [values, values, {"again": values}]  # noqa: S301


@pytest.mark.parametrize("name", ["ac_sasrec", "ac_sse_pt"])
def test_published_weights_score_as_the_published_code(name: str, golden_dir: Path, tmp_path: Path) -> None:
    """A golden case as the state_dict of a model whose items and users the data have in another order."""
    weights = read_published(golden_dir / f"{name}.npz")
    torch.save(weights, tmp_path / "weights.pth")
    config = published_config(json.loads((golden_dir / "cases.json").read_text())[name], model=name, max_length=50)
    chosen = config.model_dump(mode="json", include={"model", "calibration"})
    (tmp_path / "settings.yaml").write_text(yaml.safe_dump(chosen))
    items = [f"i{item}" for item in range(1, len(weights["item_embedding.weight"]))]
    users = [f"u{user}" for user in range(1, len(weights.get("user_embedding.weight", [0] * 9)))]
    rows = [f"{user},{item}\n" for user in reversed(users) for item in reversed(items)]
    (tmp_path / "log.csv").write_text("user,item\n" + "".join(rows))
    (tmp_path / "items.txt").write_text("\n".join(items))
    (tmp_path / "users.txt").write_text("\n".join(users))
    call("preprocess", name, "--from-file", str(tmp_path / "log.csv"), "--timestamp-column", "none")
    arguments = ["import", str(tmp_path / "weights.pth"), "-d", name, "--config", str(tmp_path / "settings.yaml")]
    arguments += ["--tokens", str(tmp_path / "items.txt"), "--name", name]
    if name == "ac_sse_pt":
        assert "--user-tokens FILE" in call(*arguments, exit_code=1).stderr
        arguments += ["--user-tokens", str(tmp_path / "users.txt")]
    call(*arguments)
    with np.load(golden_dir / f"{name}.npz") as golden:
        histories, lengths = golden["input.item_id_list"], golden["input.item_length"]
        expected, of_users = golden["expect.scores"][:, 1:], golden["input.user_id"]
    recommender = actsr.load(name, device="cpu")
    for row, length in enumerate(lengths):
        history = [f"i{item}" for item in histories[row, :length]]
        user = f"u{of_users[row]}" if name == "ac_sse_pt" else None
        scores = np.array([score for *_, score in recommender.score(history, items, user=user)])
        difference = scores - expected[row]
        constant = difference.mean() if name == "ac_sse_pt" else 0.0  # the published scores have one per user
        assert np.abs(difference - constant).max() < 1e-5


def test_published_weights_need_settings(golden_dir: Path) -> None:
    tokens = str(RECBOLE / "tokens.txt")
    said = call("import", str(golden_dir / "sasrec.npz"), "-d", "tiny", "--tokens", tokens, exit_code=1).stderr
    assert "has no settings of its model" in " ".join(said.split())
    arguments = ("import", "SASRec.npz", "-d", "tiny", "--tokens", tokens, "--model", "sasrec")
    assert "no file SASRec.npz" in call(*arguments, exit_code=1).stderr
