"""Compressed text, text of other encodings, and files that are no text, in every format of text."""

from __future__ import annotations

import bz2
import gzip
import io
import json
import lzma
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from reading import read, triples, write

from actsr_cli.data.readers import Columns, delimited, find_reader, guess_reader, text
from actsr_cli.data.readers.interactions import BadLines, Interactions
from actsr_cli.data.readers.item_files import read_item_file
from actsr_cli.data.readers.text import read_lines
from actsr_cli.data.sources import find_source, source_from_file
from actsr_cli.errors import ActsrError, DataError
from actsr_cli.recommending.reading import STDIN, read_histories

JSON = find_reader(guess_reader(Path("x.jsonl")).name).name


def atomic(item: str) -> str:
    return f"user_id:token\titem_id:token\ttimestamp:float\nu1\ta\t1\nu1\t{item}\t2\n"


def table(item: str) -> str:
    return f"user,item,time\nu1,a,1\nu1,{item},2\n"


def reviews(item: str) -> str:
    rows = ({"reviewerID": "u1", "asin": each, "unixReviewTime": time} for time, each in ((1, "a"), (2, item)))
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)


def sequences(item: str) -> str:
    return f"u1 a {item}\n"


TEXTS: dict[str, Callable[[str], str]] = {"atomic": atomic, "csv": table, "sequences": sequences, JSON: reviews}
COMPRESS: dict[str, Callable[[bytes], bytes]] = {
    ".gz": gzip.compress,
    ".bz2": bz2.compress,
    ".xz": lzma.compress,
    ".zst": lambda data: pa.Codec("zstd").compress(data, asbytes=True),
}
SUFFIXES = {"atomic": ".inter", "csv": ".csv", "sequences": ".txt", JSON: ".jsonl"}


def items(raw: Interactions) -> list[str]:
    return [item for _, item, _ in triples(raw)]


@pytest.mark.parametrize("ending", COMPRESS)
@pytest.mark.parametrize("name", TEXTS)
def test_compressed_files_are_known_by_their_first_bytes(tmp_path: Path, name: str, ending: str) -> None:
    content = COMPRESS[ending](TEXTS[name]("é").encode())
    for file in (f"x{SUFFIXES[name]}", f"x{SUFFIXES[name]}{ending}", f"X{SUFFIXES[name]}{ending}".upper(), "x.data"):
        path = write(tmp_path / file, content)
        assert items(read(path, name)[0]) == ["a", "é"]
        assert file == "x.data" or guess_reader(path).name == name
        assert [list(history) for chunk in read_histories(path, name) for history in chunk.items] == [["a", "é"]]


@pytest.mark.parametrize("ending", COMPRESS)
def test_members_one_after_another_are_one_file(tmp_path: Path, ending: str) -> None:
    first, second = table("b").encode(), b"u2,c,3\n"
    path = write(tmp_path / "x.csv", COMPRESS[ending](first) + COMPRESS[ending](second))
    assert items(read(path, "csv")[0]) == ["a", "b", "c"]


@pytest.mark.parametrize("ending", COMPRESS)
@pytest.mark.parametrize("name", TEXTS)
def test_compressed_files_that_are_cut_off_or_damaged(tmp_path: Path, name: str, ending: str) -> None:
    whole = COMPRESS[ending]("".join(TEXTS[name](f"item{number}") for number in range(300)).encode())
    middle = len(whole) // 2
    damaged = whole[:middle] + b"\xff" * 20 + whole[middle + 20 :]
    for content in (whole[:middle], whole[:-2], *([damaged] if ending != ".zst" else [])):  # zstd here has no checksum
        path = write(tmp_path / f"x{SUFFIXES[name]}", content)
        with pytest.raises(DataError) as caught:
            list(read_lines(path))
        assert caught.value.message.startswith(f"{path} is a broken ") and "\n" not in caught.value.message


