"""A match explained by concepts: which ones a picture and a text share, and what these are elsewhere.

For methods that express pictures and texts in one vocabulary of learned concepts
(:class:`accord.methods.abilities.SpeaksInConcepts`). A concept has no name; what it stands for is seen from the patches
and words of a corpus that speak for it most.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from accord.data.corpus import Corpus
from accord.data.inputs import ImageInput, TextInput
from accord.data.loading.batches import to_device
from accord.explaining.base import Explanation, Way
from accord.explaining.inputs import Grid, Word, as_pixels, pair_batch, seen, strongest, words_of
from accord.methods.abilities import Concepts, Embeds, SpeaksInConcepts
from accord.training.model import Model

_ROWS = 2000  # of the corpus that are looked at
_BATCH = 32


@dataclass(frozen=True)
class Witness:
    """A patch of the corpus that speaks for a concept.

    Args:
        row: row number in the source.
        picture: its picture, as the encoder sees it.
        box: left, top, right, bottom of the patch, relative to the picture.
        relevance: how strongly it speaks for the concept.
    """

    row: int
    picture: Image.Image
    box: tuple[float, float, float, float]
    relevance: float


@dataclass(frozen=True)
class SharedConcept:
    """A concept that a picture and a text have in common.

    Args:
        entry: its number in the vocabulary.
        image_weight: share of the picture that it makes up.
        text_weight: share of the text.
        heat: ``(h, w)`` how near each patch comes to calling it: 1 for the strongest, 0 where the patch alone
            would not.
        words: the words of the text with the same measure.
        patches: where in the corpus it is strongest, one patch a picture.
        corpus_words: words of the corpus that speak for it most, on average over their occurrences.
    """

    entry: int
    image_weight: float
    text_weight: float
    heat: Tensor
    words: tuple[tuple[str, float], ...]
    patches: tuple[Witness, ...] = ()
    corpus_words: tuple[str, ...] = ()

    @property
    def shared(self) -> float:
        """What picture and text have of it in common."""
        return min(self.image_weight, self.text_weight)


@dataclass(frozen=True)
class ConceptExplanation(Explanation):
    """Why a picture and a text match.

    Args:
        picture: as the encoder sees it.
        text: the words.
        similarity: cosine of their embeddings.
        overlap: what they have in common of all concepts, ``Σ_c min(w_image, w_text)``: 0 for nothing, 1 for all.
        active: number of concepts that the picture, the text, and both have.
        concepts: those that both have most of, strongest first.
    """

    picture: Image.Image
    text: str
    similarity: float
    overlap: float
    active: tuple[int, int, int]
    concepts: tuple[SharedConcept, ...]

    @property
    def summary(self) -> str:
        """How close the two are, and how much they have in common."""
        return f"cosine {self.similarity:.2f}, overlap of concepts {self.overlap:.0%}"

    @property
    def columns(self) -> dict[str, str]:
        """A concept, its share of picture and text, its words here and elsewhere."""
        shares = {"concept": "right", "picture": "right", "text": "right"}
        return {**shares, "words": "left", "words elsewhere": "left"}

    def rows(self) -> list[tuple[str, ...]]:
        """One line a concept, the strongest first; its words of the text from the strongest to the weakest."""
        lines: list[tuple[str, ...]] = []
        for concept in self.concepts:
            called = sorted((pair for pair in concept.words if pair[1] > 0), key=lambda pair: -pair[1])
            words = (", ".join(word for word, _ in called), ", ".join(concept.corpus_words))
            lines.append((str(concept.entry), f"{concept.image_weight:.1%}", f"{concept.text_weight:.1%}", *words))
        return lines

    def draw(self, path: str | Path) -> Path:
        """See :func:`accord.explaining.figure.draw_concepts`."""
        from accord.explaining.figure import draw_concepts

        return draw_concepts(self, path)


def explain_concepts(
    model: Model,
    image: str | Path | Image.Image,
    text: str,
    corpus: Corpus | None = None,
    k: int = 8,
    patches: int = 6,
) -> ConceptExplanation:
    """The concepts that a picture and a text share, with what speaks for each in them and in a corpus.

    Args:
        model: a model whose method has concepts, such as fdt.
        image: path or picture.
        text: words.
        corpus: where to look for what the concepts stand for, at most 2,000 rows of it; None looks nowhere.
        k: how many concepts, at most; fewer where picture and text share fewer.
        patches: how many patches of the corpus to show for each.

    Raises:
        ConfigError: the method has no concepts, the text is empty, or the places of the image tokens are not known.
        DataError: the picture cannot be read.
    """
    able, embeds = model.able(SpeaksInConcepts), model.able(Embeds)
    batch, picture = pair_batch(model, image, text)
    with torch.inference_mode():
        found = able.concepts(batch)
        vectors = embeds.embed(batch)
    weights = {modality: one.weights[0].cpu() for modality, one in found.items()}
    shared = torch.minimum(weights["image"], weights["text"])
    entries = shared.topk(min(k, int((shared > 0).sum()))).indices
    heat = _calls(found["image"], entries)  # (N, k)
    grid = Grid.of(model, batch["image"])
    words = _words(model, text)
    calls = strongest(_calls(found["text"], entries), words) if words else torch.zeros(0, len(entries))
    concepts = [
        SharedConcept(
            entry=int(entry),
            image_weight=float(weights["image"][entry]),
            text_weight=float(weights["text"][entry]),
            heat=heat[:, place].reshape(grid.rows, grid.columns),
            words=tuple((word.text, float(call)) for word, call in zip(words, calls[:, place], strict=True)),
        )
        for place, entry in enumerate(entries)
    ]
    if corpus is not None and concepts:
        concepts = _with_witnesses(model, corpus, entries, concepts, patches)
    return ConceptExplanation(
        picture=picture,
        text=text,
        similarity=float((vectors["image"] * vectors["text"]).sum()),
        overlap=float(shared.sum()),
        active=tuple(int((rows > 0).sum()) for rows in (weights["image"], weights["text"], shared)),  # type: ignore[arg-type]
        concepts=tuple(concepts),
    )


def _calls(found: Concepts, entries: Tensor) -> Tensor:
    """How near each token of one input comes to calling the concepts alone, ``(N, k)`` in [0, 1].

    An active concept has the weight ``max_n relevance - threshold``; a token n would give it ``relevance - threshold``.
    """
    relevance, weight = found.relevance[0].cpu()[:, entries], found.weights[0].cpu()[entries]
    if found.mask is not None:
        relevance = relevance.masked_fill(~found.mask[0].cpu()[:, None], -torch.inf)
    return (1 + (relevance - relevance.amax(dim=0)) / weight).clamp(min=0)


def _words(model: Model, text: str) -> list[Word]:
    spec = model.inputs["text"]
    assert isinstance(spec, TextInput)
    return words_of(spec.tokenizer, text)


# --- the corpus ---


def _with_witnesses(
    model: Model, corpus: Corpus, entries: Tensor, concepts: list[SharedConcept], patches: int
) -> list[SharedConcept]:
    """The concepts with the patches and words of the corpus that speak for them."""
    corpus = corpus.select(np.linspace(0, len(corpus) - 1, min(len(corpus), _ROWS), dtype=np.int64))
    if "image" in corpus.modalities:
        seen_in = _patches(model, corpus.having("image"), entries, patches)
        concepts = [replace(one, patches=tuple(some)) for one, some in zip(concepts, seen_in, strict=True)]
    if "text" in corpus.modalities:
        said = _corpus_words(model, corpus.having("text"), entries)
        concepts = [replace(one, corpus_words=tuple(some)) for one, some in zip(concepts, said, strict=True)]
    return concepts


def _patches(model: Model, corpus: Corpus, entries: Tensor, wanted: int) -> list[list[Witness]]:
    """For each concept the patches where it is most relevant, one a picture and one a group of rows."""
    spec = model.inputs["image"]
    assert isinstance(spec, ImageInput)
    best, place = [], []
    for found in _passes(model, corpus, "image", entries):
        active = found.weights > 0  # (B, k)
        values, positions = found.relevance.max(dim=1)
        best.append(values.masked_fill(~active, -torch.inf))
        place.append(positions)
    groups = corpus.groups()
    names = corpus.ids.astype(str) if groups is None else groups

    def picture_of(row: int) -> Image.Image:
        picture: Image.Image = corpus.sample(row, ("image",), {"image": spec})["image"]
        return picture

    grid = Grid.of(model, as_pixels(picture_of(0), spec).to(model.method.device))

    def witness(row: int, value: float, position: int) -> Witness:
        picture = picture_of(row)
        return Witness(int(corpus.ids[row]), seen(picture, spec), grid.box(position), value)

    witnesses = []
    for values, positions in zip(torch.cat(best).T, torch.cat(place).T, strict=True):  # (R,) each
        ranked = [row for row in values.argsort(descending=True).tolist() if values[row] > -torch.inf]
        first = list({names[row]: row for row in reversed(ranked)}.values())[::-1][:wanted]  # the best of each group
        witnesses.append([witness(row, float(values[row]), int(positions[row])) for row in first])
    return witnesses


def _corpus_words(model: Model, corpus: Corpus, entries: Tensor, wanted: int = 4) -> list[list[str]]:
    """For each concept the words that speak for it most, on average over their occurrences in first captions."""
    total: defaultdict[str, Tensor] = defaultdict(lambda: torch.zeros(len(entries)))
    count: Counter[str] = Counter()
    captions = iter(row[0] if row else "" for row in corpus.texts())
    for found in _passes(model, corpus, "text", entries):
        for relevance, caption in zip(found.relevance, captions, strict=False):  # the last batch may be shorter
            for word in _words(model, caption):
                total[word.text.lower()] += relevance[list(word.tokens)].amax(dim=0)
                count[word.text.lower()] += 1
    if not total:
        return [[] for _ in entries]
    names = list(total)
    means = torch.stack([total[name] / count[name] for name in names])  # (V, k)
    order = means.argsort(dim=0, descending=True)[:wanted]
    return [[names[row] for row in column] for column in order.T.tolist()]


@torch.inference_mode()
def _passes(model: Model, corpus: Corpus, modality: str, entries: Tensor) -> Iterator[Concepts]:
    """The chosen concepts of every row, batch by batch, on the CPU."""
    able = model.able(SpeaksInConcepts)
    for batch in model.loader(corpus, (modality,), batch_size=_BATCH):
        found = able.concepts(to_device(batch, model.method.device))[modality]
        mask = None if found.mask is None else found.mask.cpu()
        yield Concepts(found.weights.cpu()[:, entries], found.relevance.cpu()[:, :, entries], mask)


WAY = Way(
    "concepts",
    "Concepts that both share",
    SpeaksInConcepts,
    lambda model, image, text, corpus, k: explain_concepts(model, image, text, corpus, k),
    reads_text=True,
    reads_rows=True,
)
