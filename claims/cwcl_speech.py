"""CWCL against locked tuning, from text to speech in French, Spanish and English.

MiniLM is locked; what learns is a head on the frozen states of Whisper-tiny. French and Spanish are the captions of
the stamps pack read aloud, towards their English captions. Nobody read more than 66 of them in English, so English
comes from the prompts pack, whose texts are file names. Speech is then sorted into the packs' own classes (folders
of stamps, kinds of prompts) by their names, as intents would be.

The packs must be there (``accord data get stamps``, ``accord data get prompts``), and ``pip install accord[speech]``.

    accord claims run cwcl_speech
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from shared.interest import POINT

from accord.claims import Arm, Claim, Question
from accord.data.corpus import Corpus
from accord.evaluation.retrieval import evaluate_retrieval
from accord.evaluation.zero_shot import class_examples, evaluate_zero_shot
from accord.training.artifact import Model

SPEECH = {
    "French": ("pack:stamps", "speech_fr", "caption"),
    "Spanish": ("pack:stamps", "speech_es", "caption"),
    "English": ("pack:prompts", "speech_en", "text"),
}
KERNELS = {"LiT": "none", "affine": "affine", "exp": "exp"}
EXAMPLES = 5  # captions that stand for a class beside its name


def section(language: str) -> dict[str, Any]:
    """The rows that somebody read aloud in a language."""
    source, audio, text = SPEECH[language]
    return {"source": source, "columns": {"audio": audio, "text": [text]}, "split": {"test": 0.2}}


def measure(model: Model, train: Corpus, test: Corpus) -> Mapping[str, float]:
    """Accuracy by names, by names and example texts, and recall."""
    recall = {metric.name: metric.value for metric in evaluate_retrieval(model, test, "audio")}
    return {
        "accuracy": top1(model, test),
        "accuracy, examples": top1(model, test, class_examples(train, EXAMPLES)),
        "R@1": (recall["audio→text R@1"] + recall["text→audio R@1"]) / 2,
    }


def top1(model: Model, test: Corpus, examples: list[list[str]] | None = None) -> float:
    """Zero-shot accuracy of speech."""
    metrics = evaluate_zero_shot(model, test, modality="audio", examples=examples)
    return next(metric.value for metric in metrics if metric.name == "top-1")


def arms() -> Iterator[tuple[str, Arm]]:
    """Every kernel in every language, on centred text features."""
    for language in SPEECH:
        for kernel, name in KERNELS.items():
            yield f"{kernel}, {language}", Arm({"method.kernel": name}, data=section(language))


CLAIM = Claim(
    slug="cwcl_speech",
    kind_of_data="real",
    paper="From a locked text encoder to speech, continuous weights give 20 to 30 points more than locked tuning in "
    "zero-shot classification of intents and keywords.",
    run={
        "method": {"name": "cwcl", "locked": "text", "trained": "audio", "centre": "both", "head": "mlp"},
        "encoders": {
            "audio": {"name": "whisper_tiny", "freeze": "all", "options": {"seconds": 10.0}},
            "text": {"name": "minilm", "freeze": "all"},
        },
        "training": {"epochs": 60, "batch_size": 128, "lr": 1e-3},
    },
    arms=dict(arms()),
    measure=measure,
    questions=[
        Question(
            f"{kernel}, {language}{', examples' if 'examples' in metric else ''}",
            f"{language} speech is sorted into classes by their names{' and five texts each' * ('examples' in metric)} "
            f"better under {kernel} weights than under locked tuning.",
            method=f"{kernel}, {language}",
            baseline=f"LiT, {language}",
            metric=metric,
            **POINT,
        )
        for metric in ("accuracy", "accuracy, examples")
        for language in SPEECH
        for kernel in ("affine", "exp")
    ],
    tuning="Nothing was tuned: defaults of the library, the same for all arms.",
)
