"""CWCL against locked tuning, from text to speech in French and Spanish.

MiniLM is locked; what learns is a head on the frozen states of Whisper-tiny, from the captions of the stamps pack read
aloud, towards their English captions. Speech is then sorted into the folders of stamps by their names, as intents would
be. Batches are small, or hold nearly all rows: contrast pushes apart what is one thing only where a batch holds it more
than once. The ceiling is how well the captions themselves, as texts, are sorted by the same names.

The pack must be there (``accord data get stamps``), and ``pip install accord[speech]``.

    accord claims tune cwcl_speech && accord claims run cwcl_speech
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from accord.claims import Arm, Claim, Combined, Question, Scale, Tuning
from accord.data.corpus import Corpus
from accord.evaluation.retrieval import evaluate_retrieval
from accord.evaluation.zero_shot import class_examples, evaluate_zero_shot
from accord.training.artifact import Model

SPEECH = {"French": "speech_fr", "Spanish": "speech_es"}
KERNELS = {"LiT": "none", "affine": "affine", "exp": "exp"}
BATCHES = {"small batches": (64, 30), "large batches": (512, 240)}  # rows, and epochs that make about as many steps
EXAMPLES = 5  # captions that stand for a class beside its name
NAMES, TEXTS = "accuracy", "accuracy, examples"


def section(language: str) -> dict[str, Any]:
    """The rows that somebody read aloud in a language."""
    columns = {"audio": SPEECH[language], "text": ["caption"]}
    return {"source": "pack:stamps", "columns": columns, "split": {"test": 0.2}}


def measure(model: Model, train: Corpus, test: Corpus) -> Mapping[str, float]:
    """Accuracy by names, by names and example texts, both also of the captions as texts; and recall."""
    examples = class_examples(train, EXAMPLES)
    recall = {metric.name: metric.value for metric in evaluate_retrieval(model, test, "audio")}
    return {
        NAMES: top1(model, test, "audio"),
        TEXTS: top1(model, test, "audio", examples),
        f"{NAMES}, captions": top1(model, test, "text"),
        f"{TEXTS}, captions": top1(model, test, "text", examples),
        "R@1": (recall["audio→text R@1"] + recall["text→audio R@1"]) / 2,
    }


def top1(model: Model, test: Corpus, modality: str, examples: list[list[str]] | None = None) -> float:
    """Zero-shot accuracy of speech, or of texts."""
    metrics = evaluate_zero_shot(model, test, modality=modality, examples=examples)
    return next(metric.value for metric in metrics if metric.name == "top-1")


def captions(found: Mapping[str, float]) -> dict[str, float]:
    """What the locked encoder makes of the texts that were read."""
    return {metric: found[f"{metric}, captions"] for metric in (NAMES, TEXTS)}


def arms() -> Iterator[tuple[str, Arm | Combined]]:
    """Every kernel in every language with small and large batches, on centred text features; floor and ceiling."""
    for language in SPEECH:
        for where, (rows, epochs) in BATCHES.items():
            for kernel, name in KERNELS.items():
                changes = {"method.kernel": name, "training.batch_size": rows, "training.epochs": epochs}
                yield (
                    f"{kernel}, {language}, {where}",
                    Arm(changes, data=section(language), search={"training.lr": [5e-4, 1e-3, 2e-3]}),
                )
        yield f"untrained, {language}", Arm({"method.kernel": "none"}, data=section(language), untrained=True)
        yield (
            f"captions, {language}",
            Combined((f"untrained, {language}",), captions, note="the captions themselves, as texts"),
        )


def better(kernel: str, language: str, where: str, metric: str) -> Question:
    """That a kernel sorts speech better than locked tuning."""
    by = "their names" if metric == NAMES else "their names and five texts each"
    return Question(
        f"{kernel}, {language}, {where}{', examples' * (metric == TEXTS)}",
        f"After {where} {language} speech is sorted into classes by {by} better under {kernel} weights than under "
        "locked tuning.",
        method=f"{kernel}, {language}, {where}",
        baseline=f"LiT, {language}, {where}",
        metric=metric,
        smallest=2.0,
        because="a tenth of the smallest gain that the paper reports",
        scale=Scale(f"untrained, {language}", f"captions, {language}"),
    )


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
    },
    arms=dict(arms()),
    measure=measure,
    seeds=10,
    tune=Tuning(trials=3, seeds=(100,), metric=NAMES),
    questions=[
        better(kernel, language, where, metric)
        for language in SPEECH
        for where in BATCHES
        for kernel in ("affine", "exp")
        for metric in (NAMES, TEXTS)
    ],
    tuning="Kernel temperatures are the defaults, the same for all arms.",
)
