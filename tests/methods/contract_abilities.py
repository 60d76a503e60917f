"""What each ability promises, asked of a method that has it on a batch of its own rows."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import fields
from typing import Any

import torch
from torch import Tensor

from accord.encoders.generation import Decoding
from accord.methods.abilities import (
    Ability,
    Answers,
    Captions,
    Classifies,
    Detects,
    DiscoversClasses,
    Embeds,
    Explains,
    FillsIn,
    FindsMoments,
    Generates,
    JudgesRows,
    LocatesWords,
    MatchesLabels,
    RelatesClasses,
    Rescores,
    RescoresTuples,
    ScoresMoments,
    ScoresTuples,
    Segments,
    SpeaksInConcepts,
    TimesWords,
    Tokenizes,
    Tracks,
)

Check = Callable[[Any, dict[str, Any]], None]
SHORT = Decoding(method="greedy", max_tokens=4)


def abilities(kind: type[Ability] = Ability) -> Iterator[type[Ability]]:
    """Every class of ability there is; methods that derive from them, and stand-ins of tests, are none."""
    for below in kind.__subclasses__():
        if below.__module__ == kind.__module__:
            yield below
            yield from abilities(below)


def rows_of(batch: dict[str, Any]) -> int:
    """B."""
    return len(batch["index"])


def embeds(method: Embeds, batch: dict[str, Any]) -> None:
    """Unit-norm vectors of modalities that it names, all of one size."""
    found = method.embed(batch)
    assert found
    assert set(found) <= set(method.embeds)
    assert len({rows.shape[1] for rows in found.values()}) == 1
    for rows in found.values():
        assert len(rows) == rows_of(batch)
        torch.testing.assert_close(rows.float().norm(dim=1), torch.ones(len(rows)))


def rescores(method: Rescores, batch: dict[str, Any]) -> None:
    """A score for every query and candidate, in both directions."""
    features = method.token_features(batch)
    embedded = method.embed(batch)
    for modality, other in (tuple(features), tuple(features)[::-1]):
        assert features[modality].pooled.shape == embedded[modality].shape
        few = features[modality].select(slice(0, 2))
        scores = method.rescore(few, features[other], modality)
        assert scores.shape == (2, rows_of(batch))
        assert scores.isfinite().all()


def scores_tuples(method: ScoresTuples, batch: dict[str, Any]) -> None:
    """A score for every query and candidate; fewer modalities may be there."""
    first, *others = method.embed(batch).items()
    queries = {first[0]: first[1][:2]}
    scores = method.score_tuples(queries, dict(others))
    assert scores.shape == (2, rows_of(batch))
    assert scores.isfinite().all()
    present = torch.ones(rows_of(batch), len(others), dtype=torch.bool)
    torch.testing.assert_close(method.score_tuples(queries, dict(others), present), scores)


def rescores_tuples(method: RescoresTuples, batch: dict[str, Any]) -> None:
    """Log-odds for every anchor with the tuple beside it."""
    features = method.token_features(batch)
    scores = method.rescore_tuples(features.pop(method.anchor), features)
    assert scores.shape == (rows_of(batch),)
    assert scores.isfinite().all()


def classifies(method: Any, batch: dict[str, Any]) -> None:
    """A logit for each row and class."""
    logits = method.classify(batch)
    assert logits.shape == (rows_of(batch), len(method.data.classes))
    assert logits.isfinite().all()


def relates_classes(method: Any, batch: dict[str, Any]) -> None:
    """Vectors of rows, and a gate for each pair of classes that does not hang on the others."""
    vectors, classes = method.project(batch), torch.arange(len(method.data.classes))
    first, second = (side.flatten() for side in torch.meshgrid(classes, classes, indexing="ij"))
    gates = method.gates(first, second)
    assert gates.shape == (len(first), vectors.shape[1])
    assert len(vectors) == rows_of(batch)
    assert ((gates >= 0) & (gates <= 1)).all()
    torch.testing.assert_close(method.gates(first[1:2], second[1:2]), gates[1:2])


def matches_labels(method: MatchesLabels, batch: dict[str, Any]) -> None:
    """A logit for each row and label, whatever else is asked beside it."""
    logits = method.match(batch, ["red", "a blue ball"])
    assert logits.shape == (rows_of(batch), 2)
    assert logits.isfinite().all()
    torch.testing.assert_close(method.match(batch, ["a blue ball"])[:, 0], logits[:, 1])


def captions(method: Captions, batch: dict[str, Any]) -> None:
    """A text with a score for each row, and how well the true one is predicted."""
    written(method.caption(batch, SHORT), batch)
    fit = method.read_captions(batch)
    for part in fields(fit):
        assert getattr(fit, part.name).shape == (rows_of(batch),)
    assert (fit.nll >= 0).all()
    assert (fit.right <= fit.tokens).all()


def answers(method: Answers, batch: dict[str, Any]) -> None:
    """A text with a score for each row."""
    written(method.answer(batch, SHORT), batch)


def written(texts: list[Any], batch: dict[str, Any]) -> None:
    """As many texts as rows, none likelier than certain."""
    assert len(texts) == rows_of(batch)
    assert all(isinstance(text, str) and text.score <= 0 for text in texts)


def speaks_in_concepts(method: SpeaksInConcepts, batch: dict[str, Any]) -> None:
    """Shares of one vocabulary for all modalities."""
    found = method.concepts(batch)
    assert len({concepts.weights.shape for concepts in found.values()}) == 1
    for concepts in found.values():
        assert (concepts.weights >= 0).all()
        torch.testing.assert_close(concepts.weights.sum(dim=1), torch.ones(rows_of(batch)))
        rows, parts, entries = concepts.relevance.shape
        assert (rows, entries) == concepts.weights.shape
        assert concepts.mask is None or concepts.mask.shape == (rows, parts)


def locates_words(method: LocatesWords, batch: dict[str, Any]) -> None:
    """Words against patches, nothing for padding."""
    found = method.word_patch(batch)
    assert found.ndim == 3
    assert found.shape[:2] == batch["text"].shape
    assert (found[~batch["text_mask"]] == 0).all()


def times_words(method: TimesWords, batch: dict[str, Any]) -> None:
    """Words against steps in the order of time; what a word attends to sums to one, padding gets nothing."""
    found, words = method.word_times(batch), batch["text_mask"]
    assert found.similarity.shape == found.weights.shape == (*words.shape, found.mask.shape[1])
    assert found.seconds.shape == found.mask.shape
    torch.testing.assert_close(found.weights.sum(dim=2), words.float())
    for values in (found.similarity, found.weights):
        assert not values.masked_select(~found.mask[:, None]).any()
    assert (found.seconds.diff(dim=1)[found.mask[:, 1:]] > 0).all()


def segments(method: Segments, batch: dict[str, Any]) -> None:
    """The number of a part for every pixel."""
    found = method.segment(batch, (12, 16))
    assert found.shape == (rows_of(batch), 12, 16)
    assert not found.is_floating_point()
    assert (found >= 0).all()


def detects(method: Detects, batch: dict[str, Any]) -> None:
    """As many boxes as scores and labels in each picture, in order and inside it."""
    found = method.detect(batch)
    assert len(found) == rows_of(batch)
    for one in found:
        boxed(one.boxes)
        assert one.scores.shape == one.labels.shape == (len(one.boxes),)
        assert one.masks is None or (one.masks.dtype == torch.bool and len(one.masks) == len(one.boxes))


def tracks(method: Tracks, batch: dict[str, Any]) -> None:
    """A box in every frame that a track is in."""
    found = method.track(batch)
    assert len(found) == rows_of(batch)
    for one in found:
        assert one.present.dtype == torch.bool
        assert one.present.shape[1] == batch["video"].shape[1]
        assert one.boxes.shape == (*one.present.shape, 4)
        assert len(one.scores) == len(one.present)
        boxed(one.boxes[one.present])
        assert one.masks is None or one.masks.shape[:2] == one.present.shape


def boxed(boxes: Tensor) -> None:
    """Boxes lie inside the view, their corners in order."""
    assert boxes.shape[-1] == 4
    assert ((boxes >= 0) & (boxes <= 1)).all()
    assert (boxes[..., :2] <= boxes[..., 2:]).all()


def finds_moments(method: FindsMoments, batch: dict[str, Any]) -> None:
    """Spans for each sentence, the likeliest first."""
    found = method.find_moments(batch)
    assert len(found) == rows_of(batch)
    for one, sentences in zip(found, batch["moment_text"], strict=True):
        assert one.spans.shape == (len(sentences), one.scores.shape[1], 2)
        assert (one.spans[..., 0] <= one.spans[..., 1]).all()
        assert (one.scores.diff(dim=1) <= 0).all()


def scores_moments(method: ScoresMoments, batch: dict[str, Any]) -> None:
    """A probability for each step, in order of time and without gaps, and what each stream says of it."""
    found = method.score_moments(batch)
    assert len(found) == rows_of(batch)
    assert method.event
    for one in found:
        steps = one.scores.shape
        assert one.spans.shape == (*steps, 2)
        assert (one.spans[1:, 0] == one.spans[:-1, 1]).all()
        assert (one.spans[:, 0] <= one.spans[:, 1]).all()
        for scores in (one.scores, *one.streams.values()):
            assert scores.shape == steps
            assert ((scores >= 0) & (scores <= 1)).all()


def generates(method: Generates, batch: dict[str, Any]) -> None:
    """Pictures or clips in [0, 1] for every row, the same ones for the same seed."""
    found = method.generate(batch, seed=1)
    again = method.generate(batch, seed=1)
    assert set(found) == {method.makes}
    for name, made in found.items():
        assert len(made) == rows_of(batch)
        assert made.shape[-3] == 3
        assert ((made >= 0) & (made <= 1)).all()
        assert torch.equal(made, again[name])


def tokenizes(method: Tokenizes, batch: dict[str, Any]) -> None:
    """Whole numbers on a grid, and pictures from them."""
    codes = method.tokenize(batch)
    assert all(code.dtype == torch.int64 and code.ndim == 4 and len(code) == rows_of(batch) for code in codes.values())
    made = method.reconstruct(codes)
    assert made.shape[:2] == (rows_of(batch), 3)
    assert ((made >= 0) & (made <= 1)).all()


def judges_rows(method: Any, batch: dict[str, Any]) -> None:
    """A judgement of every training row."""
    found = method.verdicts()
    assert found is not None
    rows = (method.data.rows,)
    assert found.kept.shape == found.score.shape == rows
    assert found.kept.dtype == torch.bool
    assert found.label is None or found.label.shape == rows
    assert found.trusted is None or found.trusted.shape == rows


def discovers_classes(method: DiscoversClasses, batch: dict[str, Any]) -> None:
    """A class for every row; the labelled ones keep theirs."""
    vectors = torch.nn.functional.normalize(torch.randn(24, 8, generator=torch.Generator().manual_seed(0)), dim=1)
    labels = torch.arange(24).remainder(6).where(torch.arange(24) < 12, torch.tensor(-1)).clamp(max=2)
    found = method.discover(vectors, labels)
    assert found.assigned.shape == (24,)
    assert found.known <= found.classes
    assert ((found.assigned >= 0) & (found.assigned < found.classes)).all()


def explains(method: Explains, batch: dict[str, Any]) -> None:
    """The strongest prototypes of each row, with a map and a contribution for each."""
    found = method.explain(batch)
    assert len(found) == rows_of(batch)
    for one in found:
        count = len(one.prototypes)
        assert one.similarity.shape == one.contribution.shape == one.source.shape == (count,)
        assert (one.similarity.diff() <= 0).all()
        assert len(one.maps) == count
        assert not one.names or len(one.names) == count


def fills_in(method: FillsIn, batch: dict[str, Any]) -> None:
    """Something is hidden of every row and filled in, the same for the same seed; the rest stays as it is."""
    found, again = method.fill_in(batch, seed=1), method.fill_in(batch, seed=1)
    assert found.seen.shape == found.made.shape
    assert found.hidden.shape == (rows_of(batch), *found.seen.shape[1:2], *found.seen.shape[3:])
    shown = ~found.hidden[:, :, None].expand_as(found.seen)
    assert found.hidden.any()
    assert shown.any()
    torch.testing.assert_close(found.seen[shown], found.made[shown])
    assert torch.equal(found.made, again.made)
    assert ((found.made >= 0) & (found.made <= 1)).all()


CHECKS: dict[type[Ability], Check] = {
    Embeds: embeds,
    Rescores: rescores,
    ScoresTuples: scores_tuples,
    RescoresTuples: rescores_tuples,
    Classifies: classifies,
    RelatesClasses: relates_classes,
    MatchesLabels: matches_labels,
    Captions: captions,
    Answers: answers,
    SpeaksInConcepts: speaks_in_concepts,
    LocatesWords: locates_words,
    TimesWords: times_words,
    Segments: segments,
    Detects: detects,
    Tracks: tracks,
    FindsMoments: finds_moments,
    ScoresMoments: scores_moments,
    Generates: generates,
    Tokenizes: tokenizes,
    JudgesRows: judges_rows,
    DiscoversClasses: discovers_classes,
    Explains: explains,
    FillsIn: fills_in,
}
