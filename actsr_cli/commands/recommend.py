"""`actsr recommend` and `actsr similar`: recommend the next items of a history, and list similar items."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from actsr_cli import console
from actsr_cli.commands.completion import complete_item, complete_run, complete_user
from actsr_cli.commands.options import (
    OUTPUT,
    RUN_HELP,
    SPEED,
    WHO,
    AsJson,
    BatchSize,
    DataDir,
    Device,
    HistoryItems,
    RunName,
    RunsDir,
    Threads,
    TrustCode,
    history_items,
)
from actsr_cli.errors import ConfigError
from actsr_cli.words import counted

if TYPE_CHECKING:
    from collections.abc import Iterator

    from actsr_cli.data.readers import Columns
    from actsr_cli.recommending.choice import Choice
    from actsr_cli.recommending.histories import KnownHistories, RawHistories
    from actsr_cli.recommending.recommendations import Recommendations
    from actsr_cli.recommending.recommender import Recommender

WHAT = "What is recommended"
_SHOWN = 5
"""Number of users whose lists are printed if no user is given."""
_AT_A_TIME = 4096
"""Number of histories whose lists are in memory at a time."""


def recommend(
    run: RunName = None,
    user: Annotated[
        list[str] | None,
        typer.Option(
            help="User of the data set, by raw id. Repeatable.", rich_help_panel=WHO, autocompletion=complete_user
        ),
    ] = None,
    users: Annotated[
        Path | None, typer.Option(help="File of users of the data set: one raw id per line.", rich_help_panel=WHO)
    ] = None,
    history: HistoryItems = None,
    timestamps: Annotated[
        str | None,
        typer.Option(
            help="Times of the items of --history: seconds since 1970 or ISO dates, separated by commas.",
            rich_help_panel=WHO,
        ),
    ] = None,
    histories: Annotated[
        Path | None,
        typer.Option(
            help="File of histories: JSON lines, or any format of `actsr preprocess`. - reads standard input.",
            rich_help_panel=WHO,
        ),
    ] = None,
    format_name: Annotated[
        str | None,
        typer.Option("--format", help="Format of --histories. Default: by the file's suffix.", rich_help_panel=WHO),
    ] = None,
    user_column: Annotated[
        str | None, typer.Option(help="Column of user ids in --histories.", rich_help_panel=WHO)
    ] = None,
    item_column: Annotated[
        str | None, typer.Option(help="Column of item ids in --histories.", rich_help_panel=WHO)
    ] = None,
    timestamp_column: Annotated[
        str | None,
        typer.Option(help="Column of times in --histories; 'none': rows are in time order.", rich_help_panel=WHO),
    ] = None,
    separator: Annotated[
        str | None, typer.Option(help="Separator of the fields in --histories.", rich_help_panel=WHO)
    ] = None,
    no_header: Annotated[
        bool,
        typer.Option(
            "--no-header", help="--histories has no names of columns: they are numbered.", rich_help_panel=WHO
        ),
    ] = False,
    encoding: Annotated[
        str | None,
        typer.Option(help="Encoding of --histories, such as latin-1. Default: UTF-8.", rich_help_panel=WHO),
    ] = None,
    k: Annotated[int, typer.Option("--k", min=1, help="Items per list.", rich_help_panel=WHAT)] = 10,
    seen: Annotated[
        Literal["rank", "exclude"],
        typer.Option(help="Items of the history: rank them like all others, or exclude them.", rich_help_panel=WHAT),
    ] = "exclude",
    only: Annotated[
        Path | None, typer.Option(help="Recommend only items of this file: one raw id per line.", rich_help_panel=WHAT)
    ] = None,
    without: Annotated[
        Path | None,
        typer.Option(help="Do not recommend the items of this file: one raw id per line.", rich_help_panel=WHAT),
    ] = None,
    index: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="Compare each history with about N items, found by an approximate index, not with all. Try 512; pays "
            "from about a million items on, see docs/recommend.md.",
            metavar="N",
            rich_help_panel=SPEED,
        ),
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option(help="Write the lists to this .csv, .jsonl or .parquet file.", rich_help_panel=OUTPUT),
    ] = None,
    as_json: AsJson = False,
    batch_size: BatchSize = None,
    device: Device = "auto",
    threads: Threads = None,
    trust_code: TrustCode = False,
    data_dir: DataDir = Path("dataset"),
    runs_dir: RunsDir = Path("runs"),
) -> None:
    """Recommend the next items to users of the data set, or for any history that you give.

    The whole history of a user is read, including held-out items. Without
    options, all users get a list: the table shows the first five, and --output
    writes all.

    Unknown items of a history are skipped and counted. A history without any
    known item gets the most popular items.

    [bold]Example:[/]  actsr recommend --user A1YJEY40YUW4SE --k 5

    [bold]Example:[/]  actsr recommend beauty/ac-sasrec/first --history "B004756YJA B004ZT0SSG"

    [bold]Example:[/]  actsr recommend --histories new.jsonl --only in-stock.txt --output lists.csv
    """
    from actsr_cli import api
    from actsr_cli.data.readers import Columns
    from actsr_cli.recommending.choice import choose
    from actsr_cli.recommending.reading import read_ids
    from actsr_cli.recommending.writing import check_output

    columns = Columns(
        user=user_column,
        item=item_column,
        timestamp=timestamp_column,
        separator=separator,
        header="none" if no_header else None,
        encoding=encoding,
    )
    audience = _Audience(user, users, history, timestamps, histories, format_name, columns)
    audience.check()
    if output is not None:
        if as_json:
            raise ConfigError("--json does not go with --output", hint="For JSON in a file: --output lists.jsonl")
        check_output(output)
    recommender = api.load(
        run, device=device, threads=threads, batch_size=batch_size, data_dir=data_dir, runs_dir=runs_dir
    )
    known = recommender.vocabulary.item_names
    only_ids, without_ids = (None if file is None else read_ids(file, known) for file in (only, without))
    choice = choose(recommender.vocabulary, k, seen, only_ids, without_ids or [])
    if choice.unknown:
        number = counted(len(choice.unknown), "item")
        console.warn(
            f"{number} of --only and --without unknown to the model and not used, such as '{choice.unknown[0]}'"
        )
    if index is not None:
        with console.working(f"Indexing {recommender.vocabulary.n_items:,} items"):
            recommender = recommender.indexed(index)
    if output is None:
        _print(recommender, audience, choice, as_json=as_json)
    else:
        _write(recommender, audience, choice, output)
    if recommender.index is not None and recommender.index.exact:
        lists = counted(recommender.index.lists, "list")
        console.note(f"{recommender.index.exact:,} of {lists} ranked exactly: the index found too few allowed items")


def similar(
    items: Annotated[
        list[str], typer.Argument(metavar="ITEM…", help="Items by their raw ids.", autocompletion=complete_item)
    ],
    run: Annotated[str | None, typer.Option(help=RUN_HELP, autocompletion=complete_run)] = None,
    k: Annotated[int, typer.Option("--k", min=1, help="Similar items per item.")] = 10,
    as_json: AsJson = False,
    trust_code: TrustCode = False,
    runs_dir: RunsDir = Path("runs"),
) -> None:
    """Show the items that are most similar to each item: by the cosine of the model's item vectors.

    item-knn has no vectors: its similar items are those that follow most often.

    [bold]Example:[/]  actsr similar B004756YJA --k 5
    """
    from actsr_cli import api
    from actsr_cli.commands.recommend_view import print_list
    from actsr_cli.recommending.writing import as_dict

    recommender = api.load(run, device="cpu", runs_dir=runs_dir)
    found = [recommender.similar(item, k) for item in items]
    if as_json:
        console.print_json([as_dict(each) for each in found])
        return
    for each in found:
        print_list(f"similar to {recommender.vocabulary.display_name_of(each.user)}", each)


@dataclass(frozen=True)
class _Audience:
    """The users and histories that get lists, from the options of the same names."""

    user: list[str] | None
    users: Path | None
    history: list[str] | None
    timestamps: str | None
    histories: Path | None
    format_name: str | None
    columns: Columns

    @property
    def everybody(self) -> bool:
        """Whether no user or history is given."""
        return not (self.user or self.users or self.history or self.histories)

    def check(self) -> None:
        """Raise ConfigError if options conflict."""
        ways = {
            "--user": bool(self.user),
            "--users": self.users is not None and not self.user,
            "--history": bool(self.history),
            "--histories": self.histories is not None,
        }
        if len(given := [name for name, is_given in ways.items() if is_given]) > 1:
            raise ConfigError(f"{' and '.join(given)} do not go together")
        if self.timestamps is not None and not self.history:
            raise ConfigError("--timestamps needs --history")
        options = [*([] if self.format_name is None else ["--format"]), *self.columns.given.values()]
        if self.histories is None and options:
            raise ConfigError(f"{options[0]} needs --histories FILE")

    def histories_known(self, recommender: Recommender) -> tuple[Iterator[KnownHistories], int | None]:
        """The histories in chunks, and their number if it is known before they are read."""
        from actsr_cli.recommending.histories import known_histories
        from actsr_cli.recommending.reading import read_histories, read_ids

        if self.histories is not None:
            raw = read_histories(self.histories, self.format_name, self.columns, way=recommender.vocabulary.times)
            return (known_histories(each, recommender.vocabulary) for each in raw), None
        if self.history:
            return iter([known_histories(self._one(recommender), recommender.vocabulary)]), 1
        names = None if self.everybody else list(self.user or ())
        if names is not None and self.users is not None:
            names += read_ids(self.users, recommender.histories_of_users().users)
        whole = recommender.histories_of_users(names)
        starts = range(0, len(whole), _AT_A_TIME)
        return (whole.part(slice(start, start + _AT_A_TIME)) for start in starts), len(whole)

    def _one(self, recommender: Recommender) -> RawHistories:
        from actsr_cli.recommending.histories import one_history

        items = history_items(self.history or [], recommender.vocabulary.item_names)
        times = None if self.timestamps is None else [each.strip() for each in self.timestamps.split(",")]
        return one_history(items, times, way=recommender.vocabulary.times)


def _print(recommender: Recommender, audience: _Audience, choice: Choice, *, as_json: bool) -> None:
    """Print the lists; only those of a few users if no user or history is given."""
    from actsr_cli.commands.recommend_view import Tally, print_lists
    from actsr_cli.recommending.writing import as_dict

    chunks, total = audience.histories_known(recommender)
    tally = Tally()
    if audience.everybody:
        chunks = (chunk.part(slice(_SHOWN)) for chunk in [next(chunks)])
    found = [(chunk, tally.counted(recommender.lists(chunk, choice))) for chunk in chunks]
    tally.check_any()
    if as_json:
        console.print_json([as_dict(each) for _, lists in found for each in lists])
    else:
        for chunk, lists in found:
            print_lists(recommender.name, chunk, lists)
    tally.report()
    if audience.everybody and total is not None and total > _SHOWN:
        console.note(f"{_SHOWN} of {total:,} users shown. Write all to a file: --output lists.csv")


def _write(recommender: Recommender, audience: _Audience, choice: Choice, output: Path) -> None:
    """Write the lists chunk by chunk, with a progress bar."""
    from actsr_cli.commands.recommend_view import Tally
    from actsr_cli.recommending.writing import writing

    chunks, total = audience.histories_known(recommender)
    tally = Tally()
    with console.step_progress() as progress, writing(output, recommender.vocabulary) as write:
        bar = progress.add_task("recommending", total=total, status="")
        for chunk in chunks:
            lists: Recommendations = tally.counted(recommender.lists(chunk, choice))
            write(lists)
            progress.update(bar, advance=len(lists), status=f"{tally.per_second:,.0f} histories/s")
        tally.check_any()
    tally.report()
    console.note(f"{counted(tally.n_lists, 'list')} written to {output} in {tally.seconds:.1f} s")
