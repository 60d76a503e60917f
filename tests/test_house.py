"""The model that ships: it loads without a network, is small, and does what its card says."""

from __future__ import annotations

import json
from functools import cache

import pytest
import torch

import accord
from accord import pipeline
from accord.data.corpus import Corpus, open_corpus
from accord.shipped import SHIPPED, shipped_models

HOUSE = SHIPPED / "house"


@cache
def house():
    return accord.load("house")


@pytest.fixture(scope="module")
def emoji() -> Corpus:
    corpus = open_corpus("pack:emoji", columns={"text": ["name"]}, check=False, quiet=True)
    return corpus.select(range(0, len(corpus), 64))


def test_it_ships_and_is_small():
    assert shipped_models() == ["house"]
    assert (HOUSE / "model.safetensors").stat().st_size <= 12_000_000
    assert not [path for path in HOUSE.iterdir() if path.suffix in (".pt", ".pth", ".bin", ".ckpt")]


def test_its_card_says_what_it_knows_and_how_well():
    card = (HOUSE / "README.md").read_text(encoding="utf-8")
    assert "What it knows" in card
    assert "never seen a photograph" in card
    assert "/tmp" not in card + (HOUSE / "config.yaml").read_text(encoding="utf-8")
    metrics = json.loads((HOUSE / "metrics.json").read_text())
    recall = metrics["retrieval: text→image R@10"]
    assert recall["low"] > recall["chance"]


def test_names_find_their_drawings(emoji):
    model = house()
    pictures = model.embed_corpus(emoji, "image")
    words = model.embed_corpus(emoji, "text")
    best = (words @ pictures.T).topk(5).indices
    found = (best == torch.arange(len(emoji))[:, None]).any(dim=1).float().mean()
    assert found > 0.5  # chance 5 / 60; most of these concepts were trained on


def test_it_sorts_pictures_by_words(emoji, tmp_path):
    names = [row[0] for row in emoji.texts()[:12]]
    for number in range(12):
        emoji.sample(number, fields=("image",))["image"].save(tmp_path / f"{number:02}.png")
    found = pipeline.zero_shot("house", [tmp_path], names)
    right = sum(item.classes[0][0] == name for item, name in zip(found, names, strict=True))
    assert right >= 6  # chance 1


def test_it_writes_captions(emoji):
    pictures = [emoji.sample(row, fields=("image",))["image"] for row in range(4)]
    captions = house().caption(pictures, decoding={"method": "greedy"})
    assert len(captions) == 4
    assert all(isinstance(caption, str) and caption.strip() for caption in captions)
    assert len(set(captions)) > 1


def test_what_is_made_from_it_goes_to_the_users_cache(monkeypatch, tmp_path):
    from accord.searching.place import writable_folder

    monkeypatch.setattr("platformdirs.user_cache_path", lambda *_: tmp_path)
    assert writable_folder("house") == tmp_path / "shipped" / "house"


def test_the_query_of_the_readme_finds_what_it_says():
    corpus = open_corpus("pack:emoji", columns={"text": ["name"], "label": "subcategory"}, check=False, quiet=True)
    building = corpus.labels == corpus.classes.index("place-building")
    rows = [row for row in range(len(corpus)) if building[row] or row % 16 == 0]
    model = house()
    scores = model.embed_corpus(corpus.select(rows), "image") @ model.embed(texts=["building"])[0]
    best = [rows[place] for place in scores.topk(8).indices]
    assert sum(building[row] for row in best) >= 7
