"""Fetching through package clients that are shell scripts: nothing here reaches the network."""

from __future__ import annotations

import dataclasses
import gzip
import hashlib
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from accord.data import packs
from accord.data.packs import build_pack, fetch_pack, load_pack, pack_info
from accord.data.packs.base import AptIndex, Archive, Client, Pack, Reject, Row
from accord.data.packs.describe import pack_text, packs_table
from accord.data.packs.fetch import fetch_folder
from accord.errors import DataError


def quiet(line: str) -> None: ...


def read_letters(folder: Path, reject: Reject) -> Iterator[Row]:
    for path in sorted(folder.rglob("*.letter")):
        yield {"id": path.stem, "concept": path.read_text()}


def letters(client: Client, archive: Path) -> Pack:
    """A pack of one archive."""
    data = archive.read_bytes()
    source = Archive(client, "letters", "1.2", len(data), hashlib.sha256(data).hexdigest())
    return Pack(
        name="letters",
        summary="letters",
        about="Letters.",
        licence="none",
        credit="nobody",
        origin="nowhere",
        sources=(source,),
        read=read_letters,
        schema={"id": "text", "concept": "text"},
        columns={"text": ("id",), "group": "concept"},
        expected_rows=2,
    )


@pytest.fixture
def deb(tmp_path: Path) -> Path:
    """What the fake ``dpkg-deb`` below takes for a package."""
    path = tmp_path / "letters_1.2_all.deb"
    path.write_bytes(b"a and b")
    return path


@pytest.fixture
def apt(deb: Path, make_client: Callable[[str, str], None]) -> Path:
    make_client("apt-get", f'[ "$*" = "download -qq letters=1.2" ] || exit 100\ncp "{deb}" .')
    make_client("dpkg-deb", 'mkdir -p "$3/usr"; echo a > "$3/usr/a.letter"; echo b > "$3/usr/b.letter"')
    return deb


def use(pack: Pack, monkeypatch: pytest.MonkeyPatch) -> Pack:
    monkeypatch.setattr(packs, "get_pack", lambda name: pack)
    return pack


def test_apt_pack_is_fetched_checked_built_and_loaded(apt: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pack = use(letters("apt", apt), monkeypatch)
    said: list[str] = []
    with pytest.raises(DataError, match="pack letters is not on this machine yet: accord data get letters"):
        load_pack("letters")
    assert fetch_pack("letters", say=said.append).rows == 2
    assert "letters_1.2_all.deb: size and checksum are right" in said
    rows, columns = load_pack("letters")
    assert rows["id"] == ["a", "b"]
    assert columns == {"text": ("id",), "group": "concept"}
    info = pack_info("letters")
    assert info["checked"]
    assert info["files"] == {apt.name: pack.sources[0].sha256}
    assert list(cache.iterdir()) == [cache / "letters.parquet"], "nothing unfinished is left behind"


def test_second_get_fetches_nothing_unless_forced(apt: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    use(letters("apt", apt), monkeypatch)
    first = fetch_pack("letters")
    said: list[str] = []
    assert fetch_pack("letters", say=said.append) == first
    assert said == [f"letters is here already: {first.path}"]
    fetch_pack("letters", force=True, say=said.append)
    assert any(line.startswith("fetching letters 1.2 (apt)") for line in said)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"size": 8}, r"letters 1\.2 \(apt\): letters_1\.2_all\.deb has 7 bytes, expected 8"),
        ({"sha256": "00"}, r"letters_1\.2_all\.deb has SHA-256 \w+, expected 00; the file is not the one"),
    ],
)
def test_archive_other_than_the_pinned_one_is_refused(
    apt: Path, cache: Path, monkeypatch: pytest.MonkeyPatch, change: dict, message: str
) -> None:
    pack = letters("apt", apt)
    use(dataclasses.replace(pack, sources=(dataclasses.replace(pack.sources[0], **change),)), monkeypatch)
    with pytest.raises(DataError, match=message):
        fetch_pack("letters")
    assert not cache.exists()


