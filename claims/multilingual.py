"""One text tower for five languages, on emoji: names and tags in English, German, French, Spanish and Chinese.

Pictures are the only bridge: no row holds two languages in one text, and nothing says that two words mean the same.
All arms make the same number of steps, so that a tower of five languages reads each a fifth as often; it could lose in
English what it gains elsewhere. Scored on concepts that training does not show.

    accord claims run multilingual
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from shared.interest import POINT

from accord.claims import Arm, Claim, Question
from accord.data.corpus import Corpus
from accord.evaluation.retrieval import rank_queries
from accord.training.artifact import Model

LANGUAGES = ("en", "de", "fr", "es", "zh")


def columns(languages: Sequence[str]) -> list[str]:
    """The text columns of some languages; those of English have no suffix."""
    return [f"{kind}{'' if code == 'en' else f'_{code}'}" for code in languages for kind in ("name", "tags")]


def measure(model: Model, train: Corpus, test: Corpus) -> Mapping[str, float]:
    """Pictures found by each language's names, and English names found by another language's."""
    pictures = model.embed_corpus(test, "image")
    codes = list(test.rows["id"])
    drawn = {code: [place for place, other in enumerate(codes) if other == code] for code in codes}
    emoji = list(drawn)  # one name for its two drawings
    found = {}
    names = {code: _names(model, test, code, emoji, codes) for code in LANGUAGES}
    for code in LANGUAGES:
        ranks = rank_queries((names[code], pictures), [drawn[one] for one in emoji]).rank
        found[f"pictures by {code}, R@10"] = 100 * float(np.mean(ranks <= 10))
        if code != "en":
            ranks = rank_queries((names[code], names["en"]), [[place] for place in range(len(emoji))]).rank
            found[f"{code} to English, R@10"] = 100 * float(np.mean(ranks <= 10))
    found["pictures by guessing, R@10"] = 100 * (1 - (1 - 2 / len(codes)) ** 10)
    guessing = 100 * 10 / len(emoji)
    found["de to English, R@10 over five times chance"] = found["de to English, R@10"] - 5 * guessing
    return found


def _names(model: Model, test: Corpus, code: str, emoji: list[str], codes: list[str]) -> torch.Tensor:
    column = test.rows["name" if code == "en" else f"name_{code}"]
    first = {one: column[codes.index(one)] for one in emoji}
    return model.embed(texts=[first[one] for one in emoji])


CLAIM = Claim(
    slug="multilingual",
    kind_of_data="real",
    paper="Pictures connect languages: a text tower that reads captions in several languages, each beside pictures and "
    "never beside each other, brings words of one meaning together.",
    data={
        "source": "pack:emoji",
        "columns": {"text": columns(LANGUAGES), "group": "concept"},
        "split": {"test": 0.2},
    },
    run={
        "method": {"name": "clip", "dim": 128},
        "encoders": {
            "image": {"name": "efficientnet_lite0", "freeze": "all", "options": {"size": 96}},
            "text": {"name": "tiny_text", "options": {"length": 24}},
        },
        "training": {"epochs": 24, "batch_size": 128, "lr": 1e-3},
    },
    arms={
        "five languages": Arm(),
        "English alone": Arm({"data.columns.text": columns(("en",))}),
        "without German": Arm({"data.columns.text": columns(("en", "fr", "es", "zh"))}),
    },
    measure=measure,
    questions=[
        Question(
            "English kept",
            "At equal steps the tower of five languages finds pictures by English names at most 3 points of R@10 "
            "worse than the tower of English alone.",
            method="five languages",
            baseline="English alone",
            metric="pictures by en, R@10",
            margin=-3.0,
            **POINT,
        ),
        Question(
            "German to English",
            "German names find their English ones among those of unseen concepts at more than five times chance.",
            method="five languages",
            baseline=0.0,
            metric="de to English, R@10 over five times chance",
            **POINT,
        ),
        Question(
            "German unread",
            "A tower that never read German finds pictures by German names better than guessing: spellings are shared.",
            method="without German",
            baseline="without German",
            metric="pictures by de, R@10",
            baseline_metric="pictures by guessing, R@10",
            **POINT,
        ),
        Question(
            "Chinese",
            "By Chinese names, which share no spelling, five languages find pictures better than guessing.",
            method="five languages",
            baseline="five languages",
            metric="pictures by zh, R@10",
            baseline_metric="pictures by guessing, R@10",
            **POINT,
        ),
    ],
    tuning="Nothing was tuned; settings as in the shipped clip run, the same for all arms.",
)
