"""Runs the examples of README.md, CONTRIBUTING.md, docs/ and of each command's help.

A new page or example is run without a change here. `sandbox.py` makes the data, files and runs that it names, and
lowers the settings of all trainings.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from difflib import unified_diff
from pathlib import Path

import pytest
import typer
from pages import (
    ROOT,
    Block,
    Command,
    all_commands,
    blocks,
    commands,
    help_examples,
    inline,
    options_of,
    outputs,
    pages,
    read,
    skeleton,
    unknown_options,
    walk,
)
from sandbox import Sandbox, sandbox

from actsr_cli.errors import ActsrError
from actsr_cli.presets import load_preset
from actsr_cli.tuning.space import read_space
from benchmarks.__main__ import app as benchmarks

NOT_RUN = {
    "--storage postgresql://": "needs a database server",
    "--processes": "starts processes, see tests/commands/test_torchrun.py",
    "actsr serve": "runs until a signal, see tests/serving/test_server.py",
    "//127.0.0.1:": "asks a server; tests/serving/test_server.py asks one",
    "docker ": "needs Docker, see tests/test_docker.py",
}
"""What is not run of the commands of pages and help texts, with the reason. Their options are checked."""
NOT_RUN_PROGRAMS = {
    "curl": "asks a server, see tests/serving/test_server.py",
    "docker": "needs Docker, see tests/test_docker.py",
    "make": "installs the whole environment; its target must be in the Makefile",
    "pytest": "would run tests within a test; its files must be there",
    "python": "measures for minutes; the measurement and its options must be there",
    "torchrun": "starts processes, see tests/commands/test_torchrun.py; its options must be there",
}
RECIPES = "\n## Recipes\n"
"""Of CONTRIBUTING.md: what stands behind it is followed by test_recipes.py; its options are checked here."""
OTHER_OPTIONS = {"torchrun": {"--nproc-per-node", "--nnodes", "--standalone"}}
"""Options that the text names, of other programs."""
PLACEHOLDERS = {"MODEL": "sasrec", "LOSS": "gbce", "S": "1", "SPACE": "space.yaml"}
"""Words of commands that stand for a choice of the reader, and the choice here."""
NEW_FOLDER = {("docs/preprocess.md", "Data split into files"): "dataset/shop/shop.train.inter"}
"""Sections whose commands do not follow those above them, and what is there when they begin."""
GIVEN = {
    "docs/import.md": """
from types import SimpleNamespace

dataset = SimpleNamespace(field2id_token={"item_id": ["[PAD]", "i6", "i5"]})
""",
    "docs/inspect.md": """
import torch
from flat import batch_of
from samples import built, run_config

