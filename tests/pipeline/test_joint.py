"""Three modalities from training to search by several of them together."""

from __future__ import annotations

import json
import wave

import numpy as np
import pytest
from PIL import Image

import accord
from accord import pipeline
from accord.errors import ConfigError, DataError

COLOURS = {"red": (220, 30, 30), "green": (30, 160, 60), "blue": (30, 60, 220)}
TONES = {"low": 0.04, "high": 0.4}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Pictures of a colour and a size, sounds of a pitch; the caption names colour, size and pitch. Some lack some."""
    out = tmp_path_factory.mktemp("three")
    rows = []
    for number in range(60):
        colour, tone, size = list(COLOURS)[number % 3], list(TONES)[number // 3 % 2], 8 + 4 * (number // 6 % 3)
        picture = Image.new("RGB", (24, 24), "white")
        picture.paste(COLOURS[colour], (2, 2, 2 + size, 2 + size))
        picture.save(out / f"{number}.png")
        with wave.open(str(out / f"{number}.wav"), "wb") as file:
            file.setnchannels(1)
            file.setsampwidth(2)
            file.setframerate(16000)
            noise = np.random.default_rng(number).normal(0, 300, 6000)
            file.writeframes((9000 * np.sin(np.arange(6000) * TONES[tone]) + noise).astype(np.int16).tobytes())
        row = {"image": f"{number}.png", "audio": f"{number}.wav", "text": f"a {colour} square and a {tone} tone"}
        if number % 10 == 7:
            row["audio"] = None
        rows.append(row)
    (out / "metadata.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return out


@pytest.fixture(scope="module")
def run(folder, tmp_path_factory):
    out = tmp_path_factory.mktemp("runs") / "gram"
    shape = {"width": 32, "depth": 1, "heads": 2}
    config = {
        "data": {"source": str(folder), "incomplete": True, "split": {"test": 0.3}},
        "method": {"name": "gram", "dim": 16, "matching_weight": 0.0, "cosine_weight": 1.0},
        "encoders": {
            "image": {"name": "tiny_convnet", "options": {"size": 32, "width": 64}},
            "audio": {"name": "tiny_audio", "options": shape},
            "text": {"name": "tiny_text", "options": shape},
        },
        "training": {"epochs": 45, "batch_size": 14, "lr": 1e-3, "accelerator": "cpu"},
    }
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("platformdirs.user_cache_path", lambda *_: out.parent / "cache")
        return pipeline.train(config=config, out=out, progress=False)


def test_every_direction_is_measured(run):
    names = {metric.name for metric in run.metrics}
    assert {"joint: text→image+audio R@1", "joint: image+audio→text R@5", "joint: audio→text+image R@1"} <= names
    found = next(metric for metric in run.metrics if metric.name == "joint: text→image+audio R@5")
    assert found.value > found.chance + 10


def test_words_and_a_sound_find_pictures(run, folder):
    words_alone = pipeline.search(run.path, "a green square and a low tone", data=folder, k=5)
    assert sum("green" in hit.caption for hit in words_alone) >= 3
    together = {"text": "a green square and a high tone", "audio": folder / "4.wav"}  # row 4: green, high
    hits = pipeline.search(run.path, together=together, data=folder, k=5)
    assert [hit.rank for hit in hits] == [1, 2, 3, 4, 5]
    assert sum("green" in hit.caption for hit in hits) >= 3
    assert [hit.score for hit in hits] == sorted((hit.score for hit in hits), reverse=True)


def test_the_joint_score_is_the_methods(run, folder):
    model = accord.load(run.path)
    query = {"text": model.embed(texts=["a red square and a low tone"]), "audio": model.embed(audio=[folder / "0.wav"])}
    best = pipeline.search(
        run.path, together={"text": "a red square and a low tone", "audio": folder / "0.wav"}, data=folder, k=1
    )[0]
    vector = {"image": model.embed(images=[folder / f"{best.row}.png"])}
    assert best.score == pytest.approx(float(model.score_tuples(query, vector)[0, 0]), abs=1e-4)


def test_few_candidates_find_what_all_rows_do_and_rows_without_the_rest_are_no_answers(run, folder):
    together = {"text": "a red square and a low tone", "image": folder / "0.png"}  # answered by sounds
    everything = pipeline.search(run.path, together=together, data=folder, k=60)
    assert {hit.row for hit in everything} == {row for row in range(60) if row % 10 != 7}
    some = pipeline.search(run.path, together=together, data=folder, k=3, candidates=20)
    assert [hit.score for hit in some] == pytest.approx([hit.score for hit in everything[:3]], abs=1e-4)


def test_wrong_questions_are_refused(run, folder):
    with pytest.raises(ConfigError, match="either a query"):
        pipeline.search(run.path, data=folder)
    with pytest.raises(ConfigError, match="the model embeds"):
        pipeline.search(run.path, together={"video": "x.mp4"}, data=folder)
    with pytest.raises(DataError, match="no file"):
        pipeline.search(run.path, together={"audio": "none.wav", "text": "a"}, data=folder)
