"""Which window of a fingerspelled word CiCo takes for which letter, in languages that it has not seen.

python docs/pictures/cico.py
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.colors import PowerNorm
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from numpy.typing import NDArray
from shared import save, train_rows

from accord.data.columns import Columns
from accord.data.corpus import Corpus, open_corpus
from accord.encoders.base import Encoder
from accord.evaluation.retrieval import evaluate_retrieval
from accord.explaining import TimeExplanation, explain_times
from accord.training.artifact import Model

HELD_OUT = ("Austrian Sign Language", "Italian Sign Language", "Slovakian Sign Language")
STEP, WINDOW, STRIDE = 0.04, 12, 4  # seconds; steps of a window, and from one to the next
BLUE, GREY, TRUE = "#2f62ac", "#c9c9c9", "#d55e00"
FINGERS = ((0, 1, 2, 3, 4), (0, 5, 6, 7, 8), (5, 9, 10, 11, 12), (9, 13, 14, 15, 16), (13, 17, 18, 19, 20), (0, 17))
SIZES = {"width": 48, "depth": 1, "heads": 4}
OF = {"width": 64, "depth": 1, "heads": 4, "seconds_per_step": STEP}
WINDOWS = {"name": "windows:tiny_sequence", "options": {"of": OF, "window": WINDOW, "stride": STRIDE}}
SIGNS: dict[str, Any] = {
    "data": {"source": "letters"},
    "method": {"name": "sign_windows"},
    "encoders": {"sequence": WINDOWS},
    "training": {"epochs": 30, "batch_size": 32, "lr": 2e-3},
}
WORDS: dict[str, Any] = {
    "data": {"source": "words"},
    "method": {"name": "cico", "dim": 48, **SIZES, "temperature": 0.07},
    "encoders": {"text": {"name": "tiny_text", "options": {**SIZES, "length": 16}}},
    "training": {"epochs": 60, "batch_size": 64, "lr": 3e-3},
}


def main() -> None:
    """Train an encoder of letters, then CiCo on words; explain words of other languages, and draw two."""
    letters, _ = parted(open_corpus("pack:fingerspelling", check=False, quiet=True))
    encoder = train_rows(SIGNS, letters).method.encoders["sequence"]
    assert isinstance(encoder, Encoder)
    encoder.freeze("all")
    known, test = parted(spelled(open_corpus("pack:fingerspelled", check=False, quiet=True)))
    words = {texts[0] for texts in test.texts()}
    train = known.select([row for row, texts in enumerate(known.texts()) if texts[0] not in words])
    print(f"{len(letters)} letters, {len(train)} words; {len(test)} words of {len(HELD_OUT)} other languages")
    model = train_rows(WORDS, train, {"sequence": encoder})
    for metric in evaluate_retrieval(model, test, candidates=len(test)):
        print(metric)
    found = [explain_times(model, steps_of(test, row), test.texts()[row][0]) for row in range(len(test))]
    hits = [hit for row, each in enumerate(found) for hit in prefers(each, test.rows["moments"][row])]
    guessed = np.mean([1 / len(set(each.words)) for each in found])
    print(f"a window prefers its letter in {100 * np.mean(hits):.1f} %; guessing would in {100 * guessed:.1f} %")
    print(save(draw(model, test, found), "cico"))


def spelled(corpus: Corpus) -> Corpus:
    """Words with their letters apart, each of which is a word then."""
    rows = corpus.rows.add_column("letters", [" ".join(word) for word in corpus.rows["word"]])
    return replace(corpus, rows=rows, columns=Columns(sequence="sequence", text=("letters",)))


def parted(corpus: Corpus) -> tuple[Corpus, Corpus]:
    """The languages to train on, and the others."""
    other = np.array([language in HELD_OUT for language in corpus.rows["language"]])
    return corpus.select(np.flatnonzero(~other)), corpus.select(np.flatnonzero(other))


def steps_of(corpus: Corpus, row: int) -> NDArray[np.float32]:
    """The poses of a row ``(T, 134)``."""
    return corpus.sample(row, fields=("sequence",))["sequence"].values


def prefers(found: TimeExplanation, spans: list[list[float]]) -> list[bool]:
    """Whether each window that lies within a letter's time is nearest to this letter among those of its word."""
    middles = found.seconds.numpy() + WINDOW / 2 * STEP
    best = [found.words[letter] for letter in found.similarity.argmax(dim=0)]
    inside = [np.flatnonzero((start <= middles) & (middles < end)) for start, end in spans]
    return [best[at] == letter for letter, those in zip(found.words, inside, strict=True) for at in those]


