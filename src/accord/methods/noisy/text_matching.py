"""CAPro's offline stage: which images of a class have a text that fits the class's definition.

Texts are cleaned, repaired by smoothing over the visual nearest-neighbour graph, and compared to the class
definitions with the k-reciprocal re-ranking distance (CAPro, stage 0, steps 1 to 5).
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from accord.functional import k_reciprocal_distance, k_reciprocal_neighbours, select_by_text, sgc_smooth

_MARKUP = re.compile(r"<[^>]*>|&[a-z#0-9]+;|(?:https?://|www\.)\S+|\.(?:jpe?g|png|gif|webp|bmp|tiff?|svg)\b")
_WORD = re.compile(r"[^\W_]+")
_WEB_WORDS = frozenset(
    [
        "jpg",
        "jpeg",
        "png",
        "gif",
        "webp",
        "bmp",
        "www",
        "http",
        "https",
        "html",
        "htm",
        "php",
        "com",
        "net",
        "org",
        "img",
        "image",
        "images",
        "photo",
        "photos",
        "picture",
        "pictures",
        "pic",
        "pics",
        "stock",
        "free",
        "download",
        "downloads",
        "wallpaper",
        "wallpapers",
        "thumbnail",
        "thumb",
        "shutterstock",
        "flickr",
        "pinterest",
        "instagram",
        "facebook",
        "youtube",
        "alamy",
        "istock",
        "getty",
        "copyright",
        "click",
        "here",
        "page",
        "site",
        "website",
        "online",
    ]
)


def clean_text(text: str) -> str:
    """A web text as lower-case words: no markup, links, image suffixes, numbers, short or web words.

    Words with letters outside a–z are taken for non-English and dropped. An empty result is one blank.

    Example:
        >>> clean_text("Tiger_Cat-12.JPG <b>free</b> wallpaper of a cat http://x.y/z")
        'tiger cat cat'
        >>> clean_text("...")
        ' '
    """
    plain = _MARKUP.sub(" ", text.lower())
    words = [
        word
        for word in _WORD.findall(plain.replace("-", " ").replace("_", " "))
        if len(word) > 2 and word.isascii() and word.isalpha() and word not in _WEB_WORDS
    ]
    return " ".join(words) or " "


def enhance_texts(
    texts: Tensor,
    visual: Tensor,
    neighbours: int,
    pool: int,
    *,
    self_weight: float = 0.0,
    edges: Literal["similarity", "distance"] = "similarity",
    k1: int = 20,
    k2: int = 6,
    lam: float = 0.3,
) -> Tensor:
    """Replace each text embedding by the mean of its visual neighbours' (one graph-convolution step).

    Neighbours are the best ``neighbours`` of the ``pool`` nearest images by cosine after k-reciprocal
    re-ranking.

    Args:
        texts: ``(N, Dt)`` text embeddings.
        visual: ``(N, Dv)`` visual features.
        neighbours: k kept per image.
        pool: candidates per image before re-ranking.
        self_weight: weight of the image's own text; 0 replaces it altogether.
        edges: what the graph's edges carry. ``"distance"`` is what the released code does, which gives the farthest
            neighbour the most weight; it is there for comparisons with it.
        k1, k2, lam: parameters of the re-ranking.

    Returns:
        ``(N, Dt)``, unit norm.
    """
    visual = F.normalize(visual.float(), dim=-1)
    near = k_reciprocal_neighbours(visual, neighbours, pool=pool, k1=k1, k2=k2, lam=lam)
    weight = near.dist if edges == "distance" else near.sim
    smooth = sgc_smooth(F.normalize(texts.float(), dim=-1), near.idx, weight, self_weight=self_weight)
    return F.normalize(smooth, dim=-1)


def definition_distance(
    texts: Tensor, definitions: Tensor, labels: Tensor, *, k1: int = 20, k2: int = 6, lam: float = 0.3
) -> Tensor:
    """Re-ranked distance of every text to the class definitions, each ranked among the rows of the same label.

    Args:
        texts: ``(N, D)`` unit-norm text embeddings.
        definitions: ``(C, D)`` unit-norm definition embeddings.
        labels: ``(N,)`` class indices, or ``(N, C)`` multi-hot.
        k1, k2, lam: parameters of the k-reciprocal distance.

    Returns:
        ``(N,)`` distance to the own label's definition for class indices; ``(N, C)`` for multi-hot labels, where
        rows that carry the class and rows that do not are ranked apart.
    """
    single = labels.ndim == 1
    members = F.one_hot(labels, len(definitions)).bool() if single else labels.bool()  # (N, C)
    distance = torch.full(members.shape, torch.inf, device=texts.device)
    for index, definition in enumerate(definitions):
        for side in (members[:, index],) if single else (members[:, index], ~members[:, index]):
            if side.any():
                distance[side, index] = k_reciprocal_distance(definition[None], texts[side], k1=k1, k2=k2, lam=lam)[0]
    return distance.gather(1, labels[:, None])[:, 0] if single else distance


def definition_margin(texts: Tensor, definitions: Tensor, labels: Tensor) -> Tensor:
    """By how much every text is nearer to the definition of its class than to any other.

    Args:
        texts: ``(N, D)`` unit-norm text embeddings.
        definitions: ``(C, D)`` unit-norm definition embeddings.
        labels: ``(N,)`` class indices, or ``(N, C)`` multi-hot; other classes are those that a row does not carry.

    Returns:
        Difference of cosines, ``(N,)`` for class indices; ``(N, C)`` for multi-hot labels, against the nearest other
        class than the column's.

    Example:
        >>> axes = torch.eye(2)
        >>> definition_margin(axes, axes, torch.tensor([0, 0]))
        tensor([ 1., -1.])
    """
    cosine = texts.float() @ definitions.float().T  # (N, C)
    members = F.one_hot(labels, len(definitions)).bool() if labels.ndim == 1 else labels.bool()
    own = cosine.masked_fill(~members, -torch.inf).amax(dim=1)
    others = cosine.masked_fill(members, -torch.inf).amax(dim=1)
    return own - others if labels.ndim == 1 else cosine - others[:, None]


def trusted_rows(
    distance: Tensor, labels: Tensor, few_shot: float, *, cap: float = 1.0, near: Tensor | None = None
) -> Tensor:
    """The pseudo few-shot set: of each class the rows whose text fits the definition best, at least one.

    Args:
        distance: from :func:`definition_distance`.
        labels: ``(N,)`` or ``(N, C)``.
        few_shot: rows per class, or below 1 a share of the class; multi-label also takes as many negatives, those
            that fit the definition worst.
        cap: largest share of a class, and of its negatives, that is taken.
        near: of the same shape as ``distance``, the rows of a class to which the choice is limited, where there are
            such rows; negatives are not.

    Returns:
        ``(N,)`` bool, or ``(N, C)`` bool for multi-hot labels.

    Example:
        >>> distance, labels = torch.tensor([0.3, 0.1, 0.2, 0.4, 0.9]), torch.tensor([0, 0, 0, 0, 1])
        >>> trusted_rows(distance, labels, few_shot=3, cap=0.5)
        tensor([False,  True,  True, False,  True])
    """
    if labels.ndim == 1:
        return _nearest(distance, labels, int(labels.max()) + 1, few_shot, cap, near)
    columns = []
    for index, label in enumerate(labels.T):
        signed = torch.where(label.bool(), distance[:, index], -distance[:, index])
        limited = None if near is None else near[:, index] | ~label.bool()
        columns.append(_nearest(signed, label.long(), 2, few_shot, cap, limited))
    return torch.stack(columns, dim=1)


def whole_classes(trusted: Tensor, labels: Tensor, classes: Sequence[str]) -> list[str]:
    """The names of classes all of whose rows are trusted, so that nothing of them is left to be corrected.

    Args:
        trusted: from :func:`trusted_rows`.
        labels: ``(N,)`` or ``(N, C)``.
        classes: C names.

    Example:
        >>> whole_classes(torch.tensor([True, False, True]), torch.tensor([0, 0, 1]), ["cat", "dog"])
        ['dog']
    """
    members = F.one_hot(labels, len(classes)).bool() if labels.ndim == 1 else labels.bool()
    chosen = trusted[:, None] if trusted.ndim == 1 else trusted
    whole = members.any(dim=0) & (chosen | ~members).all(dim=0)
    return [name for name, every in zip(classes, whole.tolist(), strict=True) if every]


def _nearest(
    distance: Tensor, labels: Tensor, classes: int, few_shot: float, cap: float, near: Tensor | None
) -> Tensor:
    """Of each class the rows of least distance, first of those that are near."""
    size = torch.bincount(labels, minlength=classes)
    wanted = torch.full_like(size, int(few_shot)) if few_shot >= 1 else (few_shot * size).round().long()
    wanted = torch.minimum(wanted, (cap * size).long())
    if near is not None:
        wanted = torch.minimum(wanted, torch.bincount(labels[near], minlength=classes))
        distance = distance + (~near) * (1 + distance.max() - distance.min())  # they come last, in their own order
    return select_by_text(distance, labels, wanted.clamp(min=1), classes)
