"""The shipped presets agree with schema and paper; layers of settings: which one wins, and the source of each."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from samples import built, listed

from actsr_cli.config import LOSSES, FileSplit, FullCalibration, RunConfig
from actsr_cli.config.losses import BPROptions, CrossEntropyOptions
from actsr_cli.config.models import SASRecOptions
from actsr_cli.config.reading import parse_override, read_yaml
from actsr_cli.config.schema import schema_keys
from actsr_cli.data.catalog import all_names, known
from actsr_cli.errors import ConfigError
from actsr_cli.models.registry import find_model
from actsr_cli.presets import (
    load_preset,
    preset_folder,
    preset_for,
    preset_names,
    resolve,
    with_values,
)

DATASETS = ["beauty", "demo", "ml-100k", "sports", "toys", "yelp"]
PUBLISHED = {  # layers, heads, hidden, inner, mask weight
    "beauty": (3, 4, 64, 128, 0.03),
    "sports": (2, 2, 128, 64, 0.3),
    "toys": (2, 2, 128, 64, 0.3),
    "yelp": (3, 8, 128, 64, 0.3),
}


def test_a_counted_model_is_given_no_setting_of_a_training(tmp_path: Path) -> None:
    assert resolve(preset="demo", options={"model.name": "item-knn"}).config.training.epochs == 20  # the preset's
    file = written(tmp_path / "file.yaml", "training: {learning_rate: 0.5}\nloss: bpr")  # may serve several models
    assert resolve(preset="demo", file=file, options={"model.name": "item-knn"}).config.training.learning_rate == 0.5
    for overrides, options, said in (
        (["training.learning_rate=0.1"], {}, "training.learning_rate (--set)"),
        ([], {"training.epochs": 5}, "training.epochs (--epochs)"),
        (["loss=bpr"], {}, "loss.name (--set)"),
        (["loss.label_smoothing=0.1"], {}, "loss.label_smoothing (--set)"),
    ):
        for model in ("item-knn", "popularity"):
            with pytest.raises(ConfigError) as caught:
                resolve(preset="demo", overrides=overrides, options={"model.name": model, **options})
            assert caught.value.message == f"{said}: {model} is counted in one pass and does not read this key"
            assert "training.monitor" in str(caught.value.hint)


def test_a_counted_model_reads_where_it_runs_and_how_it_is_judged() -> None:
    options = {"training.device": "cpu", "training.threads": 1, "training.seed": 3, "training.monitor": "mrr@5"}
    config = resolve(options={"model.name": "popularity", **options}).config
    assert config.training.seed == 3 and config.training.monitor == "mrr@5"


def written(path: Path, text: str) -> Path:
    path.write_text(text, encoding="utf-8")
    return path


class TestShipped:
    def test_there_is_one_per_data_set_and_the_published_ones(self) -> None:
        assert preset_names() == sorted([*DATASETS, *(f"{name}-published" for name in PUBLISHED)])
        assert {path.stem for path in preset_folder().iterdir()} == set(preset_names())

    @pytest.mark.parametrize("path", sorted(preset_folder().glob("*.yaml")), ids=lambda path: path.stem)
    def test_fits_the_schema_and_says_what_it_is(self, path: Path) -> None:
        values = yaml.safe_load(path.read_text(encoding="utf-8"))
        assert isinstance(values.pop("tune"), dict)  # tests/tuning/test_space.py reads it
        flat = [f"{key}.{name}" for key, part in values.items() if isinstance(part, dict) for name in part]
        assert set(flat) <= set(schema_keys())
        config = RunConfig.model_validate(values)
        assert load_preset(path.stem).config == config
        assert known(config.dataset) is not None
        assert find_model(config.model.name).title == "SASRec"
        assert 10 < len(config.description) < 80

    @pytest.mark.parametrize("name", DATASETS)
    def test_calibrates_fully_and_reproduces_no_fault(self, name: str) -> None:
        config = load_preset(name).config
        assert isinstance(config.model, SASRecOptions) and isinstance(config.calibration, FullCalibration)
        assert not config.model.reproduce_published_faults
        assert config.calibration.renorm != "softmax"

    @pytest.mark.parametrize("path", sorted(preset_folder().glob("*.yaml")), ids=lambda path: path.stem)
    @pytest.mark.parametrize("calibration", ["none", "spatial", "adversarial", "full"])
    def test_leaves_learned_positions_to_what_has_no_other(self, path: Path, calibration: str) -> None:
        """A plain baseline without positions would be an unfair comparison for its calibrated version."""
        options = {"model.name": "bert4rec", "calibration.kind": calibration}
        model = built(resolve(preset=path.stem, options=options).config, n_items=5, n_users=0)
        positions = [name for name, _ in model.named_parameters() if "position_embedding" in name]
        assert bool(positions) == (calibration in ("none", "adversarial"))

    @pytest.mark.parametrize("name", PUBLISHED)
    def test_published_numbers(self, name: str) -> None:
        config = load_preset(f"{name}-published").config
        model, calibration, training = config.model, config.calibration, config.training
        assert isinstance(model, SASRecOptions) and isinstance(calibration, FullCalibration)
        assert (
            model.layers,
            model.heads,
            model.hidden_size,
            model.inner_size,
            calibration.mask_weight,
        ) == PUBLISHED[name]
        assert (model.hidden_dropout, model.attention_dropout, model.max_length) == (0.5, 0.5, 50)
        assert (calibration.combine, calibration.two_level) == ("gate", True)
        assert (calibration.use_order, calibration.use_distance) == (True, True)
        assert (calibration.renorm, model.reproduce_published_faults) == ("softmax", True)
        assert config.loss == CrossEntropyOptions(label_smoothing=0.0)
        assert (training.batch_size, training.learning_rate) == (256, 1e-4)
        assert (training.epochs, training.patience, training.monitor) == (200, 10, "hit@10")
        assert training.weight_decay == 0
        assert training.gradient_clip is None

    @pytest.mark.parametrize("name", ["yelp", "yelp-published"])
    def test_yelp_is_the_year_2019(self, name: str) -> None:
        assert load_preset(name).config.data.intervals == {"timestamp": (1546264800, 1577714400)}

    def test_the_preset_of_a_data_set_is_the_plain_one(self) -> None:
        assert {name: preset_for(name) for name in DATASETS} == {name: name for name in DATASETS}
        assert preset_for("beauty-published") is None
        assert preset_for("") is None
        assert {preset_for(*all_names(name)) for name in all_names("amazon-beauty")} == {"beauty"}


class TestLoading:
    def test_a_file_does_wherever_a_name_does(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        path = written(tmp_path / "best.yaml", "training: {epochs: 3}")
        monkeypatch.chdir(tmp_path)
        for name in (path, "best.yaml", "./best.yaml"):
            resolved = resolve(preset=name)
            assert resolved.config.training.epochs == 3
            assert resolved.sources["training.epochs"] == f"preset {name}"

    def test_a_shipped_name_wins_over_a_file_of_that_name(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        written(tmp_path / "beauty", "training: {epochs: 3}")
        monkeypatch.chdir(tmp_path)
        assert load_preset("beauty").path == preset_folder() / "beauty.yaml"

    def test_an_unknown_name_names_the_nearest(self) -> None:
        with pytest.raises(ConfigError, match=r"unknown preset 'beuty'; did you mean 'beauty'\?") as caught:
            load_preset("beuty")
        assert caught.value.hint == "All: actsr presets"

    @pytest.mark.parametrize("name", ["missing.yaml", "no/such"])
    def test_a_missing_file_is_named(self, name: str) -> None:
        with pytest.raises(ConfigError, match=f"no file {name}"):
            load_preset(name)


class TestReading:
    @pytest.mark.parametrize(
        ("text", "problem"),
        [
            ("training:\n  epochs: [1\n", r"line 3, column 1: expected ',' or '\]'"),
            ("training:\n  epochs: 1\n  epochs: 2\n", "line 3, column 3: key 'epochs' is given twice"),
            ("model: 1\ntraining: 2\nmodel: 3\n", "line 3, column 1: key 'model' is given twice"),
            ("- training\n", "must hold sections with keys, not a list"),
            ("training\n", "must hold sections with keys, not a str"),
            ("description: !!python/object/apply:os.getcwd []\n", "line 1, column 14: could not determine"),
            ("description: \x01\n", "not allowed"),
        ],
    )
    def test_what_is_wrong_and_where(self, tmp_path: Path, text: str, problem: str) -> None:
        path = written(tmp_path / "bad.yaml", text)
        with pytest.raises(ConfigError, match=problem) as caught:
            read_yaml(path)
        assert str(path) in str(caught.value)
        assert "\n" not in str(caught.value)

    def test_other_encodings_are_refused(self, tmp_path: Path) -> None:
        path = tmp_path / "latin.yaml"
        path.write_bytes("description: Schönheit".encode("latin-1"))
        with pytest.raises(ConfigError, match="utf-8"):
            read_yaml(path)

    def test_an_empty_file_says_nothing(self, tmp_path: Path) -> None:
        assert resolve(file=written(tmp_path / "empty.yaml", "# nothing\n")).config == RunConfig()

    def test_merged_mappings_and_a_byte_order_mark_are_fine(self, tmp_path: Path) -> None:
        text = "\ufeffmodel: &small {layers: 1, heads: 1}\nmodel_of_two: {<<: *small, layers: 2}\n"
        assert read_yaml(written(tmp_path / "bom.yaml", text)) == {
            "model": {"layers": 1, "heads": 1},
            "model_of_two": {"layers": 2, "heads": 1},
        }


class TestOverrides:
    @pytest.mark.parametrize(
        ("text", "value"),
        [
            ("1e-3", 0.001),
            ("1E3", 1000.0),
            ("-2.5e+2", -250.0),
            ("1.e2", 100.0),
            (".5e1", 5.0),
            ("5", 5),
            ("+1_000", 1000),
            ("010", "010"),  # neither 8 nor 10
            ("0x10", "0x10"),
            ("1:30", "1:30"),
            ("1:30.5", "1:30.5"),
            ("0.5", 0.5),
            (".inf", math.inf),
            ("true", True),
            ("null", None),
            ("", None),
            ("gate", "gate"),
            ("e3", "e3"),
            ("1e", "1e"),
            ("a=b", "a=b"),
            ("'1e-3'", "1e-3"),
            ("[1, 2e0]", [1, 2.0]),
            ("{timestamp: [0, null]}", {"timestamp": [0, None]}),
        ],
    )
    def test_a_value_is_yaml_and_numbers_are_numbers(self, text: str, value: object) -> None:
        parsed = parse_override(f"a.b={text}")
        assert parsed == {"a": {"b": value}}
        assert type(parsed["a"]["b"]) is type(value)

    @given(
        value=st.recursive(
            st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
            lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
            max_leaves=8,
        ),
        keys=st.lists(st.from_regex(r"[a-z_]+", fullmatch=True), min_size=1, max_size=3),
    )
    def test_what_yaml_writes_is_read_back(self, value: object, keys: list[str]) -> None:
        nested: object = value
        for key in reversed(keys):
            nested = {key: nested}
        assert parse_override(f"{'.'.join(keys)}={yaml.safe_dump(value)}") == nested

    @given(st.floats(allow_nan=False, allow_infinity=False))
    def test_every_way_python_writes_a_float_is_that_float(self, number: float) -> None:
        for text in (repr(number), f"{number:.17e}"):
            assert parse_override(f"key={text}") == {"key": number}

    @pytest.mark.parametrize("text", ["training.epochs", "=3", " =3", ""])
    def test_it_needs_a_key_and_an_equals_sign(self, text: str) -> None:
        with pytest.raises(ConfigError, match=r"--set takes section\.key=value, not"):
            parse_override(text)

    def test_a_value_that_is_no_yaml(self) -> None:
        with pytest.raises(ConfigError, match=r"--set training.epochs: '\[' is not a YAML value: line 1, column 2"):
            parse_override("training.epochs=[")


class TestLayers:
    def test_each_layer_wins_over_those_below(self, tmp_path: Path) -> None:
        preset = written(tmp_path / "p.yaml", "training: {epochs: 1, patience: 1, seed: 1, batch_size: 1}")
        file = written(tmp_path / "f.yaml", "training: {patience: 2, seed: 2, batch_size: 2}")
        resolved = resolve(
            preset=preset,
            file=file,
            overrides=["training.seed=3", "training.batch_size=3"],
            options={"training.batch_size": 4, "training.epochs": None},
        )
        training = resolved.config.training
        assert (training.weight_decay, training.epochs, training.patience, training.seed, training.batch_size) == (
            0.0,
            1,
            2,
            3,
            4,
        )
        keys = ("weight_decay", "epochs", "patience", "seed", "batch_size")
        assert [resolved.sources[f"training.{key}"] for key in keys] == [
            "default",
            f"preset {preset}",
            f"file {file}",
            "--set",
            "--batch-size",
        ]

    def test_every_key_has_a_source(self) -> None:
        resolved = resolve(preset="yelp", options={"model.name": "gru4rec", "calibration.kind": "none"})
        dumped = resolved.config.model_dump()
        assert set(resolved.sources) == {
            f"{name}.{key}" if isinstance(part, dict) else name
            for name, part in dumped.items()
            for key in (part if isinstance(part, dict) else (name,))
        }
        assert set(resolved.sources) < set(schema_keys())
        assert resolved.sources["model.hidden_size"] == "preset yelp"
        assert set(resolve().sources.values()) == {"default"}

    def test_the_later_of_two_overrides_wins(self) -> None:
        assert resolve(overrides=["training.epochs=1", "training.epochs=2"]).config.training.epochs == 2

    def test_options_are_called_by_their_names_on_the_command_line(self) -> None:
        sources = resolve(options={"model.name": "sasrec", "dataset": "shop", "data.intervals": {}}).sources
        assert sources["model.name"] == "--model"
        assert sources["dataset"] == "--dataset"
        assert sources["data.intervals"] == "--interval"

    def test_mappings_merge_and_lists_do_not(self) -> None:
        overrides = ["data.intervals={rating: [4, null]}", "evaluation.k=[3]", "model={layers: 1}"]
        config = resolve(preset="yelp", overrides=overrides).config
        assert config.data.intervals == {"timestamp": (1546264800, 1577714400), "rating": (4, None)}
        assert config.evaluation.k == (3,)
        assert config.model == load_preset("yelp").config.model.model_copy(update={"layers": 1})

    def test_a_finished_config_resolves_to_itself(self, tmp_path: Path) -> None:
        config = resolve(preset="yelp", overrides=["training.learning_rate=1e-5"]).config
        file = written(tmp_path / "config.yaml", yaml.safe_dump(config.model_dump(mode="json")))
        assert resolve(file=file).config == config


class TestChoicesOverAPreset:
    """Keys of a preset are dropped if another choice lacks them; in all other layers they are errors."""

    def test_keys_that_another_choice_does_not_have_are_left_out(self) -> None:
        options = {"model.name": "gru4rec", "calibration.kind": "none"}
        resolved = resolve(preset="beauty", overrides=["loss=bpr"], options=options)
        assert resolved.config.model.model_dump() | {"hidden_size": 128, "inner_size": 256} == (
            resolved.config.model.model_dump()
        )
        assert (resolved.config.calibration.kind, resolved.config.loss) == ("none", BPROptions())
        assert not {"model.heads", "calibration.renorm", "loss.label_smoothing"} & set(resolved.sources)

    def test_keys_that_both_have_stay(self) -> None:
        config = resolve(preset="beauty", options={"calibration.kind": "adversarial"}).config
        assert config.calibration.model_dump() == {
            "kind": "adversarial",
            "combine": "gate",
            "annealing_steps": 100_000,
            "renorm": "sum",
            "mask_weight": 0.03,
        }

    def test_what_is_given_on_purpose_is_never_left_out(self, tmp_path: Path) -> None:
        file = written(tmp_path / "mine.yaml", "model: {time_span: 9}")
        message = r"model\.time_span \(file .*\): sasrec has no such key, it belongs to tisasrec"
        with pytest.raises(ConfigError, match=message):
            resolve(preset="beauty", file=file)
        assert resolve(preset="beauty", file=file, options={"model.name": "tisasrec"}).sources["model.time_span"]
        with pytest.raises(ConfigError, match=r"calibration\.renorm \(--set\): calibration none has no such key"):
            resolve(preset="beauty", overrides=["calibration.renorm=sum"], options={"calibration.kind": "none"})

    def test_a_text_names_the_choice(self, tmp_path: Path) -> None:
        preset = written(tmp_path / "p.yaml", "model: tisasrec\ncalibration: spatial\nloss: gbce\nsplit: time\n")
        config = resolve(preset=preset, overrides=["loss.negatives=7", "split=files"]).config
        assert (config.model.name, config.calibration.kind, config.split.by) == ("tisasrec", "spatial", "files")
        assert config.loss.model_dump() == {"name": "gbce", "negatives": 7, "calibration": 0.75}

    def test_other_values_may_make_another_choice(self) -> None:
        config = resolve(preset="beauty").config
        changed = with_values(config, {"calibration.kind": "none", "model.name": "gru4rec", "model.layers": 3})
        assert changed.calibration.model_dump() == {"kind": "none"}
        assert changed.model.model_dump() | {"layers": 3, "hidden_size": 128} == changed.model.model_dump()
        with pytest.raises(ConfigError, match="calibration none has no such key"):
            with_values(config, {"calibration.kind": "none", "calibration.renorm": "sum"})


class TestRefusals:
    @pytest.mark.parametrize(
        ("override", "message"),
        [
            (
                "training.learning_rat=1",
                "unknown key 'training.learning_rat' (--set); did you mean 'training.learning_rate'?",
            ),
            ("learning_rate=1", "unknown key 'learning_rate' (--set); did you mean 'training.learning_rate'?"),
            ("model.epochs=1", "unknown key 'model.epochs' (--set); did you mean 'training.epochs'?"),
            ("trainin.epochs=1", "unknown key 'trainin' (--set); did you mean 'training'?"),
            (
                "zzz=1",
                "unknown key 'zzz' (--set); "
                "known: calibration, data, dataset, description, evaluation, loss, model, split, training",
            ),
            ("training.epochs=0", "training.epochs = 0 (--set): must be greater than or equal to 1"),
            (
                "training.monitor=hit@0",
                'training.monitor = "hit@0" (--set): must be a metric such as ndcg@10, see docs/evaluate.md',
            ),
            ("training.device=gpu", 'training.device = "gpu" (--set): must be auto, cpu, cuda, cuda:N or mps'),
            (
                "calibration.combine=gates",
                "calibration.combine = \"gates\" (--set): must be 'gate', 'fixed' or 'annealing'",
            ),
            ("model.time_span=9", "model.time_span (--set): sasrec has no such key, it belongs to tisasrec"),
            (
                "model.options.depth=9",
                "model.options (--set): sasrec has no such key, it belongs to a model of your own",
            ),
            (
                "loss.negatives=9",
                f"loss.negatives (--set): loss ce has no such key, it belongs to {listed(LOSSES.owners('negatives'))}",
            ),
            ("model.hiden_size=9", "unknown key 'model.hiden_size' (--set); did you mean 'model.hidden_size'?"),
            (
                "training.mask_weight=1",
                "unknown key 'training.mask_weight' (--set): since version 0.2 it is 'calibration.mask_weight'",
            ),
            ("training.loss=bpr", "unknown key 'training.loss' (--set): since version 0.2 it is 'loss.name'"),
            (
                "model.calibration=full",
                "unknown key 'model.calibration' (--set): since version 0.2 it is 'calibration.kind'",
            ),
            ("model.name=sasrek", "model.name = \"sasrek\" (--set): there is no such model; did you mean 'sasrec'?"),
            ("loss=bprr", "loss.name = \"bprr\" (--set): there is no such loss; did you mean 'bpr'?"),
            ("calibration=3", "calibration = 3 (--set): must be a section of keys"),
            ("model.heads=3", "model (--set): hidden_size 128 is not a multiple of heads 3"),
            ("model=3", "model = 3 (--set): must be a section of keys"),
            ("evaluation.k=5", "evaluation.k = 5 (--set): must be a valid list"),
            ("data.intervals.timestamp=[2, 1]", "data.intervals (--set): interval of 'timestamp' is empty: 2 > 1"),
            (
                "data.intervals.timestamp=[1400003000, 1400001000.5]",
                "data.intervals (--set): interval of 'timestamp' is empty: 1400003000 > 1400001000.5",
            ),
        ],
    )
    def test_one_line_says_what_where_and_what_to_write(self, override: str, message: str) -> None:
        with pytest.raises(ConfigError) as caught:
            resolve(preset="beauty", overrides=[override])
        assert str(caught.value) == message

    def test_a_key_of_another_split_says_how_to_name_it(self) -> None:
        with pytest.raises(ConfigError, match="split last has no such key, it belongs to time and files") as caught:
            resolve(overrides=["split.target=last"])
        assert caught.value.hint == "Also name the split: --set split.by=time or --set split.by=files"
        assert resolve(overrides=["split.by=files", "split.target=last"]).config.split == FileSplit(target="last")

    def test_a_preset_a_file_and_an_option_are_blamed_for_their_own(self, tmp_path: Path) -> None:
        bad = written(tmp_path / "bad.yaml", "training: {learning_rat: 1.0}")
        for arguments, blamed in (
            ({"preset": bad}, f"(preset {bad})"),
            ({"preset": "beauty", "file": bad}, f"(file {bad})"),
        ):
            with pytest.raises(ConfigError, match=r"did you mean 'training\.learning_rate'") as caught:
                resolve(**arguments)
            assert blamed in str(caught.value)
        with pytest.raises(ConfigError, match=r"training.batch_size = 0 \(--batch-size\)"):
            resolve(preset="beauty", options={"training.batch_size": 0})

    def test_two_keys_that_do_not_fit_are_blamed_on_the_later(self, tmp_path: Path) -> None:
        file = written(tmp_path / "f.yaml", "model: {heads: 3}")
        with pytest.raises(ConfigError, match=rf"model \(file {file}\): hidden_size 128"):
            resolve(preset="beauty", file=file)
        with pytest.raises(ConfigError, match=r"model \(--set\): hidden_size 50"):
            resolve(preset="beauty", file=written(file, "model: {heads: 4}"), overrides=["model.hidden_size=50"])