def draw(model: Model, test: Corpus, found: list[TimeExplanation]) -> Figure:
    """The first words of six different letters in two languages: hands, the map below, the nearest words beside."""
    languages, rows = test.rows["language"], []
    for language in HELD_OUT[:2]:
        own = [row for row, each in enumerate(found) if languages[row] == language]
        rows.append(next(row for row in own if len(set(found[row].words)) == len(found[row].words) == 6))
    figure = plt.figure(figsize=(12, 7.4))
    parts: Any = figure.subfigures(2, 1)
    for part, row in zip(parts, rows, strict=True):
        grid = part.add_gridspec(2, 2, width_ratios=[3, 1], height_ratios=[1, 2], hspace=0.03, wspace=0.2)
        part.subplots_adjust(left=0.04, right=0.99, top=0.9, bottom=0.11)
        hands, table, near = (part.add_subplot(grid[place]) for place in (0, 2, (slice(None), 1)))
        steps = steps_of(test, row)
        draw_hands(hands, steps)
        hands.set_title(f"“{test.rows['word'][row]}” in {languages[row]}", fontsize=12, loc="left")
        draw_map(table, found[row], test.rows["moments"][row])
        for axis in (hands, table):
            axis.set_xlim(0, len(steps) * STEP)
        draw_nearest(near, model, test, row)
    return figure


def draw_hands(axis: Axes, steps: NDArray[np.float32], every: int = 9) -> None:
    """The leading hand about three times a second."""
    for at in range(every // 2, len(steps), every):
        points = steps[at, :63].reshape(21, 3)[:, :2]
        points = points - (points.max(axis=0) + points.min(axis=0)) / 2
        across, down = 0.15 * points.T / np.abs(points).max()
        for finger in FINGERS:
            axis.plot(at * STEP + across[list(finger)], -down[list(finger)], color="#333333", linewidth=1.0)
    axis.set(ylim=(-0.18, 0.18), aspect="equal")
    axis.set_axis_off()


def draw_map(axis: Axes, found: TimeExplanation, spans: list[list[float]]) -> None:
    """How much each letter attends to each window; when it is spelled is framed."""
    edges = found.seconds.numpy() + (WINDOW - STRIDE) / 2 * STEP  # the middle of a window is in its cell
    edges = np.append(edges, edges[-1] + STRIDE * STEP)
    axis.pcolormesh(edges, np.arange(len(found.words) + 1), found.weights.numpy(), cmap="Blues", norm=PowerNorm(0.6))
    for letter, (start, end) in enumerate(spans):
        axis.add_patch(Rectangle((start, letter), end - start, 1, fill=False, color=TRUE, linewidth=1.6))
    axis.set_yticks(np.arange(len(found.words)) + 0.5, found.words, fontsize=12)
    axis.invert_yaxis()
    axis.set_xlabel("seconds")
    axis.spines[["top", "right"]].set_visible(False)


def draw_nearest(axis: Axes, model: Model, test: Corpus, row: int, count: int = 6) -> None:
    """The words of the test that a sequence is nearest to."""
    asked = model.tokens_corpus(test, "sequence").padded([row])
    scores = model.rescore(asked, model.tokens_corpus(test, "text").padded(), "sequence")[0]
    texts = list(test.rows["word"])
    best = dict(sorted(zip(texts, scores.tolist(), strict=True), key=lambda pair: pair[1]))  # the higher of two
    names = sorted(best, key=lambda word: -best[word])[:count]
    axis.barh(names, [best[name] for name in names], color=[BLUE if name == texts[row] else GREY for name in names])
    axis.invert_yaxis()
    axis.set_title("score of the nearest words", fontsize=12)
    axis.spines[["top", "right"]].set_visible(False)


if __name__ == "__main__":
    main()
