from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from accord.explaining import ConceptExplanation, PartsExplanation, SharedConcept


@pytest.fixture
def explaining(pipeline, tmp_path):
    """The stand-in pipeline with an explanation to give, and a picture to ask about."""
    words = (("red", 0.4), ("[heart]", 1.0), ("the", 0.0))
    concept = SharedConcept(7, 0.25, 0.125, torch.zeros(2, 2), words, corpus_words=("rose", "heart"))
    pipeline.answers["explain"] = ConceptExplanation(
        Image.new("RGB", (8, 8)), "the red [heart]", 0.625, 0.125, (9, 8, 1), (concept,)
    )
    pipeline.explain = pipeline._recorder("explain")
    Image.new("RGB", (8, 8)).save(tmp_path / "heart.png")
    return tmp_path


def test_explain_prints_the_concepts_and_where_the_figure_is(pipeline, explaining, accord_cli) -> None:
    result = accord_cli("explain", explaining, explaining / "heart.png", "--text", "the red [heart]", "-k", 3)
    assert result.exit_code == 0, result.output
    for part in ("cosine 0.62, overlap of concepts 12%", "25.0%", "12.5%", "[heart], red", "rose, heart"):
        assert part in result.stdout
    assert "the," not in result.stdout
    assert result.stdout.endswith("figure: explanation.png\n")
    options = {"data": None, "out": Path("explanation.png"), "k": 3, "columns": {}, "device": "auto"}
    assert pipeline.calls == [("explain", (str(explaining), explaining / "heart.png", "the red [heart]"), options)]


def test_explain_takes_other_data_and_another_file(pipeline, explaining, accord_cli) -> None:
    words = ["--text", "heart", "--data", "pack:emoji", "--out", "why.svg"]
    assert accord_cli("explain", explaining, explaining / "heart.png", *words).exit_code == 0
    assert pipeline.calls[0][2] == {
        "data": "pack:emoji",
        "out": Path("why.svg"),
        "k": 8,
        "columns": {},
        "device": "auto",
    }


def test_explain_without_words_shows_the_parts_of_a_picture(pipeline, explaining, accord_cli) -> None:
    parts = PartsExplanation(Image.new("RGB", (8, 8)), np.array([[3, 3], [3, 1]]), {3: 0.75, 1: 0.25})
    pipeline.answers["explain"] = parts
    result = accord_cli("explain", explaining, explaining / "heart.png")
    assert result.exit_code == 0
    assert "75.0 %" in result.stdout
    assert pipeline.calls[0][1] == (str(explaining), explaining / "heart.png", None)


def test_a_picture_that_is_not_there_is_wrong_usage(explaining, accord_cli) -> None:
    result = accord_cli("explain", explaining, explaining / "none.png", "--text", "heart")
    assert result.exit_code == 2
    assert "none.png" in result.stderr
