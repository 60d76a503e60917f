from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from PIL import Image
from squares import COLOURS, KINDS, square

from accord.data.corpus import corpus_from_items
from accord.data.loading.loader import eval_loader
from accord.encoders import build_encoder
from accord.errors import ConfigError, DataError
from accord.explaining import draw_concepts, explain_concepts
from accord.explaining.inputs import pair_batch
from accord.methods import DataInfo, get_method
from accord.training.artifact import Model


@pytest.fixture(scope="module")
def explained(model, squares):
    return explain_concepts(model, square("red", 2), "a red square", squares, k=4, patches=3)


def test_concepts_are_those_that_both_have_most_of(model, explained) -> None:
    batch, _ = pair_batch(model, square("red", 2), "a red square")
    found = model.method.concepts(batch)
    shared = torch.minimum(found["image"].weights[0], found["text"].weights[0])
    assert [concept.entry for concept in explained.concepts] == shared.topk(len(explained.concepts)).indices.tolist()
    assert explained.overlap == pytest.approx(shared.sum().item())
    assert explained.active[2] == (shared > 0).sum()
    for concept in explained.concepts:
        assert concept.shared == pytest.approx(shared[concept.entry].item(), rel=1e-4)
    embedded = model.method.embed(batch)
    assert explained.similarity == pytest.approx((embedded["image"] @ embedded["text"].T).item())


def test_where_a_concept_is_called_lies_between_nowhere_and_fully(explained) -> None:
    for concept in explained.concepts:
        assert concept.heat.shape == (2, 2)
        assert concept.heat.max() == 1
        assert concept.heat.min() >= 0
        assert [word for word, _ in concept.words] == ["a", "red", "square"]
        assert all(0 <= call <= 1 for _, call in concept.words)


def test_a_match_shares_more_than_a_mismatch(model) -> None:
    right, wrong = (
        [explain_concepts(model, square(colour, 1), f"a {name} square") for colour in COLOURS for name in names(colour)]
        for names in (lambda colour: [colour], lambda colour: [name for name in COLOURS if name != colour])
    )
    for of in (lambda found: found.similarity, lambda found: found.overlap):
        assert sum(map(of, right)) / len(right) > sum(map(of, wrong)) / len(wrong) + 0.05


def test_explanations_point_at_the_square_more_often_than_chance(model) -> None:
    """The quarter is named nowhere: that the colour lies there is found by the concepts that the words share."""
    hits = []
    for colour, quarter in KINDS:
        found = explain_concepts(model, square(colour, quarter), f"a {colour} square", k=4)
        heat = sum((concept.shared * concept.heat for concept in found.concepts), torch.zeros(2, 2))
        hits.append(int(heat.argmax()) == quarter)
    assert sum(hits) >= 12  # of 16; chance is 4


def test_witnesses_are_the_strongest_patches_one_of_each_group(model, squares, explained) -> None:
    relevance = model.method.concepts(next(iter(eval_loader(squares, model.inputs, batch_size=64))))["image"].relevance
    for concept in explained.concepts:
        assert 1 <= len(concept.patches) <= 3
        strengths = [witness.relevance for witness in concept.patches]
        assert strengths == sorted(strengths, reverse=True)
        assert len({witness.row // 4 for witness in concept.patches}) == len(concept.patches)
        for witness in concept.patches:
            left, top, _, _ = witness.box
            assert relevance[witness.row, :, concept.entry].argmax() == round(2 * top) * 2 + round(2 * left)


def test_the_words_of_a_concept_are_the_corpus_own(explained) -> None:
    for concept in explained.concepts:
        assert 1 <= len(concept.corpus_words) <= 4
        assert set(concept.corpus_words) <= {*COLOURS, "a", "square"}


def test_without_a_corpus_nothing_is_looked_for(model) -> None:
    found = explain_concepts(model, square("green", 0), "a green square", k=2)
    assert len(found.concepts) == 2
    assert all(concept.patches == concept.corpus_words == () for concept in found.concepts)


def test_a_corpus_of_pictures_alone_gives_patches_alone(model, squares) -> None:
    pictures = corpus_from_items("image", [square(*kind) for kind in KINDS])
    found = explain_concepts(model, square("red", 2), "a red square", pictures, k=2)
    assert all(concept.patches and not concept.corpus_words for concept in found.concepts)


def test_the_figure_is_written_whole(explained, model, tmp_path) -> None:
    path = draw_concepts(explained, tmp_path / "new" / "why.png")
    with Image.open(path) as picture:
        assert picture.width == 1200
    assert [file.name for file in path.parent.iterdir()] == ["why.png"]
    assert draw_concepts(explained, tmp_path / "why.svg").read_text().startswith("<?xml")


def test_a_text_that_shares_nothing_gives_a_figure_that_says_so(explained, tmp_path) -> None:
    nothing = replace(explained, concepts=(), overlap=0.0, active=(3, 4, 0))
    assert draw_concepts(nothing, tmp_path / "nothing.png").exists()


def test_an_unknown_format_names_those_that_can_be_drawn(explained, tmp_path) -> None:
    with pytest.raises(ConfigError, match=r"cannot draw html; choose \.png, \.svg or \.pdf"):
        draw_concepts(explained, tmp_path / "why.html")


def test_a_method_without_concepts_is_refused(model) -> None:
    encoders = {
        "image": model.method.encoders["image"],
        "text": build_encoder("text", {"name": "tiny_text", "width": 16, "depth": 1, "heads": 2}, texts=["a red ball"]),
    }
    clip = Model(get_method("clip")({"dim": 8}, encoders, DataInfo()))
    with pytest.raises(
        ConfigError,
        match="does not express its inputs in concepts that modalities share; methods that do: fdt",
    ):
        explain_concepts(clip, square("red", 0), "a red square")


def test_a_picture_that_cannot_be_read_is_named(model, tmp_path) -> None:
    (tmp_path / "broken.png").write_bytes(b"no picture")
    with pytest.raises(DataError, match=r"broken\.png"):
        explain_concepts(model, tmp_path / "broken.png", "a red square")
