"""The folder readers of the fetched packs, on folders of a few files."""

from __future__ import annotations

import gzip
import io
import tarfile
import wave
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image

from accord.data.packs import apps, build_pack, clipart, load_pack, prompts, stamps
from accord.data.packs.files import MAX_PIXELS, linked_groups, picture
from accord.errors import DataError

Write = Callable[[Path, bytes | str], Path]
Png = Callable[..., bytes]


def ignore(name: str, reason: str) -> None: ...


def refuse(name: str, reason: str) -> None:
    raise AssertionError(f"{name}: {reason}")


@pytest.fixture
def stamp_folder(tmp_path: Path, png: Png, write: Write) -> Path:
    root = tmp_path / "unpacked" / "usr" / "share" / "tuxpaint" / "stamps"
    write(root / "animals" / "birds" / "duck.png", png())
    write(root / "animals" / "birds" / "duck.txt", "A duck.\nfr.utf8=Un canard.\nde.utf8=Eine Ente.\nxx\n")
    write(root / "animals" / "birds" / "duck_desc_fr.ogg", b"OggS speech")
    write(root / "animals" / "duck2.png", png((700, 350)))
    write(root / "animals" / "duck2.txt", "a duck\n")
    write(root / "animals" / "no_words.png", png())
    return tmp_path / "unpacked"


def test_stamps_have_captions_speech_classes_and_a_concept(stamp_folder: Path) -> None:
    small, large = list(stamps.read(stamp_folder, refuse))
    assert small["id"] == "animals/birds/duck"
    assert (small["caption"], small["caption_fr"], small["caption_ru"]) == ("A duck.", "Un canard.", None)
    assert small["speech_fr"] == {"bytes": b"OggS speech", "path": "duck_desc_fr.ogg"}
    assert small["speech_es"] is None
    assert (small["folder"], small["subfolder"]) == ("animals", "animals/birds")
    assert small["concept"] == large["concept"] == "a duck"
    assert set(small) == set(stamps.PACK.schema)
    assert Image.open(io.BytesIO(large["image"]["bytes"])).size == (512, 256)


def test_stamp_with_an_empty_caption_is_rejected(stamp_folder: Path) -> None:
    words = next(stamp_folder.rglob("duck.txt"))
    words.write_text("\n")
    rejected = []
    assert len(list(stamps.read(stamp_folder, lambda name, reason: rejected.append(reason)))) == 1
    assert "the caption is empty" in rejected[0]


def test_folder_without_stamps_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="holds no stamp"):
        list(stamps.read(tmp_path, ignore))
    with pytest.raises(DataError, match="is not a folder"):
        list(stamps.read(tmp_path / "absent", ignore))


def test_built_stamps_load_with_sounds_and_empty_cells(stamp_folder: Path, cache: Path) -> None:
    built = build_pack("stamps", stamp_folder)
    assert (built.rows, built.path) == (2, cache / "stamps.parquet")
    rows, columns = load_pack("stamps")
    assert rows[0]["speech_fr"]["bytes"] == b"OggS speech"
    assert rows[1]["speech_fr"] is None
    assert columns["audio"] is None


def test_clip_art_counts_a_linked_picture_once(tmp_path: Path, png: Png, write: Write) -> None:
    root = tmp_path / "usr" / "share" / "openclipart" / "png"
    real = write(root / "food" / "fruit" / "red_apple_jane_doe_02.png", png((300, 30)))
    (root / "animals").mkdir()
    (root / "animals" / "apple.png").symlink_to(real)
    write(root / "unsorted" / "thing.png", png())
    outside = write(tmp_path / "outside.png", png())
    (root / "tools").mkdir()
    (root / "tools" / "trap.png").symlink_to(outside)
    [row] = list(clipart.read(tmp_path, refuse))
    assert row["id"] == "food/fruit/red_apple_jane_doe_02"
    assert row["name"] == row["concept"] == "red apple jane doe"
    assert (row["folder"], row["folders"]) == ("food", ["animals", "food"])
    assert Image.open(io.BytesIO(row["image"]["bytes"])).width == clipart.LONGEST
    assert set(row) == set(clipart.PACK.schema)


def test_clip_art_series_share_a_concept(tmp_path: Path, png: Png, write: Write) -> None:
    for name in ("cone1_bw_ganson", "cone2_ganson"):
        write(tmp_path / "food" / f"{name}.png", png())
    assert {row["concept"] for row in clipart.read(tmp_path, refuse)} == {"cone ganson"}


def test_folder_without_clip_art_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="holds no picture below any of the folders animals"):
        list(clipart.read(tmp_path, ignore))


def spoken(samples: int = 80) -> bytes:
    """A recording as the packages hold it."""
    buffer = io.BytesIO()
    with wave.open(buffer, "wb") as sound:
        sound.setnchannels(1)
        sound.setsampwidth(2)
        sound.setframerate(8000)
        sound.writeframes(b"\x01\x00" * samples)
    return buffer.getvalue()


