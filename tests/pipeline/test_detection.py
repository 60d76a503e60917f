"""When something happens: the verb on files, on rows, and what it refuses."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from typer.testing import CliRunner, Result

import accord
from accord.cli import app
from accord.data.corpus import corpus_from_fields
from accord.errors import ConfigError, DataError
from accord.methods.abilities import Timeline
from accord.methods.timelines import intervals_above, spans_of
from accord.pipeline.detection import Detected
from accord.pipeline.detection.figure import draw_timelines

BAGS, STEPS = 24, 12


def accord_cli(*words: object) -> Result:
    """What a command line gives."""
    return CliRunner(env={"COLUMNS": "200", "TERM": "dumb"}).invoke(app, [str(word) for word in words])


@pytest.fixture(scope="module")
def bags(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Rows of two streams; in every other one something is seen from step 4 to 7 and heard at the same time."""
    folder, random = tmp_path_factory.mktemp("bags"), np.random.default_rng(0)
    lines = []
    for row in range(BAGS):
        seen, heard = random.standard_normal((STEPS, 4)), random.standard_normal((STEPS, 3))
        if row % 2:
            seen[4:7, 0] += 6
            heard[4:7, 0] += 6
        np.save(folder / f"{row}.npy", seen.astype(np.float32))
        np.save(folder / f"{row}-sound.npy", heard.astype(np.float32))
        said = {"label": ("normal", "fight")[row % 2], "moments": [[2.0, 3.5]] if row % 2 else [], "duration": 6.0}
        lines.append(json.dumps({"pictures": f"{row}.npy", "sounds": f"{row}-sound.npy", **said}))
    (folder / "recordings.jsonl").write_text("\n".join(lines))
    return folder


@pytest.fixture(scope="module")
def run(bags: Path) -> Path:
    """A run that was trained on the command line."""
    call = ["train", bags / "recordings.jsonl", "--method", "macil_sd", "--sequence", "pictures", "--label", "label"]
    call += ["--second-sequence", "sounds", "--moments", "moments", "--duration", "duration", "--out", bags / "run"]
    sets = {
        **dict.fromkeys(("method.background_weight", "method.normal_weight"), 0.05),
        "method.dim": 16,
        "method.dropout": 0,
        "method.ratio": 6,
        "training.lr": 0.01,
        "encoders.sequence.options.seconds_per_step": 0.5,
    }
    call += ["--epochs", "30", "--batch-size", "18"]
    call += [part for name, value in sets.items() for part in ("--set", f"{name}={value}")]
    result = accord_cli(*call)
    assert result.exit_code == 0, result.output
    assert "events: AP" in result.stdout
    return bags / "run"


def test_training_finds_when_from_labels_of_whole_recordings(run: Path) -> None:
    ap = json.loads((run / "metrics.json").read_text())["events: AP"]
    assert ap["value"] > 3 * ap["chance"]


def test_the_command_says_when_in_files_and_draws_it(run: Path, bags: Path, tmp_path: Path) -> None:
    out, figure = tmp_path / "moments.jsonl", tmp_path / "lines.png"
    call = ["detect-moments", run, bags / "1.npy", bags / "2.npy", "--out", out, "--figure", figure]
    call += [part for row in (1, 2) for part in ("--with", f"second_sequence={bags / f'{row}-sound.npy'}")]
    result = accord_cli(*call)
    assert result.exit_code == 0, result.output
    lines = [line.split() for line in result.stdout.splitlines()]
    assert any(line[:3] == [str(bags / "1.npy"), "0:02.00", "0:03.50"] for line in lines), result.stdout
    first, second = (json.loads(line) for line in out.read_text().splitlines())
    assert first["event"] == "fight"
    assert first["intervals"][0]["start"] == 2.0
    assert second["intervals"] == []
    assert len(first["scores"]) == len(first["spans"]) == len(first["streams"]["second_sequence"]) == STEPS
    assert Image.open(figure).size[0] > 500


def test_rows_give_what_files_give_and_every_step_of_a_long_one_is_scored(
    run: Path, bags: Path, tmp_path: Path
) -> None:
    rows = accord.detect_moments(
        run, bags / "recordings.jsonl", columns={"sequence": "pictures", "second_sequence": "sounds"}
    )
    (alone,) = accord.detect_moments(run, bags / "3.npy", beside={"second_sequence": bags / "3-sound.npy"})
    assert len(rows) == BAGS
    torch.testing.assert_close(rows[3].timeline.scores, alone.timeline.scores)
    long = [tmp_path / f"{name}.npy" for name in ("seen", "heard")]
    for path, width in zip(long, (4, 3), strict=True):
        np.save(path, np.zeros((350, width), dtype=np.float32))
    (found,) = accord.detect_moments(run, long[0], beside={"second_sequence": long[1]})
    assert found.timeline.spans[-1].tolist() == [174.5, 175.0]


