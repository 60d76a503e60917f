"""Stories: what they say happens is what is seen and heard, when they say so; the twin is the same frames backwards."""

from __future__ import annotations

import io
import json
import wave
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from accord.cli import app
from accord.data.corpus import Corpus, corpus_from_items, open_corpus
from accord.data.inputs import AudioInput, ImageInput, VideoInput
from accord.data.loading.loader import eval_loader
from accord.data.making.actions import ACTIONS, REVERSE
from accord.data.making.compose import Sprite
from accord.data.making.sounds import RATE, sounds_of, tones
from accord.data.making.stories import Story, tell, write_stories
from accord.data.reading.video import read_video
from accord.encoders import build_encoder
from accord.errors import ConfigError, DataError

GREY = [Image.new("RGB", (64, 64), (128, 128, 128))]
SIDE = 48


def flag(width: int = 24, height: int = 16) -> Image.Image:
    """Red on its left, blue on its right: which way it is turned can be seen."""
    picture = Image.new("RGBA", (width, height), (250, 0, 0, 255))
    picture.paste((0, 0, 250, 255), (width // 2, 0, width, height))
    return picture


@pytest.fixture
def sprites() -> list[Sprite]:
    return [Sprite(flag(), "A flag.", 0), Sprite(flag(20, 20), "a tile", 1), Sprite(flag(30, 12), "the bar", 2)]


@pytest.fixture
def many(sprites: list[Sprite]) -> list[Story]:
    """Stories in which every action occurs."""
    found = [tell(sprites, GREY, seed=seed, side=SIDE, scenes=(4, 4), repeats=0.4) for seed in range(12)]
    assert {one.action for story in found for one in story.moments} == set(ACTIONS)
    return found


def pixels(story: Story) -> np.ndarray:
    return np.stack([np.asarray(frame) for frame in story.frames]).astype(int)  # (T, S, S, 3)


def test_the_twin_has_the_same_frames_in_the_opposite_order_and_the_opposite_happens(many: list[Story]) -> None:
    for story in many:
        twin = story.backwards()
        assert (pixels(twin) == pixels(story)[::-1]).all()
        assert [one.action for one in twin.moments] == [REVERSE[one.action] for one in reversed(story.moments)]
        mirrored = [[story.duration - end, story.duration - start] for start, end in reversed(story.spans)]
        np.testing.assert_allclose(twin.spans, mirrored, atol=1e-3)
        assert twin.backwards() == story


def test_spans_are_when_something_moves_and_between_them_only_things_change_places(many: list[Story]) -> None:
    for story in many:
        seen = pixels(story)
        changed = (np.abs(np.diff(seen, axis=0)).max(axis=(1, 2, 3)) > 0).tolist()  # between frame t and t + 1
        expected = [False] * len(changed)
        for (start, end), one in zip(story.spans, story.moments, strict=True):
            first, after = round(start * story.fps), round(end * story.fps)
            assert (first, after) == (one.first, one.first + one.frames)
            expected[first - 1 : after] = [True] * (after - first + 1)
        assert all(is_there for is_there, said in zip(changed, expected, strict=True) if said)
        cuts = sum(is_there and not said for is_there, said in zip(changed, expected, strict=True))
        assert cuts <= len(story.moments) - 1, "one between two scenes, if it is seen"
        labels = np.array(story.frame_labels)
        assert len(labels) == len(seen)
        assert (labels > 0).sum() == sum(one.frames for one in story.moments)


def middle(part: np.ndarray) -> np.ndarray:
    ys, xs = np.nonzero(part)
    return np.array([xs.mean(), ys.mean()])


def test_what_is_said_is_what_is_seen(many: list[Story]) -> None:
    for story in many:
        seen = pixels(story)
        visible = np.abs(seen - 128).max(axis=3) > 40
        for one in story.moments:
            first, last = one.first - 1, one.first + one.frames  # at rest
            sizes = visible[first].sum(), visible[last].sum()
            if one.action in ("left", "right", "up", "down"):
                x, y = middle(visible[last]) - middle(visible[first])
                way = {"left": -x, "right": x, "up": -y, "down": y}[one.action]
                assert way > 0.3 * SIDE
                assert abs(x) + abs(y) < way + 1, "straight"
            elif one.action in ("grow", "shrink"):
                assert (sizes[0] < sizes[1] / 2) == (one.action == "grow")
                assert (sizes[1] < sizes[0] / 2) == (one.action == "shrink")
            elif one.action in ("appear", "leave"):
                assert (sizes[0] == 0) == (one.action == "appear")
                assert (sizes[1] == 0) == (one.action == "leave")
            elif one.action in ("meet", "part"):
                gaps = [np.ptp(np.nonzero(visible[at])[1]) for at in (first, last)]
                assert (gaps[0] > gaps[1] + 0.25 * SIDE) == (one.action == "meet")
                assert len(one.names) == 2
            else:
                angles = [
                    np.arctan2(*(middle(shot[..., 2] > shot[..., 0] + 80) - middle(shot[..., 0] > shot[..., 2] + 80)))
                    for shot in seen[first : last + 1]
                ]
                turned = np.diff(np.unwrap(angles)).sum()  # arctan2(x, y), y down: clockwise is negative
                assert (turned < -1.2) == (one.action == "clockwise")
                assert (turned > 1.2) == (one.action == "anticlockwise")


def test_sentences_name_the_things_and_repeats_say_the_same_again(sprites: list[Sprite]) -> None:
    story = tell(sprites, seed=2, side=32, scenes=(8, 8), repeats=1.0)
    texts = [one.text for one in story.moments]
    assert set(texts) <= set(texts[:2])
    assert all(texts[n] in texts[: n - 1] for n in range(2, 8)), "of an earlier scene, and not the one just before"
    assert story.caption == ", then ".join(texts)
    assert any(text.startswith(("the flag ", "the tile ", "the bar ")) for text in texts)
    once = [one.text for one in tell(sprites, seed=2, side=32, scenes=(3, 3)).moments]
    assert len(set(once)) == 3


def test_gaps_actions_and_scenes_keep_to_their_ranges(sprites: list[Sprite]) -> None:
    for seed in range(10):
        story = tell(sprites, seed=seed, side=16, scenes=(2, 3), fps=10, lasts=(0.5, 1.0), gap=(0.4, 0.8))
        assert 2 <= len(story.moments) <= 3
        lengths = [end - start for start, end in story.spans]
        assert 0.5 - 1e-6 <= min(lengths) <= max(lengths) <= 1.0 + 1e-6
        gaps = [later[0] - sooner[1] for sooner, later in zip(story.spans, story.spans[1:], strict=False)]
        assert 0.4 - 1e-6 <= min(gaps) <= max(gaps) <= 0.8 + 1e-6


def test_a_sound_begins_after_its_action_by_the_lag(sprites: list[Sprite], tmp_path: Path) -> None:
    out = write_stories(
        tmp_path / "out", sprites, count=1, side=16, sounds=tones(), lag=(0.25, 0.25), film="frames", gap=(1.0, 1.5)
    )
    for line in (out / "metadata.jsonl").read_text().splitlines():
        row = json.loads(line)
        with wave.open(str(out / row["audio"])) as file:
            assert file.getframerate() == RATE
            samples = np.frombuffer(file.readframes(file.getnframes()), dtype="<i2")
        assert len(samples) == round(row["duration"] * RATE)
        loud = np.abs(samples) > 300
        for (start, end), (heard, silent), action in zip(row["moments"], row["sounds"], row["action"], strict=True):
            assert heard == pytest.approx(start + 0.25, abs=1e-3)
            assert silent == pytest.approx(min(end + 0.25, row["duration"]), abs=1e-3)
            first = int((start - 0.1) * RATE) + int(loud[int((start - 0.1) * RATE) :].argmax())
            assert first / RATE == pytest.approx(start + 0.25, abs=0.01), "nothing is heard before"
            part = samples[round(heard * RATE) : round(silent * RATE)].astype(float)
            pitch = np.abs(np.fft.rfft(part)).argmax() * RATE / len(part)
            assert pitch == pytest.approx(250 * 2 ** (list(ACTIONS).index(action) / 4), abs=2)


def recording(pitch: float) -> bytes:
    stream = io.BytesIO()
    soundfile = pytest.importorskip("soundfile")
    soundfile.write(stream, 0.5 * np.sin(2 * np.pi * pitch * np.arange(4000) / 8000), 8000, format="WAV")
    return stream.getvalue()


def test_recordings_are_taken_by_class_or_one_for_each_action(tmp_path: Path) -> None:
    for name in ("left", "grow", "rain"):
        (tmp_path / "named" / name).mkdir(parents=True)
        (tmp_path / "named" / name / "a.wav").write_bytes(recording(440))
        (tmp_path / "named" / name / "b.wav").write_bytes(recording(220))
    named = sounds_of(open_corpus(tmp_path / "named", quiet=True))
    assert {action: len(waves) for action, waves in named.items()} == {"left": 2, "grow": 2}
    assert len(named["left"][0]) == RATE // 2
    plain = corpus_from_items("audio", [recording(200 + 10 * n) for n in range(13)])
    assert set(sounds_of(plain)) == set(ACTIONS)
    with pytest.raises(DataError, match="2 recordings for 12 actions"):
        sounds_of(corpus_from_items("audio", [recording(200), recording(300)]))
    with pytest.raises(DataError, match="no recordings"):
        sounds_of(corpus_from_items("image", [flag()]))


@pytest.mark.parametrize("film", ["mp4", "webm", "frames"])
def test_a_written_folder_opens_and_its_twins_are_exact_and_in_one_group(
    sprites: list[Sprite], tmp_path: Path, film: str
) -> None:
    if film != "frames":
        pytest.importorskip("av")
    out = write_stories(tmp_path / "out", sprites, count=2, side=32, sounds=tones(), film=film, scenes=(2, 3))
    corpus = open_corpus(out, quiet=True)
    assert len(corpus) == 4
    assert not corpus.left_out
    assert corpus.columns.video == "video"
    assert corpus.columns.audio == "audio"
    assert corpus.columns.text == ("caption",)
    groups = corpus.groups()
    assert groups is not None
    assert groups[0] == groups[1] != groups[2] == groups[3]
    rows = [json.loads(line) for line in (out / "metadata.jsonl").read_text().splitlines()]
    assert [row["reverse_of"] for row in rows] == ["00001", "00000", "00003", "00002"]
    clips = [read_video(row["video"], out, rate=8.0) for row in rows]
    for one, other in ((0, 1), (2, 3)):
        forth, back = (np.stack([np.asarray(frame) for frame in clips[at]]) for at in (one, other))
        assert (forth == back[::-1]).all()
        assert rows[one]["thing"] == rows[other]["thing"][::-1]
    for row, clip in zip(rows, clips, strict=True):
        assert len(clip) == round(row["duration"] * 8) == len(row["frame_labels"])
        assert clip.timeline.seconds == pytest.approx(np.arange(len(clip)) / 8)
    assert json.loads((out / "actions.json").read_text()) == ["nothing", *ACTIONS]


def test_moments_of_a_written_folder_come_in_batches(sprites: list[Sprite], tmp_path: Path) -> None:
    out = write_stories(tmp_path / "out", sprites, count=3, side=16, sounds=tones(), film="frames", scenes=(1, 3))
    corpus: Corpus = open_corpus(out, quiet=True, wanted=("moments", "moment_text", "duration"))
    assert corpus.columns.moments == "moments"
    specs = {"video": VideoInput(ImageInput(size=16), frames=4, rate=8.0), "audio": AudioInput()}
    loader = eval_loader(corpus, specs, batch_size=6, targets=("moments",))
    batch = next(iter(loader))
    rows = [json.loads(line) for line in (out / "metadata.jsonl").read_text().splitlines()]
    for number, row in enumerate(rows):
        count = len(row["moments"])
        assert batch["moment_present"][number].sum() == count
        np.testing.assert_allclose(batch["moments"][number, :count], row["moments"], atol=1e-4)
        assert batch["moment_text"][number][:count] == row["moment_text"]
        assert batch["duration"][number].item() == pytest.approx(row["duration"], abs=1e-3)
        assert batch["video_times"][number].max() < row["duration"]


def test_a_story_depends_on_the_seed_and_its_number_alone(sprites: list[Sprite], tmp_path: Path) -> None:
    options = {"side": 16, "sounds": tones(), "film": "frames", "scenes": (1, 2)}
    short = write_stories(tmp_path / "short", sprites, count=1, seed=7, **options)
    long = write_stories(tmp_path / "long", sprites, count=2, seed=7, **options)
    other = write_stories(tmp_path / "other", sprites, count=1, seed=8, **options)
    lines = [(folder / "metadata.jsonl").read_text().splitlines() for folder in (short, long, other)]
    assert lines[0] == lines[1][:2]
    assert lines[0] != lines[2]
    for path in ("clips/00001/0003.png", "sounds/00001.wav"):
        assert (short / path).read_bytes() == (long / path).read_bytes()


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"scenes": (0, 2)}, "scenes"),
        ({"scale": (0.2, 0.9)}, "scale"),
        ({"fps": 0}, "fps"),
        ({"lasts": (2.0, 1.0)}, "lasts"),
        ({"gap": (-1.0, 1.0)}, "gap"),
        ({"repeats": 1.5}, "repeats"),
    ],
)
def test_ranges_are_checked(sprites: list[Sprite], options: dict[str, object], reason: str) -> None:
    with pytest.raises(ConfigError, match=reason):
        tell(sprites, seed=0, **options)  # type: ignore[arg-type]


