"""Zero-shot classification (CLIP): class names written as captions become the weights of a linear classifier.

For class c every template is filled with its name; ``e_c = normalise(mean(normalise(encode(text))))``.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

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
from accord.evaluation.embedder import Embedder
from accord.evaluation.metric import Metric

if TYPE_CHECKING:
    from accord.data.corpus import Corpus

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


def build_zero_shot_classifier(
    encode_text: Callable[[list[str]], Tensor],
    classnames: Sequence[str],
    templates: str | Sequence[str] = "plain",
) -> Tensor:
    """Weights of the zero-shot classifier.

    Args:
        encode_text: maps n texts to ``(n, D)``.
        classnames: C names, or definitions.
        templates: see :func:`resolve_templates`.

    Returns:
        ``(D, C)``, unit columns; logits are ``images @ weights``.

    Raises:
        ConfigError: no class, or a template without ``{}``.

    Example:
        >>> letters = lambda texts: torch.tensor([[float(t.count("a")), float(t.count("b"))] for t in texts])
        >>> build_zero_shot_classifier(letters, ["a", "b"], ["{}", "{}{}"])
        tensor([[1., 0.], [0., 1.]])
    """
    filled = resolve_templates(templates)
    if not classnames:
        raise ConfigError("zero-shot: no class names; give a corpus with labels, or name the classes")
    texts = [template.replace("{}", name) for name in classnames for template in filled]
    embedded = F.normalize(encode_text(texts).float(), dim=1).unflatten(0, (len(classnames), len(filled)))
    return F.normalize(embedded.mean(dim=1), dim=1).T.contiguous()  # (D, C)


def zero_shot_logits(embeddings: Tensor, classifier: Tensor, scale: float = 100.0) -> Tensor:
    """Logits ``(N, C)`` of ``(N, D)`` unit embeddings against a ``(D, C)`` classifier.

    >>> zero_shot_logits(torch.eye(2), torch.eye(2), scale=2.0)
    tensor([[2., 0.], [0., 2.]])
    """
    return scale * embeddings @ classifier


def zero_shot(
    model: Embedder, corpus: Corpus, templates: str | Sequence[str] = "plain", modality: str = "image"
) -> Classification:
    """Classify the labelled rows of a single-label corpus by its class names."""
    rows, labels = scored_rows(corpus)
    logits = corpus_logits(model, corpus, templates, modality)[torch.from_numpy(rows)]
    return score_classes(logits, labels, corpus.classes, group_rows(corpus, rows))


def evaluate_zero_shot(
    model: Embedder, corpus: Corpus, templates: str | Sequence[str] = "plain", modality: str = "image"
) -> list[Metric]:
    """Zero-shot metrics of a model on a corpus, single-label or multi-label as the corpus is.

    Args:
        model: embeds text and ``modality`` into one space.
        corpus: labelled.
        templates: see :func:`resolve_templates`.
        modality: what is classified.
    """
    return evaluate_classification(corpus_logits(model, corpus, templates, modality), corpus)


def corpus_logits(
    model: Embedder, corpus: Corpus, templates: str | Sequence[str] = "plain", modality: str = "image"
) -> Tensor:
    """Zero-shot logits ``(N, C)`` of every row of a corpus."""
    classifier = build_zero_shot_classifier(lambda texts: model.embed(texts=texts), corpus.classes, templates)
    return zero_shot_logits(model.embed_corpus(corpus, modality), classifier)