def test_a_compressed_split_is_found_whole(tmp_path: Path) -> None:
    folder = tmp_path / "data" / "shop"
    folder.mkdir(parents=True)
    for part in ("train", "valid", "test"):
        write(folder / f"shop.{part}.inter.gz", gzip.compress(atomic("b").encode()))
    write(folder / "shop.item.gz", gzip.compress(b"item_id:token\ttitle:token_seq\na\tHeat\n"))
    source = find_source(tmp_path / "data", "shop")
    assert [path.name for path in source.files] == [
        *(f"shop.{part}.inter.gz" for part in ("train", "valid", "test")),
        "shop.item.gz",
    ]
    assert source.item_file is not None
    assert read_item_file(source.item_file, BadLines(source.item_file)).titles == {"a": "Heat"}
    (folder / "shop.test.inter.gz").unlink()
    with pytest.raises(DataError, match=r"missing: shop\.test\.inter\.gz"):
        source_from_file(tmp_path / "data", "other", folder / "shop.train.inter.gz", None, Columns())
    write(folder / "shop.train.inter", atomic("b"))
    with pytest.raises(DataError, match=r"holds shop\.train\.inter and shop\.train\.inter\.gz, so it is not clear"):
        find_source(tmp_path / "data", "shop")


@pytest.mark.parametrize("name", ["atomic", "csv", JSON])
def test_rows_of_any_length(tmp_path: Path, name: str) -> None:
    long = "word " * 700_000
    row = {"atomic": f"u2\t{long}\t3\n", "csv": f"u2,{long},3\n", JSON: reviews(long).splitlines()[1] + "\n"}[name]
    path = write(tmp_path / "x", TEXTS[name]("b") + row)
    assert items(read(path, name)[0]) == ["a", "b", long]


@pytest.mark.parametrize(
    "encoding", ["latin-1", "windows-1252", "utf-16", "utf-16-le", "utf-16-be", "utf-8-sig", "gbk"]
)
@pytest.mark.parametrize("name", TEXTS)
def test_encodings(tmp_path: Path, name: str, encoding: str) -> None:
    content = TEXTS[name]("é").replace("\n", "\r\n").encode(encoding)
    path = write(tmp_path / "x", content)
    assert items(read(path, name, encoding=encoding)[0]) == ["a", "é"]
    if encoding != "utf-8-sig":
        with pytest.raises(DataError) as caught:
            read(path, name)
        assert "--encoding" in str(caught.value.hint)


@pytest.mark.parametrize("name", TEXTS)
def test_the_encoding_is_named_in_the_error(tmp_path: Path, name: str) -> None:
    whole = TEXTS[name]("Amélie")
    line = whole[: whole.index("Amélie")].count("\n") + 1
    for encoding, message, hint in (
        ("latin-1", f", line {line}: not UTF-8 text; it may be Latin-1 ('Amélie')", "--encoding latin-1"),
        ("utf-16", " is UTF-16 text", "--encoding utf-16."),
        ("utf-16-be", " is UTF-16-BE text", "--encoding utf-16-be."),
        ("utf-32", " is UTF-32 text", "--encoding utf-32."),
    ):
        path = write(tmp_path / "x", whole.encode(encoding))
        with pytest.raises(DataError) as caught:
            read(path, name, policy="skip")
        assert caught.value.message == f"{path}{message}" and hint in str(caught.value.hint)
    quotes = write(tmp_path / "x", TEXTS[name]("5€ é").encode("cp1252"))
    with pytest.raises(DataError, match="it may be Windows-1252"):
        read(quotes, name)
    wrong = write(tmp_path / "x", whole.encode())
    with pytest.raises(DataError, match="is UTF-8 text, not iso8859-1"):
        read(wrong, name, encoding="latin-1")
    with pytest.raises(DataError, match=f"line {line}: not ascii text"):
        read(wrong, name, encoding="ascii")


def test_encodings_that_do_not_exist(tmp_path: Path) -> None:
    path = write(tmp_path / "x.csv", table("b"))
    for encoding, message in (("latn-1", "did you mean 'latin-1'"), ("hex", "known: "), ("\0", "unknown encoding")):
        with pytest.raises(ActsrError, match=message):
            read(path, "csv", encoding=encoding)


