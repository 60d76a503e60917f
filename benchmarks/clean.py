"""How well ``accord clean`` finds what was made wrong on purpose, beside plain similarity and cleanlab.

*Pairs*: a share of the captions changes places. Judged are embeddings of the shipped model, of a linear head on frozen
encoders that is trained on the very pairs that are wrong, and of those encoders as they are, which share no space.
Plain similarity is the cosine of picture and caption. *Labels*: a share is flipped to any other class, or to the next
one. cleanlab gets probabilities of a logistic regression with cross-validation on the same embeddings, and orders rows
by its label quality (self-confidence). Given is the average precision of the wrong rows, a mean over seeds, and by how
many points of it ours is higher with the 95 % interval over them; the share that is estimated; and of the rows that are
doubted how many are wrong, and of the wrong ones how many are doubted (cleanlab: its label issues).

Packs that are not on this machine are left out (``accord data get apps``).

    python benchmarks/clean.py [seeds [rows]]
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from importlib.util import find_spec
from itertools import chain
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from record import write
from scipy import stats
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import average_precision_score
from sklearn.model_selection import StratifiedKFold, cross_val_predict
from torch import Tensor

import accord
from accord.cleaning import LabelJudge, PairJudge
from accord.data.corpus import Corpus, open_corpus
from accord.data.loading.loader import eval_loader
from accord.data.making.corruption import flip_labels, shuffle_captions
from accord.data.packs import get_pack, parquet_path
from accord.encoders import build_encoder
from accord.functional import info_nce

SEEDS, ROWS, NOISE = 10, 2000, (0.2, 0.4)
HEAD, STEPS, BATCH = 64, 100, 256
Bools = NDArray[np.bool_]


@dataclass(frozen=True)
class Found:
    """What one side says of the rows: which are the likelier to be wrong, which it doubts, and of how many."""

    suspicion: NDArray[np.floating]
    doubted: Bools | None = None
    share: float | None = None


Round = tuple[Bools, dict[str, Found]]  # which rows are wrong, and what each side finds


def main(seeds: int = SEEDS, rows: int = ROWS) -> None:
    """Measure, print and write ``results/clean.json``."""
    measured = []
    for row in chain(pairs(seeds, rows), labels(seeds, rows)):
        measured.append(row)
        print({key: value for key, value in row.items() if value is not None}, flush=True)
    print("written:", write("clean", measured, ("accord", "cleanlab", "scikit-learn", "faiss-cpu", "torch")))


# ---- pairs -----------------------------------------------------------------------------------------------------------


def pairs(seeds: int, rows: int) -> Iterator[dict[str, Any]]:
    """Wrong pairs of each pack, by each kind of embeddings."""
    kinds = {"house": house, "trained on them": head, "two spaces": apart}
    for pack in ("emoji", "apps"):
        if not parquet_path(get_pack(pack)).is_file():
            continue
        for kind, embed in kinds.items():
            if kind == "house" and pack != "emoji":
                continue  # it knows emoji alone
            for noise in NOISE:
                rounds = [pair_round(pack, embed, rows, noise, seed) for seed in range(seeds)]
                yield compared(f"pairs of {pack}, {kind}", noise, rounds)


def pair_round(
    pack: str,
    embed: Callable[[str, NDArray[np.int64], NDArray[np.int64], int], tuple[Tensor, Tensor]],
    rows: int,
    noise: float,
    seed: int,
) -> Round:
    """The wrong rows of one seed, and what each side finds."""
    texts = captions(pack)
    drawn = np.sort(np.random.default_rng(seed).permutation(len(texts))[:rows])
    order = np.array(shuffle_captions(drawn.tolist(), noise, seed)[0])  # whose caption each row gets
    wrong = np.array([texts[own] != texts[other] for own, other in zip(drawn, order, strict=True)])
    one, other = embed(pack, drawn, order, seed)
    judge = PairJudge(one, other, seed)
    found = {"ours": Found(-judge.log_odds, judge.clean < 0.5, judge.share)}
    if judge.joint:
        found["similarity"] = Found(-(one * other).sum(dim=1).numpy())
    return wrong, found


def house(pack: str, drawn: NDArray[np.int64], order: NDArray[np.int64], seed: int) -> tuple[Tensor, Tensor]:
    """Embeddings of the model that ships, which was trained on most of these, as they should be."""
    vectors = shipped(pack)
    return vectors["image"][drawn], vectors["text"][order]


def apart(pack: str, drawn: NDArray[np.int64], order: NDArray[np.int64], seed: int) -> tuple[Tensor, Tensor]:
    """Features of pretrained encoders that have nothing to do with each other."""
    features = frozen(pack)
    return features["image"][drawn], features["text"][order]


def head(pack: str, drawn: NDArray[np.int64], order: NDArray[np.int64], seed: int) -> tuple[Tensor, Tensor]:
    """The same features through linear maps into one space, trained to tell the pairs as they are from others."""
    torch.manual_seed(seed)
    sides = [standard(side) for side in apart(pack, drawn, order, seed)]
    maps = [torch.nn.Linear(side.shape[1], HEAD) for side in sides]
    optimiser = torch.optim.AdamW([each for one in maps for each in one.parameters()], lr=1e-3, weight_decay=0.1)
    for _ in range(STEPS):
        batch = torch.randint(0, len(drawn), (BATCH,))
        one, other = (F.normalize(one(side[batch]), dim=1) for one, side in zip(maps, sides, strict=True))
        loss = info_nce(one, other, 1 / 0.07)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    with torch.no_grad():
        one, other = (F.normalize(one(side), dim=1) for one, side in zip(maps, sides, strict=True))
    return one, other


def standard(side: Tensor) -> Tensor:
    """Centred features, of unit variance on the mean over dimensions."""
    centred = side - side.mean(dim=0)
    return centred / centred.square().mean().sqrt()


@cache
def corpus_of(pack: str) -> Corpus:
    """The rows of a pack, with one caption each."""
    columns = {"text": ["name"]} if pack == "emoji" else None
    return open_corpus(f"pack:{pack}", columns=columns, check=False, quiet=True)


@cache
def captions(pack: str) -> list[str]:
    """The caption of every row."""
    return [texts[0] for texts in corpus_of(pack).texts()]


@cache
def shipped(pack: str) -> dict[str, Tensor]:
    """All rows by the model that ships."""
    model = accord.load("house")
    return {name: model.embed_corpus(corpus_of(pack), name) for name in ("image", "text")}


@cache
def frozen(pack: str) -> dict[str, Tensor]:
    """All rows by EfficientNet-Lite0 and MiniLM, unit norm."""
    found = {}
    for modality, spec in (("image", {"name": "efficientnet_lite0", "size": 128}), ("text", {"name": "minilm"})):
        encoder = build_encoder(modality, spec, freeze="all").eval()
        loader = eval_loader(corpus_of(pack), {modality: encoder.input}, batch_size=64, modalities=(modality,))
        with torch.inference_mode():
            rows = [encoder(batch[modality], batch.get(f"{modality}_mask")).pooled.float() for batch in loader]
        found[modality] = F.normalize(torch.cat(rows), dim=1).clone()
    return found


# ---- labels ----------------------------------------------------------------------------------------------------------


def labels(seeds: int, rows: int) -> Iterator[dict[str, Any]]:
    """Wrong labels of digits, by their pixels, and of emoji, by their pictures' embeddings."""
    for name in ("digits", "emoji"):
        for kind, noise in (("symmetric", 0.2), ("symmetric", 0.4), ("pair", 0.2)):
            rounds = [label_round(name, kind, rows, noise, seed) for seed in range(seeds)]
            without = "" if find_spec("cleanlab") else " (cleanlab is not installed)"
            yield compared(f"labels of {name}, {kind}{without}", noise, rounds)


