"""``explain``: why a picture and a text match, by what the model's method offers."""

from __future__ import annotations

from pathlib import Path

from accord.errors import ConfigError
from accord.explaining import (
    ConceptExplanation,
    PartsExplanation,
    WordExplanation,
    draw_concepts,
    draw_parts,
    draw_words,
    explain_concepts,
    explain_parts,
    explain_words,
)
from accord.files import FIGURE, check_replaceable
from accord.methods import named_with
from accord.methods.abilities import LocatesWords, Segments, SpeaksInConcepts
from accord.pipeline.model import load
from accord.pipeline.rows import ColumnNames, despite_bad_rows, held_out, open_like, require_data


def explain(
    run: str | Path,
    image: str | Path,
    text: str | None = None,
    data: str | Path | None = None,
    out: str | Path | None = None,
    k: int = 8,
    *,
    columns: ColumnNames | None = None,
    device: str = "auto",
) -> ConceptExplanation | WordExplanation | PartsExplanation:
    """Why ``image`` and ``text`` match, or what parts ``image`` has, as the run's method can tell.

    By the concepts that they share, and what these stand for in the data, or by where each word is in the picture; of a
    method that segments, without a text, the parts.

    Args:
        run: folder of a run, name of a model that ships, or that of a bundle.
        image: path of a picture.
        text: words; None for a method that segments.
        data: where to look for what concepts stand for; None takes the training rows of the run.
        out: PNG, SVG or PDF to draw the explanation to, or None.
        k: how many concepts.
        columns: modality -> column name(s) of ``data``, where the guess is wrong.
        device: ``auto`` for the best there is, ``cpu``, ``cuda`` or ``mps``.

    Raises:
        ConfigError: the run's method cannot explain (names those that can), or there is no such device.
        DataError: the picture or the data cannot be read.
        StorageError: ``out`` is a file of another kind, or cannot be written.
    """
    if out is not None:
        check_replaceable(Path(out), FIGURE, "figure of Accord")
    require_data(data, columns)
    model = load(run, device)
    if model.can(Segments):
        parts = explain_parts(model, image)
        if out is not None:
            draw_parts(parts, out)
        return parts
    if text is None:
        raise ConfigError(f"method {model.method.name} explains a match: give the words too, --text WORDS")
    if model.can(LocatesWords):
        located = explain_words(model, image, text)
        if out is not None:
            draw_words(located, out)
        return located
    if not model.can(SpeaksInConcepts):
        raise ConfigError(f"method {model.method.name} cannot say why two things match; {explainers()} can")
    corpus = held_out(model).train if data is None else open_like(model, data, columns)
    explanation, _ = despite_bad_rows(corpus, lambda rows: explain_concepts(model, image, text, rows, k))
    if out is not None:
        draw_concepts(explanation, out)
    return explanation


def explainers() -> str:
    """Names of the methods that can explain."""
    return named_with(SpeaksInConcepts, LocatesWords, Segments)