@pytest.fixture
def prompt_folder(tmp_path: Path, write: Write) -> Path:
    root = tmp_path / "unpacked" / "usr" / "share" / "asterisk" / "sounds"
    for voice in (prompts.VOICES["en"], prompts.VOICES["fr"]):
        for name in ("digits/7", "vm-tempgreeting2", "silence/3", "beep", "tt-monkeys"):
            write(root / voice / f"{name}.wav", spoken())
    write(root / prompts.VOICES["ru"] / "digits" / "7.wav", spoken(0))
    write(root / prompts.VOICES["it"] / "digits" / "ore-una.wav", b"RIFF of nothing")
    write(root / prompts.VOICES["es"] / "letters" / "ascii44.wav", spoken())
    write(root / "de_DE_f_Nobody" / "hello.wav", spoken())
    return tmp_path / "unpacked"


def test_a_prompt_is_one_row_in_all_its_languages(prompt_folder: Path) -> None:
    seven, comma, greeting = list(prompts.read(prompt_folder, ignore))
    assert seven["speech_en"] == {"bytes": spoken(), "path": "en_US_f_Allison/digits/7.wav"}
    assert seven["speech_fr"] is not None
    assert seven["speech_es"] is None
    assert (seven["id"], seven["text"], seven["category"]) == ("digits/7", "seven", "number")
    assert (comma["text"], comma["category"]) == ("comma", "symbol")
    assert (greeting["text"], greeting["concept"]) == ("vm tempgreeting2", "vm tempgreeting")
    assert set(seven) == set(prompts.PACK.schema)


def test_a_recording_without_samples_or_that_is_none_is_rejected_in_its_language_only(prompt_folder: Path) -> None:
    rejected = {}
    rows = list(prompts.read(prompt_folder, rejected.__setitem__))
    assert rejected["ru_RU_f_IvrvoiceRU/digits/7.wav"] == "no samples: the recording is empty"
    assert "not a WAV file" in rejected["it_IT_m_Carlo/digits/ore-una.wav"]
    assert rows[0]["speech_ru"] is None
    assert "digits/ore-una" not in [row["id"] for row in rows]


@pytest.mark.parametrize(
    ("name", "words", "category"),
    [
        ("digits/0", "zero", "number"),
        ("digits/300", "three hundred", "number"),
        ("digits/100-and", "one hundred and", "number"),
        ("digits/h-12", "twelfth", "ordinal number"),
        ("digits/h-90", "ninetieth", "ordinal number"),
        ("digits/h-thousand", "thousandth", "ordinal number"),
        ("digits/mon-11", "december", "month"),
        ("digits/ore-1900", "ore 1900", "time"),
        ("digits/pound", "pound", "symbol"),
        ("letters/zed", "zed", "letter"),
        ("letters/at", "at", "symbol"),
        ("phonetic/k_p2", "kilo", "spelling alphabet"),
        ("phonetic/9_p", "9", "spelling alphabet"),
        ("followme/pls-hold-while-try", "pls hold while try", "call forwarding"),
        ("confbridge-pin", "confbridge pin", "conference"),
        ("for", "for", prompts.OTHER),
    ],
)
def test_a_file_name_is_read_as_words_and_a_category(name: str, words: str, category: str) -> None:
    assert (prompts.words_of(name), prompts.category_of(name)) == (words, category)


def test_folder_without_prompts_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"holds no recording .* en_US_f_Allison, es_MX_f_Allison"):
        list(prompts.read(tmp_path, ignore))


COMPONENTS = """\
---
File: DEP-11
Origin: somewhere
---
ID: org.chess
Package: chess
Name: {C: Chess, de: Schach}
Summary: {C: Play chess}
Description: {C: "<p>A game &amp; more.</p>"}
Keywords: {C: [board, 64]}
Categories: [Qt, Game, Utility]
Icon: {cached: [{name: chess.png, width: 48, height: 48}, {name: chess.png, width: 64, height: 64}]}
---
ID: org.chess.server
Package: chess-server
Summary: {C: Serve chess}
Icon: {cached: [{name: chess.png, width: 64, height: 64}]}
---
ID: org.other
Package: other
Summary: {C: Something else}
Icon: {cached: [{name: other.png, width: 64, height: 64}]}
---
ID: org.no-icon
Summary: {C: Nothing to see}
---
ID: org.no-words
Icon: {cached: [{name: other.png, width: 64, height: 64}]}
"""


@pytest.fixture
def app_folder(tmp_path: Path, png: Png, write: Write) -> Path:
    folder = tmp_path / "lists"
    write(folder / "archive_main_dep11_Components-amd64.yml.gz", gzip.compress(COMPONENTS.encode()))
    with tarfile.open(folder / "archive_main_dep11_icons-64x64.tar.gz", "w:gz") as archive:
        for name, colour in (("chess.png", (0, 0, 0, 255)), ("./other.png", (9, 9, 9, 255))):
            data = png((64, 64), colour)
            member = tarfile.TarInfo(name)
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))
    return folder