def label_round(name: str, kind: Any, rows: int, noise: float, seed: int) -> Round:
    """The wrong rows of one seed, and what each side finds."""
    vectors, right, classes = labelled(name)
    drawn = np.sort(np.random.default_rng(seed).permutation(len(right))[:rows])
    vectors, right = vectors[drawn], right[drawn]
    given = flip_labels(right, noise, kind, num_classes=classes, seed=seed)
    judge = LabelJudge([vectors], given, classes, seed=seed)
    ours = Found(-judge.log_odds, judge.clean < 0.5, judge.share)
    peer = {"cleanlab": by_cleanlab(vectors.numpy(), given, seed)} if find_spec("cleanlab") else {}
    return given != right, {"ours": ours, **peer}


def by_cleanlab(vectors: NDArray[np.floating], given: NDArray[np.int64], seed: int) -> Found:
    """What cleanlab says, from out-of-sample probabilities."""
    from cleanlab.filter import find_label_issues
    from cleanlab.rank import get_label_quality_scores

    numbers = np.unique(given, return_inverse=True)[1]
    folds = StratifiedKFold(5, shuffle=True, random_state=seed)
    model = LogisticRegression(max_iter=500, C=10.0)
    shares = cross_val_predict(model, vectors, numbers, cv=folds, method="predict_proba")
    issues = find_label_issues(numbers, shares)
    return Found(-get_label_quality_scores(numbers, shares), issues, float(issues.mean()))


