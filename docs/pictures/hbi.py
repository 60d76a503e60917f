"""The game of words and frames that HBI learns from, what its reader makes of it, and which tokens are merged.

python docs/pictures/hbi.py
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import torch
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure, SubFigure
from matplotlib.patches import Rectangle
from numpy.typing import NDArray
from shared import of_claim, save, train_rows
from torch import Tensor

from accord.data.corpus import Corpus
from accord.data.inputs import TextInput
from accord.explaining.inputs import Word, strongest, words_of
from accord.functional import paired_similarity, token_interaction
from accord.pipeline.config import merged
from accord.training.artifact import Model

CLAIM = of_claim("hbi")
SEED, ROWS, COALITIONS = 6, 200, 2000  # a seed that the record has not
TUNED: dict[str, Any] = {  # what the record found
    "training.lr": 4e-3,
    "method.temperature": 0.03,
    "method.interaction_weight": 0.3,
    "method.game_scale": 100.0,
    "method.distill_weight": 0.02,
}
MAPS = {"cosine": "Blues", "interaction in the game": "PuOr_r", "read from cosines": "PuOr_r"}
MERGED = "phrases and scenes"
GROUPS = ("#0072b2", "#e69f00", "#009e73")


class Match(NamedTuple):
    """A clip and its caption.

    Args:
        words: those of the caption.
        maps: name to ``(W, T)``; of merged tokens the cosines of what words and frames are merged into.
        scenes: the scene that each frame is merged into.
        belong: ``(W, T)`` which word names what which frame shows.
    """

    words: list[Word]
    maps: dict[str, Tensor]
    scenes: list[int]
    belong: NDArray[np.bool_]


def main() -> None:
    """Train, play the game of held-out clips and captions, and draw two."""
    train, test = CLAIM.digit_strips(SEED)
    run = {"data": {"source": "digit strips"}, **CLAIM.CLAIM.run}
    model = train_rows(merged(run, {**TUNED, "training.seed": SEED}), train)
    found = matches(model, test.select(range(ROWS)))
    for name in MAPS:
        strongest_of = [match.maps[name].max(dim=1) for match in found]
        named = np.concatenate([match.belong.any(axis=1) for match in found])
        values = np.concatenate([each.values for each in strongest_of])
        right = np.concatenate(
            [
                match.belong[np.arange(len(match.words)), each.indices]
                for match, each in zip(found, strongest_of, strict=True)
            ]
        )
        print(
            f"{name}: of its strongest frame a digit's word has {values[named].mean():.2f} and another word "
            f"{values[~named].mean():.2f} on average; it shows the digit in {100 * right[named].mean():.1f} %"
        )
    print(CLAIM.measure(model, train, test))
    print(save(draw(test, found), "hbi"))


@torch.inference_mode()
def matches(model: Model, rows: Corpus) -> list[Match]:
    """The maps of each clip with its caption, and what is merged."""
    spec = model.inputs["text"]
    assert isinstance(spec, TextInput)
    method: Any = model.method
    levels = method.levels
    sides, ids = [], []
    for name in ("text", "video"):
        tokens = model.tokens_corpus(rows, name).padded().sequence()
        sides.append(levels[name](*tokens, 2))
        ids.append(levels[name].merges[0](*tokens)[2])  # what each token is merged into
    (text, phrases), (video, scenes) = sides
    masks = (text.mask, video.mask)
    cosines, real = paired_similarity(text.values, video.values, *masks), text.mask[:, :, None] & video.mask[:, None]
    draws = torch.Generator().manual_seed(SEED)
    game = token_interaction(cosines, text.votes, video.votes, *masks, COALITIONS, scale=100.0, generator=draws)
    read = method.readers[0](cosines, real)
    merged = paired_similarity(phrases.values, scenes.values, phrases.mask, scenes.mask)
    found = []
    for row, (caption, digits) in enumerate(zip(rows.texts(), rows.rows["digits"], strict=True)):
        words = words_of(spec.tokenizer, caption[0])
        maps = {name: strongest(each[row], words) for name, each in zip(MAPS, (cosines, game, read), strict=True)}
        maps[MERGED] = strongest(merged[row][ids[0][row]][:, ids[1][row]], words)
        belong = CLAIM.links([word.text for word in words], np.array(digits))
        found.append(Match(words, maps, ids[1][row].tolist(), belong))
    return found


def draw(test: Corpus, found: list[Match]) -> Figure:
    """Two captions of four different digits: clip, maps, and what is merged."""
    named = [[word.text for word in match.words if word.text in CLAIM.WORDS] for match in found]
    rows = [row for row, words in enumerate(named) if len(set(words)) == 4 and len(found[row].words) == 7][:2]
    figure = plt.figure(figsize=(12, 6.6))
    parts: Any = figure.subfigures(2, 1)
    for part, row in zip(parts, rows, strict=True):
        draw_match(part, list(test.sample(row, fields=("video",))["video"]), found[row])
    return figure


def draw_match(figure: SubFigure, frames: list[Any], match: Match) -> None:
    """A map each, the clip above it; above the last one scenes in colours."""
    axes = figure.subplots(2, len(match.maps), height_ratios=[1, 2.4])
    for (strip, table), name in zip(axes.T, match.maps, strict=True):
        strip.set_title(name, fontsize=12, pad=12)
        for place, frame in enumerate(frames):
            strip.imshow(frame.convert("L"), cmap="gray_r", extent=(place + 0.04, place + 0.96, 0, 1))
        strip.set(xlim=(0, len(frames)), ylim=(0, 1), aspect="auto")
        strip.set_axis_off()
        draw_map(table, match, name)
    for place, scene in enumerate(match.scenes):
        axes[0, -1].add_patch(Rectangle((place + 0.04, 1.03), 0.92, 0.1, color=GROUPS[scene], clip_on=False))
    axes[1, 0].set_yticks(np.arange(len(match.words)) + 0.5, [word.text for word in match.words], fontsize=12)
    figure.subplots_adjust(left=0.06, right=0.99, top=0.88, bottom=0.03, wspace=0.06, hspace=0.04)


def draw_map(axis: Axes, match: Match, name: str) -> None:
    """Words × frames; what belongs together is framed."""
    values = match.maps[name]
    most, size = float(values.abs().max()), values.shape
    colours = MAPS.get(name, "Blues")
    axis.imshow(values, cmap=colours, vmin=-most, vmax=most, extent=(0, size[1], size[0], 0), aspect="auto")
    for word, frame in np.argwhere(match.belong):
        axis.add_patch(Rectangle((frame, word), 1, 1, fill=False, color="black", linewidth=1.8))
    axis.set(xticks=[], yticks=[], xlim=(-0.03, size[1] + 0.03), ylim=(size[0] + 0.03, -0.03))
    axis.tick_params(length=0)
    axis.spines[:].set_visible(False)


if __name__ == "__main__":
    main()