@pytest.mark.parametrize(
    ("client", "program", "remedy"),
    [("npm", "npm", "npm comes with Node.js"), ("apt", "apt-get", "belong to Debian, Ubuntu")],
)
def test_missing_client_is_named_with_what_to_do(
    deb: Path, make_client: Callable, tmp_path: Path, client: Client, program: str, remedy: str
) -> None:
    with pytest.raises(DataError) as caught:
        fetch_folder(letters(client, deb), tmp_path / "into", quiet)
    message = str(caught.value)
    assert message.startswith(f"pack letters comes through {program}, which is not on this machine: ")
    assert remedy in message
    assert message.endswith("unpack it into a folder, then run: accord data build letters FOLDER")


def test_missing_pip_is_named(deb: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("accord.data.packs.fetch.find_spec", lambda name: None)
    with pytest.raises(DataError, match=r"comes through pip, which is not on this machine: .*ensurepip"):
        fetch_folder(letters("pip", deb), tmp_path / "into", quiet)


def test_failing_client_is_quoted(deb: Path, make_client: Callable, tmp_path: Path) -> None:
    make_client("apt-get", "echo \"E: Version '1.2' for 'letters' was not found\" >&2; exit 100")
    make_client("dpkg-deb", "")
    with pytest.raises(DataError, match=r"apt-get download -qq letters=1\.2 failed \(E: Version '1\.2'"):
        fetch_folder(letters("apt", deb), tmp_path / "into", quiet)


def test_client_that_leaves_no_file_is_noticed(deb: Path, make_client: Callable, tmp_path: Path) -> None:
    make_client("npm", "exit 0")
    with pytest.raises(DataError, match=r"npm left 0 files for letters 1\.2 \(npm\), expected one"):
        fetch_folder(letters("npm", deb), tmp_path / "into", quiet)


def test_npm_archive_unpacks_below_node_modules_and_nowhere_else(
    make_client: Callable, npm_archive: Callable, tmp_path: Path
) -> None:
    archive = npm_archive({"package/x/a.letter": b"a", "package/../../evil.letter": b"e", "/evil.letter": b"e"})
    make_client("npm", f'[ "$*" = "pack --ignore-scripts --silent letters@1.2" ] || exit 1\ncp "{archive}" .')
    into = tmp_path / "into"
    fetched = fetch_folder(letters("npm", archive), into, quiet)
    assert list(fetched) == [archive.name]
    assert (into / "node_modules" / "letters" / "x" / "a.letter").read_bytes() == b"a"
    evil = [path.relative_to(tmp_path) for path in tmp_path.rglob("evil.letter")]
    assert evil == [Path("into/node_modules/letters/evil.letter")], "an absolute name loses its root"


def test_wheel_is_downloaded_by_this_pythons_pip(
    make_client: Callable, wheel: Callable, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    archive = wheel({"letters/a.letter": b"a"})
    make_client("python", f'[ "$2 $3 $4" = "pip download --no-deps" ] || exit 1\ncp "{archive}" .')
    monkeypatch.setattr(sys, "executable", str(tmp_path / "programs" / "python"))
    fetch_folder(letters("pip", archive), tmp_path / "into", quiet)
    assert (tmp_path / "into" / "letters" / "a.letter").read_bytes() == b"a"


APT_UPDATE = """
for part in "$@"; do case "$part" in
  Dir::State::lists=*) lists="${part#*=}" ;;
esac; done
echo "$@" | grep -q 'DEP-11::MetaKey=$(COMPONENT)/dep11/list' || exit 100
"""


@pytest.fixture
def index_pack(deb: Path) -> Pack:
    return dataclasses.replace(letters("apt", deb), sources=(AptIndex({"DEP-11": "dep11/list"}, 7),))


def test_apt_index_comes_into_a_state_folder_of_its_own(
    index_pack: Pack, make_client: Callable, tmp_path: Path
) -> None:
    make_client("apt-get", APT_UPDATE + 'echo x > "$lists/host_main_dep11_list.gz"; echo y > "$lists/host_InRelease"')
    fetched = fetch_folder(index_pack, tmp_path, quiet)
    assert fetched == {"host_main_dep11_list.gz": hashlib.sha256(b"x\n").hexdigest()}
    assert (tmp_path / "lists" / "host_main_dep11_list.gz").is_file()


def test_archive_without_the_index_is_named(index_pack: Pack, make_client: Callable, tmp_path: Path) -> None:
    make_client("apt-get", APT_UPDATE)
    with pytest.raises(DataError, match=r"apt sources offer no index targets DEP-11 \(apt\).*copy /var/lib/apt/lists/"):
        fetch_folder(index_pack, tmp_path, quiet)


def test_emoji_needs_no_fetching_and_no_building(tmp_path: Path) -> None:
    said: list[str] = []
    assert fetch_pack("emoji", force=True, say=said.append).rows == 3812
    assert said[0].startswith("emoji is here already")
    with pytest.raises(DataError, match="ships with Accord"):
        build_pack("emoji", tmp_path)


def test_folder_build_is_told_apart_from_a_checked_one(
    deb: Path, cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    use(letters("apt", deb), monkeypatch)
    assert "no: accord data get letters" in pack_text("letters")
    (tmp_path / "own").mkdir()
    (tmp_path / "own" / "a.letter").write_text("a")
    build_pack("letters", tmp_path / "own")
    assert "no: built from a folder of your own" in pack_text("letters")


def test_build_that_finds_no_row_is_refused(
    deb: Path, cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    use(letters("apt", deb), monkeypatch)
    with pytest.raises(DataError, match="no row to write"):
        build_pack("letters", tmp_path)


@pytest.mark.parametrize("content", [b"", b"PAR1 not really PAR1", gzip.compress(b"x", mtime=0)])
def test_foreign_file_in_the_cache_is_named(
    deb: Path, cache: Path, monkeypatch: pytest.MonkeyPatch, content: bytes
) -> None:
    use(letters("apt", deb), monkeypatch)
    cache.mkdir()
    (cache / "letters.parquet").write_bytes(content)
    with pytest.raises(DataError, match=r"letters\.parquet is not a pack built by Accord; delete it"):
        pack_info("letters")
    with pytest.raises(DataError, match=r"letters\.parquet is not a pack built by Accord; delete it"):
        load_pack("letters")


def test_pack_built_for_other_columns_must_be_built_again(
    apt: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pack = use(letters("apt", apt), monkeypatch)
    fetch_pack("letters")
    use(dataclasses.replace(pack, schema={**pack.schema, "extra": "text"}), monkeypatch)
    with pytest.raises(DataError, match="no column extra; build the pack again"):
        load_pack("letters")


def test_the_list_and_the_text_show_every_pack(cache: Path) -> None:
    assert packs_table().row_count == len(packs.available_packs())
    for name in packs.available_packs():
        text = pack_text(name)
        assert packs.get_pack(name).licence in text
        assert f"group = {packs.get_pack(name).columns['group']}" in text


@pytest.mark.parametrize("name", packs.available_packs())
def test_every_pack_is_pinned_licensed_and_grouped(name: str) -> None:
    pack = packs.get_pack(name)
    assert pack.name == name
    assert pack.columns["group"] in {"concept", "source", "name", "language", "word"}
    assert set(pack.columns["text"] or ()) <= set(pack.schema)
    assert {pack.columns[part] for part in ("image", "label", "group")} - {None} <= set(pack.schema)
    assert pack.licence
    assert pack.credit
    for source in pack.sources:
        assert source.size > 0
        assert isinstance(source, AptIndex) or len(source.sha256) == 64