def test_titles_have_the_encoding_of_the_interactions(tmp_path: Path) -> None:
    path = write(tmp_path / "x.item", "item_id:token\ttitle:token_seq\na\tAmélie\n".encode("latin-1"))
    assert read_item_file(path, BadLines(path), "latin-1").titles == {"a": "Amélie"}


@pytest.mark.parametrize("name", TEXTS)
def test_files_that_are_no_text(tmp_path: Path, name: str) -> None:
    whole = TEXTS[name]("b").encode()
    for content, message, hint in (
        (b"PAR1\x15\x04", " is a Parquet file, not text", "Give --format parquet."),
        (
            b"PK\x03\x04\x14\0",
            " is a ZIP archive or an Excel workbook, not text",
            "Unpack it, or save its table as CSV.",
        ),
        (b"<!DOCTYPE html>\n", " is a web page, not text", "Download the file itself."),
        (whole + b"u\0\n", f", line {len(whole.splitlines()) + 1}: a NUL character", "None"),
    ):
        path = write(tmp_path / "x", content)
        with pytest.raises(DataError) as caught:
            read(path, name, policy="skip")
        assert caught.value.message.startswith(f"{path}{message}") and str(caught.value.hint) == hint


@pytest.mark.parametrize("name", ["atomic", "csv", "sequences"])
def test_json_lines_in_other_formats(tmp_path: Path, name: str) -> None:
    path = write(tmp_path / "x", reviews("b"))
    with pytest.raises(DataError, match="holds JSON lines") as caught:
        read(path, name, policy="skip")
    assert caught.value.hint == f"Give --format {JSON}."


def test_compressed_histories_on_standard_input(monkeypatch: pytest.MonkeyPatch) -> None:
    for compress in COMPRESS.values():
        raw = io.BytesIO(compress(b'["a"]\n["b"]\n'))
        monkeypatch.setattr("sys.stdin", io.TextIOWrapper(raw))
        (chunk,) = read_histories(STDIN)
        assert list(map(list, chunk.items)) == [["a"], ["b"]]


PIECES = st.sampled_from(
    [
        *(b'"', b'""', b",", b"\t", b"\n", b"\r", b"\r\n", b" ", b";", b"::", b"\x1f", b"\xc3\xa9", b"\xff", b"\0"),
        *(b"u1", b"1600000000", b"2020-01-01", b'{"a": 1}', b"\xef\xbb\xbf"),
        *(b"user,item,time\n", b"user_id:token\titem_id:token\ttimestamp:float\n"),
    ]
)
ANYTHING = st.one_of(st.lists(PIECES, max_size=25).map(b"".join), st.binary(max_size=60))


@settings(max_examples=200, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    content=ANYTHING,
    wrap=st.sampled_from([bytes, *COMPRESS.values()]),
    cut=st.integers(0, 3),
    name=st.sampled_from(list(TEXTS)),
    policy=st.sampled_from(["error", "skip"]),
    encoding=st.sampled_from([None, None, "latin-1", "utf-16", "gbk", "idna", "utf-7"]),
    separator=st.sampled_from([None, None, ";", "::", "whitespace", "\t", "§"]),
    columns=st.sampled_from(
        [{}, {"timestamp": "none"}, {"header": "none", "user": "1", "item": "2"}, {"header": "none"}]
    ),
    size=st.sampled_from([5, 1 << 20]),
)
def test_any_bytes_give_interactions_or_an_error_of_one_line(
    tmp_path: Path,
    content: bytes,
    wrap: Callable[[bytes], bytes],
    cut: int,
    name: str,
    policy: str,
    encoding: str | None,
    separator: str | None,
    columns: dict[str, str],
    size: int,
) -> None:
    wrapped = wrap(content)
    path = write(tmp_path / "x", wrapped[: len(wrapped) - cut])
    given_columns = {**columns, "encoding": encoding, "separator": separator}
    allowed = {key: value for key, value in given_columns.items() if key in find_reader(name).options}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(delimited, "_SIZE", size)
        patch.setattr(text.text_blocks, "__defaults__", (None, size))
        try:
            assert len(find_reader(name).load()(path, Columns(**allowed), (), BadLines(path, policy))) > 0  # type: ignore[arg-type]
        except ActsrError as error:
            assert "\n" not in error.message