def test_a_file_that_cannot_be_read_is_left_out_and_said(run: Path, bags: Path, tmp_path: Path, capsys) -> None:
    (tmp_path / "broken.npy").write_bytes(b"nothing")
    beside = {"second_sequence": [bags / "1-sound.npy"] * 2}
    (found,) = accord.detect_moments(run, [tmp_path / "broken.npy", bags / "1.npy"], beside=beside)
    assert found.file == str(bags / "1.npy")
    assert "broken.npy left out: not a .npy file" in capsys.readouterr().err


def test_what_is_wrong_is_one_sentence(run: Path, bags: Path) -> None:
    sound = {"second_sequence": bags / "1-sound.npy"}
    with pytest.raises(ConfigError, match=r"add --with second_sequence=FILE for each sequence"):
        accord.detect_moments(run, bags / "1.npy")
    with pytest.raises(ConfigError, match=r"audio: the model reads sequence, and beside it second_sequence"):
        accord.detect_moments(run, bags / "1.npy", beside={"audio": "a.wav"})
    with pytest.raises(ConfigError, match=r"is a source of rows: name the column of second_sequence"):
        accord.detect_moments(run, bags / "recordings.jsonl", beside=sound)
    with pytest.raises(DataError, match=r"2 of sequence, 1 of second_sequence: give as many of each"):
        accord.detect_moments(run, [bags / "1.npy", bags / "2.npy"], beside=sound)
    with pytest.raises(ConfigError, match=r"low = 0\.8 is above threshold = 0\.5"):
        accord.detect_moments(run, bags / "1.npy", beside=sound, low=0.8)
    with pytest.raises(ConfigError, match=r"threshold"):
        accord.detect_moments(run, bags / "1.npy", beside=sound, threshold=1.5)
    with pytest.raises(ConfigError, match=r"figure a\.txt"):
        accord.detect_moments(run, bags / "1.npy", beside=sound, figure="a.txt")


def test_a_wrong_pair_is_wrong_usage_and_a_model_that_cannot_says_who_can(run: Path, bags: Path) -> None:
    assert accord_cli("detect-moments", run, bags / "1.npy", "--with", "sound.npy").exit_code == 2
    result = accord_cli("detect-moments", "house", bags / "1.npy")
    assert result.exit_code == 1
    assert "does not say when something happens; methods that do: macil_sd" in result.stderr


def test_clips_have_a_strip_of_pictures_above_their_scores(tmp_path: Path) -> None:
    (tmp_path / "clip").mkdir()
    for number in range(4):
        Image.new("RGB", (20, 16), (60 * number, 0, 0)).save(tmp_path / "clip" / f"{number}.png")
    line = Timeline(spans_of(torch.arange(4.0), centred=True), torch.tensor([0.1, 0.9, 0.8, 0.2]), {})
    found = [Detected("clip $1", "fight", tuple(intervals_above(line)), line)]
    plain = draw_timelines(found, corpus_from_fields({"audio": ["a.wav"]}), tmp_path / "plain.png", 0.5)
    strip = draw_timelines(found, corpus_from_fields({"video": [tmp_path / "clip"]}), tmp_path / "strip.png", 0.5)
    assert Image.open(strip).size[1] > Image.open(plain).size[1]
    colours = {pixel for _, pixel in Image.open(strip).convert("RGB").getcolors(1 << 20)}
    assert {(60 * number, 0, 0) for number in range(1, 4)} <= colours


class TestIntervals:
    def line(self, *scores: float) -> Timeline:
        return Timeline(spans_of(torch.arange(float(len(scores))), centred=False), torch.tensor(scores), {})

    def test_each_has_a_step_over_the_threshold_and_reaches_as_far_as_the_lower_one(self) -> None:
        line = self.line(0.4, 0.6, 0.4, 0.1, 0.4, 0.1, 0.9)
        assert [span[:2] for span in intervals_above(line, 0.5)] == [(1, 2), (6, 7)]
        assert [span[:2] for span in intervals_above(line, 0.5, 0.3)] == [(0, 3), (6, 7)]
        assert intervals_above(line, 0.95) == []
        assert intervals_above(line, 0.5)[1][2] == pytest.approx(0.9)

    def test_a_step_alone_lasts_as_long_as_is_said(self) -> None:
        assert spans_of(torch.tensor([2.0]), centred=False, alone=0.5).tolist() == [[2.0, 2.5]]
        assert spans_of(torch.tensor([0.1]), centred=True, alone=1.0).tolist() == [[0.0, pytest.approx(0.6)]]