model = built(run_config("sasrec", "full", hidden_size=8, max_length=6), n_items=9).eval()
batch = batch_of([[1, 2, 3]])
""",
}
"""Code that makes what the Python blocks of a page take as given."""
HELPS = help_examples()
COMMANDS = all_commands()
BENCHMARKS = dict(walk("benchmarks", typer.main.get_command(benchmarks)))


@pytest.fixture
def box(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Sandbox]:
    with sandbox(tmp_path, monkeypatch) as made:
        yield made


def chosen(command: Command) -> Command:
    """The command with a choice in place of each placeholder."""
    words = "|".join(PLACEHOLDERS)
    text = re.sub(rf"(?<![\w-])({words})(?!\w)", lambda found: PLACEHOLDERS[found.group()], command.text)
    return Command(command.place, text)


def follow(command: Command, box: Sandbox) -> None:
    """Run a command, or check what can be checked of one that is not run."""
    if command.program in ("actsr", "cat") and not any(part in command.text for part in NOT_RUN):
        box.run(chosen(command))
    elif problem := refused(command):
        box.fail(command.place, command.text, problem)


def refused(command: Command) -> str:
    """What is wrong with a command that is not run, or nothing."""
    words = command.words
    match command.program:
        case "actsr":
            wrong = unknown_options(words, COMMANDS)
        case "make":
            targets = re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE)
            wrong = [word for word in words[1:] if word not in targets]
        case "pytest":
            wrong = [word for word in words[1:] if word.startswith("tests") and not (ROOT / word).exists()]
        case "python":
            wrong = unknown_options(words[2:], BENCHMARKS)
        case "torchrun":
            wrong = unknown_options(["actsr", *words[words.index("actsr_cli") + 1 :]], COMMANDS)
        case _:
            return "" if any(part in command.text for part in NOT_RUN) else "no test knows how to run this program"
    return f"not there: {', '.join(wrong)}" if wrong else ""


def check_yaml(block: Block, box: Sandbox) -> None:
    """A YAML block is a preset, a search space or both."""
    try:
        Path("block.yaml").write_text(block.text, encoding="utf-8")
        preset = load_preset("block.yaml")
        if preset.space:
            read_space(preset.space, block.place)
    except ActsrError as error:
        box.fail(block.place, block.text.splitlines()[0], str(error))


def compare_outputs(block: Block, box: Sandbox) -> None:
    """The outputs in a block are what the commands have just printed, but for numbers and items."""
    for command, shown in outputs(block).items():
        today, page = skeleton(box.printed[command].replace(f"{box.folder}/", "")), skeleton(shown)
        if today != page:
            difference = "\n".join(unified_diff(page, today, "page", "today", lineterm=""))
            box.fail(block.place, command, f"another output; make recording\n{difference}")


def run_page(page: str, text: str, box: Sandbox) -> int:
    """Run the blocks of a page in order; the number of examples."""
    examples, heading = 0, ""
    exec(GIVEN.get(page, ""), box.names)  # noqa: S102
    for block in blocks(page, text):
        if block.file:
            Path(block.file).write_text(block.text, encoding="utf-8")
    for block in blocks(page, text):
        if heading != block.heading and (page, block.heading) in NEW_FOLDER:
            box.start_anew(NEW_FOLDER[page, block.heading])
        heading = block.heading
        if block.language in ("python", "pycon"):
            box.execute(block)
            examples += 1
        elif block.language == "yaml":
            check_yaml(block, box)
            examples += 1
        elif block.is_shell:
            for command in commands(block):
                follow(command, box)
                examples += 1
            if block.language == "console":
                compare_outputs(block, box)
    return examples


@pytest.mark.parametrize("page", pages())
def test_page(page: str, box: Sandbox) -> None:
    run_page(page, read(page).partition(RECIPES)[0], box)
    box.check()


@pytest.mark.parametrize("name", HELPS)
def test_help(name: str, box: Sandbox) -> None:
    for command in HELPS[name]:
        follow(command, box)
    box.check()


def test_every_command_has_an_example() -> None:
    assert set(HELPS) == set(COMMANDS)


@pytest.mark.parametrize("page", pages())
def test_options_in_the_text(page: str) -> None:
    """Options in code spans exist, of the command that the span names or else of any."""
    every = {name for command in (*COMMANDS.values(), *BENCHMARKS.values()) for name in options_of(command)}
    every |= {name for names in OTHER_OPTIONS.values() for name in names}
    wrong = []
    for span in inline(page, read(page)):
        words = span.text.split()
        unknown = (
            unknown_options(words, COMMANDS) if words[0] == "actsr" else sorted({words[0].partition("=")[0]} - every)
        )
        wrong += [f"{span.place}: {span.text}: {', '.join(unknown)}"] if unknown else []
    for block in blocks(page, read(page).partition(RECIPES)[2]):
        if block.is_shell:
            wrong += [f"{each.place}: {each.text}: {found}" for each in commands(block) if (found := refused(each))]
    assert not wrong, "\n".join(wrong)


def test_what_is_not_run_is_there() -> None:
    """No exception outlives its example."""
    texts = {page: read(page) for page in pages()}
    every = [
        each
        for page, text in texts.items()
        for block in blocks(page, text)
        if block.is_shell
        for each in commands(block)
    ]
    every += [each for examples in HELPS.values() for each in examples]
    assert {part for part in NOT_RUN if not any(part in each.text for each in every)} == set()
    assert {each.program for each in every} - {"actsr", "cat"} == set(NOT_RUN_PROGRAMS)
    assert {word for word in PLACEHOLDERS if not any(chosen(each).text != each.text for each in every)} == set()
    assert {page for page in GIVEN if "```python" not in texts[page]} == set()
    assert {place for place in NEW_FOLDER if f"# {place[1]}\n" not in texts[place[0]]} == set()
    assert {
        name for names in OTHER_OPTIONS.values() for name in names if not any(name in text for text in texts.values())
    } == set()


THROW_AWAY = """# A page