@cache
def labelled(name: str) -> tuple[Tensor, NDArray[np.int64], int]:
    """Unit vectors, labels and how many classes there are."""
    if name == "digits":
        pixels, digits = load_digits(return_X_y=True)
        return F.normalize(torch.from_numpy(pixels).float() - pixels.mean(), dim=1), digits, 10
    corpus = corpus_of(name)
    assert corpus.labels is not None
    return shipped(name)["image"], corpus.labels, len(corpus.classes)


# ---- comparing -------------------------------------------------------------------------------------------------------


def compared(what: str, noise: float, rounds: list[Round]) -> dict[str, Any]:
    """One line of the table: means over seeds."""
    seeds = len(rounds)
    sides = {
        side: np.array([average_precision_score(wrong, found[side].suspicion) for wrong, found in rounds])
        for side in rounds[0][1]
    }
    peer = next((side for side in sides if side != "ours"), None)
    low = high = gain = None
    if peer is not None:
        differences = 100 * (sides["ours"] - sides[peer])
        gain = float(differences.mean())
        reach = stats.t.ppf(0.975, seeds - 1) * differences.std(ddof=1) / seeds**0.5 if seeds > 1 else np.nan
        low, high = (round(gain - reach, 2), round(gain + reach, 2)) if seeds > 1 else (None, None)
    return row(
        what=what,
        wrong=noise,
        AP=round(100 * float(sides["ours"].mean()), 1),
        peer=peer,
        **{"peer's AP": None if peer is None else round(100 * float(sides[peer].mean()), 1)},
        gain=None if gain is None else round(gain, 2),
        low=low,
        high=high,
        **{"share told": round(float(np.mean([found["ours"].share for _, found in rounds])), 3)},
        **doubts("", [(wrong, found["ours"].doubted) for wrong, found in rounds]),
        **(doubts("peer's ", [(wrong, found[peer].doubted) for wrong, found in rounds]) if peer == "cleanlab" else {}),
        seeds=seeds,
    )


def doubts(whose: str, rounds: list[tuple[Bools, Bools | None]]) -> dict[str, float]:
    """Of the doubted rows how many are wrong, and of the wrong ones how many are doubted."""
    pairs = [(wrong, doubted) for wrong, doubted in rounds if doubted is not None]
    right = [float((wrong & doubted).sum() / max(1, doubted.sum())) for wrong, doubted in pairs]
    found = [float((wrong & doubted).sum() / max(1, wrong.sum())) for wrong, doubted in pairs]
    return {f"{whose}doubts right": round(float(np.mean(right)), 3), f"{whose}found": round(float(np.mean(found)), 3)}


def row(**said: Any) -> dict[str, Any]:
    """A row with all columns."""
    columns = ("what", "wrong", "AP", "peer", "peer's AP", "gain", "low", "high", "share told", "doubts right", "found")
    return {name: said.get(name) for name in (*columns, "peer's doubts right", "peer's found", "seeds")}


if __name__ == "__main__":
    main(*(int(argument) for argument in sys.argv[1:]))