def test_apps_join_lists_and_icons(app_folder: Path) -> None:
    chess, server, other = list(apps.read(app_folder, refuse))
    assert (chess["name"], chess["summary"], chess["description"]) == ("Chess", "Play chess", "A game & more.")
    assert (chess["keywords"], chess["category"]) == (["board", "64"], "Game")
    assert chess["categories"] == ["Game", "Utility"]
    assert (server["name"], server["description"], server["category"]) == ("org.chess.server", None, "Other")
    assert chess["concept"] == server["concept"] != other["concept"], "one icon, so one side of a split"
    assert set(chess) == set(apps.PACK.schema)


def test_apps_read_what_a_system_has_unpacked(app_folder: Path, png: Png, write: Write) -> None:
    for path in app_folder.iterdir():
        path.unlink()
    write(app_folder / "yaml" / "debian_Components-amd64.yml", COMPONENTS)
    write(app_folder / "icons" / "debian" / "64x64" / "other.png", png())
    assert [row["id"] for row in apps.read(app_folder, refuse)] == ["org.other"]


def test_apps_reject_a_broken_icon(app_folder: Path, write: Write) -> None:
    next(app_folder.glob("*.tar.gz")).unlink()
    write(app_folder / "64x64" / "other.png", b"not a picture")
    rejected = []
    assert list(apps.read(app_folder, lambda name, reason: rejected.append(name))) == []
    assert rejected == ["other.png"]


@pytest.mark.parametrize(
    ("pattern", "content", "message"),
    [
        ("*.yml.gz", None, r"holds no \*Components"),
        ("*.tar.gz", None, r"holds no \*icons-64x64"),
        ("*.yml.gz", b"\x1f\x8b broken", r"Components-amd64\.yml\.gz cannot be read"),
        ("*.yml.gz", gzip.compress(b"a: [1\n---\n", mtime=0), r"Components-amd64\.yml\.gz cannot be read"),
        ("*.tar.gz", b"no archive", r"icons-64x64\.tar\.gz cannot be read"),
    ],
)
def test_apps_name_the_file_that_is_missing_or_broken(
    app_folder: Path, pattern: str, content: bytes | None, message: str
) -> None:
    path = next(app_folder.glob(pattern))
    if content is None:
        path.unlink()
    else:
        path.write_bytes(content)
    with pytest.raises(DataError, match=message):
        list(apps.read(app_folder, ignore))


def test_list_with_executable_yaml_is_not_obeyed(app_folder: Path) -> None:
    path = next(app_folder.glob("*.yml.gz"))
    path.write_bytes(gzip.compress(b"ID: !!python/object/apply:os.getcwd []\n", mtime=0))
    with pytest.raises(DataError, match="cannot be read"):
        list(apps.read(app_folder, ignore))


def test_build_stops_when_a_fifth_of_the_files_is_broken(stamp_folder: Path, cache: Path) -> None:
    next(stamp_folder.rglob("duck.png")).write_bytes(b"")
    with pytest.raises(DataError, match=r"pack stamps: 1 of 2 files cannot be used, the first is animals/birds/duck"):
        build_pack("stamps", stamp_folder)
    assert not (cache / "stamps.parquet").exists()


def test_small_picture_keeps_its_bytes_and_a_large_one_its_colour(png: Png) -> None:
    small = png()
    assert picture(small, "a.png", 16) is small
    reduced = Image.open(io.BytesIO(picture(png((64, 32), (250, 0, 0, 128)), "b.png", 16)))
    assert (reduced.size, reduced.format) == ((16, 8), "PNG")
    red, green, blue, alpha = reduced.convert("RGBA").getpixel((8, 4))
    assert red >= 248
    assert (green, blue, alpha) == (0, 0, 128)


@pytest.mark.parametrize("data", [b"", b"GIF89a", b"\x89PNG\r\n\x1a\n" + b"\x00" * 30])
def test_undecodable_picture_is_a_data_error(data: bytes) -> None:
    with pytest.raises(DataError, match=r"x\.png: cannot be decoded"):
        picture(data, "x.png", 16)


def test_picture_bomb_is_refused_before_it_is_decoded() -> None:
    side = int(MAX_PIXELS**0.5) + 2
    buffer = io.BytesIO()
    Image.new("1", (side, side)).save(buffer, "PNG")
    with pytest.raises(DataError, match=r"bomb\.png: 7,?073 x 7,?073 pixels"):
        picture(buffer.getvalue(), "bomb.png", 16)


def test_linked_groups_join_through_a_third_row() -> None:
    assert linked_groups([["a"], ["b"], ["c"], ["a", "b"]]) == [0, 0, 2, 0]
    assert linked_groups([]) == []
