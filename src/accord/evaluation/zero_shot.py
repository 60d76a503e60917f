"""Zero-shot classification (CLIP): class names written as captions become the weights of a linear classifier.

For class c every template is filled with its name; ``e_c = normalise(mean(normalise(encode(text))))``. Where a model
scores pairs by their tokens (FILIP), tokens of different texts have no mean: there the *scores* of a class's texts are
averaged.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import torch
import torch.nn.functional as F
from torch import Tensor

from accord.errors import ConfigError
from accord.evaluation.classification import (
    Classification,
    evaluate_classification,
    group_rows,
    score_classes,
    scored_rows,
)
from accord.evaluation.embedder import Embedder, Rescorer, by_joint_score, can, rescorer
from accord.evaluation.metric import Metric
from accord.evaluation.needs import beside_text
from accord.methods.abilities import MatchesLabels

if TYPE_CHECKING:
    from accord.data.corpus import Corpus

_ROWS, _PROMPTS = 64, 128  # rows and texts scored with each other at a time
TEMPLATES: dict[str, tuple[str, ...]] = {
    "plain": ("{}",),
    "photo": (
        "a photo of a {}.",
        "a photo of the {}.",
        "a close-up photo of a {}.",
        "a bright photo of a {}.",
        "a dark photo of a {}.",
        "a blurry photo of a {}.",
        "a cropped photo of a {}.",
        "a photo of a small {}.",
        "a photo of a large {}.",
    ),
    "drawing": (
        "a drawing of a {}.",
        "a drawing of the {}.",
        "an icon of a {}.",
        "an emoji of a {}.",
        "a simple picture of a {}.",
        "a cartoon {}.",
        "a sketch of a {}.",
        "a symbol for {}.",
    ),
}


def resolve_templates(templates: str | Sequence[str]) -> tuple[str, ...]:
    """The templates of a named set, or the user's own, each with a ``{}`` where the class name goes.

    Args:
        templates: ``"plain"``, ``"photo"``, ``"drawing"``, or one or several texts with ``{}``.

    Raises:
        ConfigError: a text has no ``{}``, or there is no template.

    Example:
        >>> resolve_templates("a stamp showing {}")
        ('a stamp showing {}',)
        >>> resolve_templates("stamp")
        Traceback (most recent call last):
        accord.errors.ConfigError: template 'stamp': expected {} where the class name goes, or one of: ...
    """
    if isinstance(templates, str):
        templates = TEMPLATES.get(templates, (templates,))
    if not templates:
        raise ConfigError(f"templates: none given; expected texts with {{}}, or one of: {', '.join(TEMPLATES)}")
    for template in templates:
        if "{}" not in template:
            sets = ", ".join(TEMPLATES)
            raise ConfigError(f"template {template!r}: expected {{}} where the class name goes, or one of: {sets}")
    return tuple(templates)


def class_prompts(classnames: Sequence[str], templates: str | Sequence[str] = "plain") -> list[str]:
    """Every template filled with every name, the templates of one name next to each other.

    Raises:
        ConfigError: no class, or a template without ``{}``.

    Example:
        >>> class_prompts(["cat", "dog"], ["{}", "a {}"])
        ['cat', 'a cat', 'dog', 'a dog']
    """
    filled = resolve_templates(templates)
    if not classnames:
        raise ConfigError("zero-shot: no class names; give a corpus with labels, or name the classes")
    return [template.replace("{}", name) for name in classnames for template in filled]


def build_zero_shot_classifier(
    encode_text: Callable[[list[str]], Tensor],
    classnames: Sequence[str],
    templates: str | Sequence[str] = "plain",
    examples: Sequence[Sequence[str]] | None = None,
) -> Tensor:
    """Weights of the zero-shot classifier.

    Args:
        encode_text: maps n texts to ``(n, D)``.
        classnames: C names, or definitions.
        templates: see :func:`resolve_templates`.
        examples: for each class any number of texts that belong to it, such as utterances of an intent; each counts
            like a filled template.

    Returns:
        ``(D, C)``, unit columns; logits are ``images @ weights``.

    Raises:
        ConfigError: no class, a template without ``{}``, or examples of another number of classes.

    Example:
        >>> letters = lambda texts: torch.tensor([[float(t.count("a")), float(t.count("b"))] for t in texts])
        >>> build_zero_shot_classifier(letters, ["a", "b"], ["{}", "{}{}"])
        tensor([[1., 0.], [0., 1.]])
        >>> build_zero_shot_classifier(letters, ["a", "b"], examples=[["b"], []])
        tensor([[0.7071, 0.0000], [0.7071, 1.0000]])
    """
    prompts = class_prompts(classnames, templates)
    further = [[]] * len(classnames) if examples is None else examples
    if len(further) != len(classnames):
        raise ConfigError(
            f"zero-shot: examples of {len(further)} classes, expected one list for each of the "
            f"{len(classnames)} classes"
        )
    texts = prompts + [text for mine in further for text in mine]
    each = len(prompts) // len(classnames)
    owner = torch.tensor(
        [place // each for place in range(len(prompts))] + [c for c, mine in enumerate(further) for _ in mine]
    )
    embedded = F.normalize(encode_text(texts).float(), dim=1)
    # The direction of a class's mean is that of its sum.
    total = embedded.new_zeros(len(classnames), embedded.shape[1]).index_add(0, owner.to(embedded.device), embedded)
    return F.normalize(total, dim=1).T.contiguous()  # (D, C)


def class_examples(corpus: Corpus, count: int) -> list[list[str]]:
    """Up to ``count`` different captions of each class, of the first rows that bear it, for a zero-shot classifier.

    Args:
        corpus: labelled rows with captions; not those that are to be classified.
        count: texts per class.

    Raises:
        ConfigError: the rows have no captions, or not one label each.
    """
    if corpus.labels is None or corpus.multi_label or not corpus.columns.text or not len(corpus):
        raise ConfigError(f"{corpus.name}: examples of classes need training rows with captions and one label each")
    found: list[dict[str, None]] = [{} for _ in corpus.classes]
    for label, captions in zip(corpus.labels, corpus.texts(), strict=True):
        if label >= 0 and captions and len(found[label]) < count:
            found[label].setdefault(captions[0])
    return [list(texts) for texts in found]


def zero_shot(
    model: Embedder, corpus: Corpus, templates: str | Sequence[str] = "plain", modality: str | None = None
) -> Classification:
    """Classify the labelled rows of a single-label corpus by its class names."""
    rows, labels = scored_rows(corpus)
    scores = class_scores(model, corpus, corpus.classes, templates, modality)[torch.from_numpy(rows)]
    return score_classes(scores, labels, corpus.classes, group_rows(corpus, rows))


def evaluate_zero_shot(
    model: Embedder,
    corpus: Corpus,
    templates: str | Sequence[str] = "plain",
    modality: str | None = None,
    examples: Sequence[Sequence[str]] | None = None,
) -> list[Metric]:
    """Zero-shot metrics of a model on a corpus, single-label or multi-label as the corpus is.

    Args:
        model: embeds text and ``modality`` into one space.
        corpus: labelled.
        templates: see :func:`resolve_templates`.
        modality: what is classified; None for the model's first besides text.
        examples: further texts of each class, see :func:`build_zero_shot_classifier`.
    """
    modality = modality or beside_text(model, corpus)
    corpus = corpus.having(modality)
    return evaluate_classification(class_scores(model, corpus, corpus.classes, templates, modality, examples), corpus)


def class_scores(
    model: Embedder,
    corpus: Corpus,
    classes: Sequence[str],
    templates: str | Sequence[str] = "plain",
    modality: str | None = None,
    examples: Sequence[Sequence[str]] | None = None,
) -> Tensor:
    """Similarity ``(N, C)`` of every row of a corpus with every class, by the closest score that the model has.

    Args:
        model: embeds text and ``modality`` into one space.
        corpus: the rows.
        classes: names of the classes.
        templates: see :func:`resolve_templates`.
        modality: what is classified; None for the model's first besides text.
        examples: further texts of each class, see :func:`build_zero_shot_classifier`.

    Raises:
        ConfigError: examples for a model that scores by tokens or matches labels, whose classes are templates alone.
    """
    if can(model, MatchesLabels):
        if examples is not None:
            raise ConfigError("zero-shot: a model that matches labels takes templates, not examples")
        return matched_scores(model, corpus, classes, templates)
    second = rescorer(model)
    if second is not None and examples is not None:
        raise ConfigError("zero-shot: a model that scores pairs by their tokens takes templates, not examples")
    if second is not None:
        return ensembled_scores(second, corpus, classes, templates, modality)
    classifier = build_zero_shot_classifier(lambda texts: model.embed(texts=texts), classes, templates, examples)
    modality = modality or beside_text(model, corpus)
    rows = model.embed_corpus(corpus, modality)
    if by_joint_score(model):
        scores: Tensor = model.score_tuples({modality: rows}, {"text": classifier.T})  # type: ignore[attr-defined]
        return scores
    return rows @ classifier


def matched_scores(
    model: Any, corpus: Corpus, classes: Sequence[str], templates: str | Sequence[str] = "plain"
) -> Tensor:
    """``(N, C)`` the mean over a class's texts of each row's logit with them, of a model that matches labels.

    Args:
        model: a loaded model whose method has that ability.
        corpus: the rows.
        classes: names of the classes.
        templates: see :func:`resolve_templates`.
    """
    able, prompts = model.able(MatchesLabels), class_prompts(classes, templates)
    parts = model.over_batches(corpus, lambda batch: able.match(batch, prompts).float().cpu())
    scores: Tensor = torch.cat(parts).unflatten(1, (len(classes), -1)).mean(dim=2)
    return scores


def ensembled_scores(
    model: Rescorer,
    corpus: Corpus,
    classes: Sequence[str],
    templates: str | Sequence[str] = "plain",
    modality: str | None = None,
) -> Tensor:
    """``(N, C)`` the mean over a class's texts of each row's score with them (FILIP).

    Args:
        model: scores pairs by their tokens.
        corpus: the rows.
        classes: names of the classes.
        templates: see :func:`resolve_templates`.
        modality: what is classified; None for the model's first besides text.
    """
    modality = modality or beside_text(model, corpus)
    prompts = model.tokens(texts=class_prompts(classes, templates))
    rows = model.tokens_corpus(corpus, modality)
    scores = []
    for start in range(0, len(rows), _ROWS):
        some = rows.padded(slice(start, start + _ROWS))
        blocks = [
            model.rescore(some, prompts.padded(slice(first, first + _PROMPTS)), modality)
            for first in range(0, len(prompts), _PROMPTS)
        ]
        scores.append(torch.cat(blocks, dim=1).unflatten(1, (len(classes), -1)).mean(dim=2))
    return torch.cat(scores)