In a file `own.py`:

```python
WORD = "calibrated"
```

```python
from own import WORD

def shout(word):
    return word.upper()

assert shout(WORD) == "CALIBRATED"
print("before")
shout(3)
```

```
error: output, no command
```

```bash
$ actsr presets
beauty ...
$ actsr train --model sasrec \\
    --preset demo --epoch 3
actsr is not run here
```

```yaml
model: {layer: 2}
```

```
actsr presets show beauty > mine.yaml       # for the next line
actsr presets show mine.yaml --resolved
actsr runs | wc
frobnicate
```
"""


def test_a_failing_example_is_reported_with_its_line(box: Sandbox) -> None:
    assert run_page("docs/own.md", THROW_AWAY, box) == 9
    python, option, yaml, program = box.failures
    assert python.startswith("docs/own.md:17: shout(3)\nbefore\n")
    assert "AttributeError: 'int' object has no attribute 'upper'" in python
    assert "docs/own.md:27: actsr train --model sasrec     --preset demo --epoch 3\nexit code 2" in option
    assert "No such option: --epoch" in option
    assert yaml.startswith("docs/own.md:33: ") and "did you mean" in yaml
    assert program == "docs/own.md:40: frobnicate\nno test knows how to run this program"
    with pytest.raises(pytest.fail.Exception, match="No such option"):
        box.check()


def test_an_output_that_is_no_longer_printed_is_reported(box: Sandbox) -> None:
    printed = "demo: demo.inter (1 kB), demo.item (7.0 kB) in dataset/demo\nNext: actsr preprocess demo\n"
    right = f"$ actsr download demo --force\n{printed}"
    run_page("docs/own.md", f"# A page\n\n```console\n{right}```\n", box)
    assert box.failures == []
    run_page("docs/own.md", f"# A page\n\n```console\n{right.replace('Next', 'Then')}```\n", box)
    (failure,) = box.failures
    assert failure.startswith("docs/own.md:4: actsr download demo --force\nanother output; make recording\n")
    assert "-Then: actsr preprocess demo" in failure and "+Next: actsr preprocess demo" in failure


def test_what_is_compared_of_an_output() -> None:
    epochs = "epoch   1   loss 5.5\nepoch   2   loss 5.1   best so far\n...\n"
    assert skeleton(f"{epochs}1  i248  finger tape  5.749\n") == ["an epoch", "an item"]
    assert skeleton("Kept in d/prepared/1df5\n") == ["Kept in d/#"]
    assert skeleton("demo: user u0007, after tea, tent\n core  -5  @10\n") == ["demo: user u# after #", "core # @#"]


def test_library_pages_can_train_and_recommend(box: Sandbox) -> None:
    page = """
```python
import actsr_cli as actsr

actsr.load("beauty/ac-sasrec/first").recommend(["B004756YJA", "B004ZT0SSG"], k=3)
run = actsr.train("sasrec", preset="demo", name="mine")
actsr.evaluate(run)
actsr.load("mine")
```
"""
    assert run_page("docs/own.md", page, box) == 1
    box.check()
