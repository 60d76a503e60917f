"""Retrieval to look at: queries out of the held-out rows, what they find, and which of it counts as found."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from accord.data.modalities import get_modality
from accord.evaluation.retrieval import retrieve_examples
from accord.evaluation.sections import Example, Item, Retrieval
from accord.methods.abilities import Rescores, ScoresTuples

if TYPE_CHECKING:
    from accord.data.corpus import Corpus
    from accord.training.model import Model

_QUERIES, _BACK, _HITS = 6, 4, 6  # queries, those of the other direction, and answers of each


def captions_found(model: Model, corpus: Corpus, modality: str) -> Retrieval | None:
    """What captions find among the rows, and rows among the captions; None with too few rows.

    Args:
        model: embeds both.
        corpus: the rows; those count that have ``modality`` and a caption.
        modality: what is looked for by captions.
    """
    test = corpus.having(modality, "text")
    if len(test) <= _HITS:
        return None
    order = np.random.default_rng(0).permutation(len(test))
    what = get_modality(modality).item
    lead = (
        f"What held-out captions find among the {len(test):,} held-out rows, and what a {what} finds among their "
        f"captions, best first. ✓ is what counts as a hit in R@K: the {what} that the caption belongs to, or one with "
        "the same caption letter by letter."
    )
    if test.labels is not None and not test.multi_label:
        lead += " “Same class” is no hit, only near."
    pairs = _Pairs(model, test, modality, what)
    rows = _with_different_captions(test, order)[:_QUERIES]
    return Retrieval(lead, (*pairs.from_text(rows), *pairs.to_text(rows[:_BACK])), corpus=test)


def rows_found(model: Model, corpus: Corpus, modality: str) -> Retrieval | None:
    """Rows and the rows that are nearest to them; None with too few rows.

    Args:
        model: embeds ``modality``.
        corpus: the rows.
        modality: what rows are compared by.
    """
    test = corpus.having(modality)
    if len(test) <= _HITS:
        return None
    relation, lead = _alike(test)
    rows = np.random.default_rng(0).permutation(len(test))[:_QUERIES]
    return Retrieval(lead, tuple(_neighbours(model, test, rows, modality, relation)), corpus=test)


def _with_different_captions(test: Corpus, order: np.ndarray) -> np.ndarray:
    captions = [texts[0] for texts in test.texts()]
    first = {captions[row]: row for row in reversed(order)}
    return np.array([row for row in order if first[captions[row]] == row])


@dataclass(frozen=True)
class _Pairs:
    """Rows of one modality and their first captions, scored as evaluation scores them."""

    model: Model
    test: Corpus
    modality: str
    what: str

    def from_text(self, rows: np.ndarray) -> Iterator[Example]:
        """Captions of some rows and the rows that they find."""
        scores, found = self._ranked(rows, "text", self.modality, np.arange(len(self.test)))
        for row, hits, values in zip(rows, found, scores, strict=True):
            answers = (self._answer(row, hit, value, show=True) for hit, value in zip(hits, values, strict=True))
            yield Example(Item(text=_caption(self.test, row)), tuple(answers))

    def to_text(self, rows: np.ndarray) -> Iterator[Example]:
        """Some rows and the captions that they find, each caption once."""
        captions = [_caption(self.test, row) for row in range(len(self.test))]
        each = np.unique(captions, return_index=True)[1]
        scores, found = self._ranked(rows, self.modality, "text", each)
        for row, hits, values in zip(rows, found, scores, strict=True):
            answers = (self._answer(row, hit, value, show=False) for hit, value in zip(hits, values, strict=True))
            yield Example(Item(row=int(row)), tuple(answers))

    def _answer(self, row: int, hit: int, score: float, *, show: bool) -> Item:
        relation = self._relation(int(row), int(hit), show)
        right = relation not in ("", "same class")
        return Item(None, _caption(self.test, hit), score, right, relation, row=int(hit) if show else None)

    def _relation(self, row: int, hit: int, show: bool) -> str:
        own, said = set(self.test.select([row]).texts()[0]), set(self.test.select([hit]).texts()[0])
        if row == hit:
            return f"its own {self.what}" if show else "its own caption"
        if _caption(self.test, row if show else hit) in (said if show else own):
            return "same caption" if show else "its own caption"
        labels = self.test.labels
        same = labels is not None and labels.ndim == 1 and labels[row] == labels[hit] >= 0
        return "same class" if same else ""

    def _ranked(
        self, rows: np.ndarray, asked: str, wanted: str, gallery: np.ndarray
    ) -> tuple[list[list[float]], list[list[int]]]:
        """Scores and rows of the best answers to each query."""
        model, index = self.model, torch.from_numpy(gallery)
        score = self._second_stage(rows, asked, wanted, gallery) if model.can(Rescores) else None
        queries = model.embed_corpus(self.test, asked)[torch.from_numpy(rows)]
        items = model.embed_corpus(self.test, wanted)[index]
        sim = (queries, items) if not model.can(ScoresTuples) else model.score_tuples({asked: queries}, {wanted: items})
        values, found = retrieve_examples(sim, _HITS, score)
        return values.tolist(), index[found].tolist()

    def _second_stage(
        self, rows: np.ndarray, asked: str, wanted: str, gallery: np.ndarray
    ) -> Callable[[int, Tensor], Tensor]:
        queries, items = self.model.tokens_corpus(self.test, asked), self.model.tokens_corpus(self.test, wanted)

        def score(query: int, chosen: Tensor) -> Tensor:
            near = items.padded(torch.from_numpy(gallery)[chosen])
            return self.model.rescore(queries.padded([int(rows[query])]), near, asked)[0]

        return score


def _neighbours(
    model: Model, test: Corpus, rows: np.ndarray, modality: str, relation: Callable[[int, int], str | None]
) -> Iterator[Example]:
    """Rows and the rows nearest to them, themselves left out."""
    gallery = model.embed_corpus(test, modality)
    scores, found = retrieve_examples((gallery[torch.from_numpy(rows)], gallery), _HITS + 1)
    for row, hits, values in zip(rows, found.tolist(), scores.tolist(), strict=True):
        answers = [
            _neighbour(test, hit, value, relation(int(row), hit))
            for hit, value in zip(hits, values, strict=True)
            if hit != row
        ]
        yield Example(Item(text=_caption(test, row), row=int(row)), tuple(answers[:_HITS]))


def _neighbour(test: Corpus, hit: int, score: float, relation: str | None) -> Item:
    right = None if relation is None else bool(relation)
    return Item(None, _caption(test, hit), score, right, relation or "", row=hit)


def _alike(test: Corpus) -> tuple[Callable[[int, int], str | None], str]:
    """What two rows have in common that makes one an answer to the other, and the sentence that says so."""
    start = f"Held-out rows, and what is nearest to them among the {len(test):,} held-out rows, best first. "
    labels, groups = test.labels, test.groups()
    if labels is not None and labels.ndim == 1:
        return (
            lambda row, hit: "same class" if labels[row] == labels[hit] >= 0 else "",
            start + "✓ is a row of the same class.",
        )
    if groups is not None:
        same = f"same {test.columns.group}"
        return lambda row, hit: same if groups[row] == groups[hit] else "", f"{start}✓ is a row of the {same}."
    return lambda row, hit: None, start + "No column says which rows belong together, so none is marked."


def _caption(corpus: Corpus, row: int) -> str:
    """The first caption of a row, empty where it has none."""
    captions = corpus.select([row]).texts()[0]
    return captions[0] if captions else ""