def test_what_cannot_be_written_is_said_before_and_leaves_nothing(sprites: list[Sprite], tmp_path: Path) -> None:
    for options, reason in (({"film": "gif"}, "film = 'gif'"), ({"lag": (1.0, 0.5)}, "lag"), ({"side": 17}, "even")):
        with pytest.raises(ConfigError, match=reason):
            write_stories(tmp_path / "out", sprites, count=1, **({"film": "mp4"} | options))  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="repeats"):
        write_stories(tmp_path / "out", sprites, count=1, film="frames", repeats=2.0)
    assert not list(tmp_path.iterdir())


def test_stories_are_told_from_the_command_line(tmp_path: Path) -> None:
    (tmp_path / "things").mkdir()
    for name in ("flag", "bar"):
        flag().rotate(20, expand=True).save(tmp_path / "things" / f"{name}.png")
    base = ["data", "compose", str(tmp_path / "things")]
    told = CliRunner().invoke(app, [*base, str(tmp_path / "out"), "--stories", "2", "--side", "16", "--film", "frames"])
    assert told.exit_code == 0, told.output
    assert "2 stories of 2 things, and each backwards" in told.output
    assert len((tmp_path / "out" / "metadata.jsonl").read_text().splitlines()) == 4
    assert (tmp_path / "out" / "sounds" / "00003.wav").is_file()
    for options, words in (
        (["--stories", "2", "--things", "1", "2"], "--things: an option of scenes"),
        (["--fps", "4", "--lag", "0", "1"], "--fps, --lag: an option of stories: add --stories N"),
    ):
        refused = CliRunner().invoke(app, [*base, str(tmp_path / "other"), *options])
        assert refused.exit_code != 0
        assert words in f"{refused.output}{refused.exception}"


@pytest.mark.parametrize("name", ["frames:tiny_convnet", "cross_frame"])
def test_an_encoder_can_be_told_how_fast_a_folder_of_frames_is(
    sprites: list[Sprite], tmp_path: Path, name: str
) -> None:
    out = write_stories(tmp_path / "out", sprites, count=1, side=16, film="frames", scenes=(1, 1), fps=5)
    encoder = build_encoder("video", {"name": name, "rate": 5.0})
    clip = open_corpus(out, quiet=True).sample(0, inputs={"video": encoder.input})["video"]
    assert clip.timeline.seconds == pytest.approx([position / 5 for position in clip.timeline.positions])
    assert build_encoder("video", encoder.spec(), weights=False).input == encoder.input
