"""Safe archives are unpacked; all others are refused with the reason."""

from __future__ import annotations

import io
import stat
import struct
import warnings
import zipfile
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from loopback import INTER, ITEM, make_zip

from actsr_cli.data.archive import ArchiveError, Limits, unpack_archive


def unpack(tmp_path: Path, archive: bytes, limits: Limits | None = None) -> dict[str, bytes]:
    """Unpack an archive and return its files by name."""
    path, folder = tmp_path / "archive.zip", tmp_path / "unpacked"
    path.write_bytes(archive)
    folder.mkdir(exist_ok=True)
    unpack_archive(path, folder, "yelp", limits or Limits())
    return {file.name: file.read_bytes() for file in folder.iterdir()}


def refused(tmp_path: Path, archive: bytes, limits: Limits | None = None) -> str:
    """The reason why an archive is refused. Also checks that no file was written outside the target folder."""
    with pytest.raises(ArchiveError) as caught:
        unpack(tmp_path, archive, limits)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["archive.zip", "unpacked"]
    return str(caught.value)


def zip_entries(*entries: tuple[zipfile.ZipInfo, bytes]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive, warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # about duplicate names, which the test needs
        for info, content in entries:
            archive.writestr(info, content)
    return buffer.getvalue()


@pytest.mark.parametrize("top", ["", "Yelp_2018/"])
def test_members_flat_or_in_one_folder_take_the_name(tmp_path: Path, top: str) -> None:
    archive = make_zip({f"{top}yelp2018.inter": INTER, f"{top}yelp2018.item": ITEM, f"{top}README.md": b"read"})
    assert unpack(tmp_path, archive) == {"yelp.inter": INTER, "yelp.item": ITEM, "README.md": b"read"}


def test_folder_entries_and_leavings_of_the_finder_are_passed_over(tmp_path: Path) -> None:
    members = {"Yelp/": b"", "Yelp/a.inter": INTER, "__MACOSX/Yelp/._a.inter": b"x", "Yelp/.DS_Store": b"x"}
    assert unpack(tmp_path, make_zip(members)) == {"yelp.inter": INTER}


@pytest.mark.parametrize(
    ("member", "words"),
    [
        ("../evil.item", "points outside its folder"),
        ("a/../../evil.item", "points outside its folder"),
        ("/etc/evil.item", "has an absolute path"),
        ("..\\evil.item", "has a backslash"),
        ("C:evil.item", "names a drive"),
        ("a//evil.item", "has an empty part"),
        ("./evil.item", "has an empty part"),
        ("evil\n.item", "has a control character"),
        ("evil\x1b[2J.item", "has a control character"),
        ("evil\u202emeti.", "has a control character"),
        ("x" * 201 + ".item", "has a name of more than 200 bytes"),
    ],
)
def test_a_name_that_leads_elsewhere_is_refused(tmp_path: Path, member: str, words: str) -> None:
    said = refused(tmp_path, make_zip({"a.inter": INTER, member: b"x"}))
    assert said.startswith("member ") and f" {words}" in said and said.isprintable() and len(said) < 300
    assert list((tmp_path / "unpacked").iterdir()) == []


@pytest.mark.parametrize("top", ["", "Yelp/"])
@pytest.mark.parametrize(
    "member",
    [
        *("source.json", "Source.JSON", "manifest.json", "latest.json", "inputs.json", "prepared", "prepared.json"),
        *("yelp.lock", ".lock", ".yelp.host.1.partial"),
    ],
)
def test_what_actsr_itself_writes_and_trusts_comes_from_no_archive(tmp_path: Path, member: str, top: str) -> None:
    said = refused(tmp_path, make_zip({f"{top}a.inter": INTER, f"{top}{member}": b"{}"}))
    assert said.startswith(f"member '{top}{member}' has a name that only actsr itself may write")
    assert list((tmp_path / "unpacked").iterdir()) == []


def test_members_of_the_stem_are_judged_by_the_name_that_they_get(tmp_path: Path) -> None:
    archive = make_zip({"source.inter": INTER, "source.json": b"{}"})
    assert unpack(tmp_path, archive) == {"yelp.inter": INTER, "yelp.json": b"{}"}


def test_a_name_cut_by_a_null_byte_is_refused(tmp_path: Path) -> None:
    archive = make_zip({"a.inter": INTER, "evil.item_": b"x"}).replace(b"evil.item_", b"evil.item\0")
    assert "control character" in refused(tmp_path, archive)


@pytest.mark.parametrize(
    ("mode", "words"),
    [
        (stat.S_IFLNK | 0o777, "is a link"),
        (stat.S_IFIFO | 0o644, "is neither a file nor a folder"),
        (stat.S_IFCHR | 0o644, "is neither a file nor a folder"),
    ],
)
def test_links_and_devices_are_refused(tmp_path: Path, mode: int, words: str) -> None:
    link = zipfile.ZipInfo("a.item")
    link.create_system, link.external_attr = 3, mode << 16
    archive = zip_entries((zipfile.ZipInfo("a.inter"), INTER), (link, b"/etc/passwd"))
    assert refused(tmp_path, archive) == f"member 'a.item' {words}"


def test_an_encrypted_member_is_refused(tmp_path: Path) -> None:
    archive = bytearray(make_zip({"a.inter": INTER}))
    archive[6] |= 1  # the flag in the local header
    central = archive.index(b"PK\x01\x02")
    archive[central + 8] |= 1  # and in the central directory
    assert refused(tmp_path, bytes(archive)) == "member 'a.inter' is encrypted"


@pytest.mark.parametrize(
    ("first", "second"), [("a.item", "a.item"), ("a.item", "folder/a.item"), ("read.me", "READ.me")]
)
def test_members_that_would_overwrite_each_other_are_refused(tmp_path: Path, first: str, second: str) -> None:
    entries = [(zipfile.ZipInfo(name), b"x") for name in ("a.inter", first, second)]
    assert refused(tmp_path, zip_entries(*entries)).startswith(f"duplicate member '{second}'")


@pytest.mark.parametrize(
    ("members", "words"),
    [
        ({"a/b/c.inter": INTER}, "member 'a/b/c.inter' lies deeper than one folder"),
        ({"a/a.inter": INTER, "b/a.item": ITEM}, "members lie in several folders: a, b"),
        ({"a.csv": b"x"}, "no .inter file in the archive; it holds a.csv"),
        ({}, "no .inter file in the archive; it holds nothing"),
        ({"a.inter": INTER, "b.inter": INTER}, "several .inter files in the archive: a.inter, b.inter"),
    ],
)
def test_an_archive_of_another_shape_is_refused(tmp_path: Path, members: dict[str, bytes], words: str) -> None:
    assert refused(tmp_path, make_zip(members)) == words


def test_a_bomb_is_refused_by_its_declared_size(tmp_path: Path) -> None:
    archive = make_zip({"a.inter": b"0" * 3_000_000})
    said = refused(tmp_path, archive, Limits(exempt=1_000_000))
    assert said.startswith("archive bomb: it would unpack to 3,000,000 bytes")
    assert list((tmp_path / "unpacked").iterdir()) == []
    assert len(archive) * 200 < 1_000_000, "the ratio alone would not have mattered"


def test_the_total_is_limited_whatever_the_ratio(tmp_path: Path) -> None:
    archive = make_zip({"a.inter": b"0123456789"}, zipfile.ZIP_STORED)
    assert unpack(tmp_path, archive, Limits(total=10)) == {"yelp.inter": b"0123456789"}
    (tmp_path / "unpacked" / "yelp.inter").unlink()
    assert "at most 9 are allowed" in refused(tmp_path, archive, Limits(total=9))


def test_a_bomb_whose_header_lies_is_stopped_while_unpacking(tmp_path: Path) -> None:
    honest = make_zip({"a.inter": b"0" * 3_000_000})
    archive = honest.replace(struct.pack("<I", 3_000_000), struct.pack("<I", 10))
    assert archive != honest
    assert "broken zip archive: member 'a.inter'" in refused(tmp_path, archive, Limits(exempt=1_000_000))
    assert sum(path.stat().st_size for path in (tmp_path / "unpacked").iterdir()) <= 10


def test_what_comes_out_is_counted_over_members(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A bomb is also detected without the declared sizes, by counting the bytes written."""
    monkeypatch.setattr("actsr_cli.data.archive._check_declared_size", lambda targets, allowed: None)
    archive = make_zip({"a.inter": b"0" * 600_000, "a.item": b"0" * 600_000})
    said = refused(tmp_path, archive, Limits(exempt=1_000_000))
    assert said == "archive bomb: member 'a.item' unpacks to more than is allowed"


def test_too_many_members_are_refused(tmp_path: Path) -> None:
    archive = make_zip({f"{number}.txt": b"" for number in range(5)} | {"a.inter": INTER})
    assert "6 members, at most 5" in refused(tmp_path, archive, Limits(members=5))
    assert len(unpack(tmp_path, archive, Limits(members=6))) == 6


def test_a_wrong_checksum_names_the_member(tmp_path: Path) -> None:
    archive = make_zip({"a.inter": INTER}, zipfile.ZIP_STORED).replace(b"u1\ti2", b"u9\ti2")
    assert "broken zip archive: member 'a.inter': Bad CRC-32" in refused(tmp_path, archive)


def test_an_unknown_compression_is_refused(tmp_path: Path) -> None:
    archive = bytearray(make_zip({"a.inter": INTER}))
    archive[8:10] = struct.pack("<H", 97)
    central = archive.index(b"PK\x01\x02")
    archive[central + 10 : central + 12] = struct.pack("<H", 97)
    assert "broken zip archive" in refused(tmp_path, bytes(archive))


@given(
    method=st.sampled_from([zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA]),
    edits=st.lists(st.tuples(st.integers(0, 600), st.binary(max_size=5)), min_size=1, max_size=4),
)
def test_damage_of_any_kind_is_an_archive_error_or_harmless(
    tmp_path_factory: pytest.TempPathFactory, method: int, edits: list[tuple[int, bytes]]
) -> None:
    damaged = make_zip({"a.inter": INTER, "a.item": ITEM}, method)
    for position, content in edits:
        position %= len(damaged)
        damaged = damaged[:position] + content + damaged[position + 2 :]
    folder = tmp_path_factory.mktemp("damage")
    with suppress(ArchiveError):
        unpack(folder, damaged)
    assert sorted(path.name for path in folder.iterdir()) == ["archive.zip", "unpacked"]


@given(cut=st.integers(0, 250), flips=st.lists(st.tuples(st.integers(0, 300), st.integers(1, 255)), max_size=3))
def test_damage_is_an_archive_error_or_harmless(
    tmp_path_factory: pytest.TempPathFactory, cut: int, flips: list[tuple[int, int]]
) -> None:
    damaged = bytearray(make_zip({"a.inter": INTER, "a.item": ITEM}))
    for position, mask in flips:
        damaged[position % len(damaged)] ^= mask
    folder = tmp_path_factory.mktemp("damage")
    try:
        files = unpack(folder, bytes(damaged[: len(damaged) - cut]))
    except ArchiveError:
        files = {"yelp.inter": INTER}
    assert sorted(path.name for path in folder.iterdir()) == ["archive.zip", "unpacked"]
    assert INTER in files.values()
