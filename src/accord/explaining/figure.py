"""Explanations as pictures, for people: PNG, SVG or PDF by the ending of the file."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.gridspec import GridSpec
from matplotlib.patches import Rectangle
from PIL import Image

from accord.errors import ConfigError
from accord.explaining.concepts import ConceptExplanation, SharedConcept, Witness
from accord.explaining.inputs import Grid
from accord.explaining.parts import PartsExplanation
from accord.explaining.words import WordExplanation, WordMap
from accord.files import replacing

INK, MUTED, PICTURE, TEXT, FRAME = "#1c1c1e", "#6e6e73", "#4455cc", "#cc6633", "#e02020"
MARK = "#30d0c0"  # around what a word likes best
WIDTH, _ROW, _TOP = 12.0, 1.22, 2.1  # inches
_DPI = 100
_NAMED = 8  # parts that are named beside a picture
PALETTE = ("#4455cc", "#e07a1f", "#2a9d5c", "#c8372d", "#8e5bc0", "#7a5a3a", "#d665b0", "#6e6e73", "#b5a51c", "#1fa6b8")


def draw_concepts(explanation: ConceptExplanation, path: str | Path) -> Path:
    """Draw what a picture and a text share, one line a concept, and write it atomically.

    Args:
        explanation: what to draw.
        path: PNG, SVG or PDF to write; its folder is made if missing.

    Returns:
        The path.

    Raises:
        ConfigError: a format that cannot be drawn.
    """
    rows = max(1, len(explanation.concepts))
    shown = max([len(concept.patches) for concept in explanation.concepts], default=0)
    height = _TOP + rows * _ROW + 0.15
    figure = Figure(figsize=(WIDTH, height))
    FigureCanvasAgg(figure)
    top = figure.add_gridspec(
        1, 2, left=0.02, right=0.99, top=1 - 0.15 / height, bottom=1 - (_TOP - 0.35) / height, width_ratios=(1, 6)
    )
    _head(figure, top, explanation)
    grid = figure.add_gridspec(
        rows,
        3 + max(1, shown),
        left=0.02,
        right=0.99,
        top=1 - _TOP / height,
        bottom=0.12 / height,
        width_ratios=(1.6, 1, 3.2, *(1,) * max(1, shown)),
        hspace=0.12,
        wspace=0.08,
    )
    for row, concept in enumerate(explanation.concepts):
        _weights(figure.add_subplot(grid[row, 0]), concept, explanation)
        _heat(figure.add_subplot(grid[row, 1]), concept, explanation.picture)
        _words(figure.add_subplot(grid[row, 2]), concept)
        for column, witness in enumerate(concept.patches):
            _witness(figure.add_subplot(grid[row, 3 + column]), witness)
    return save_figure(figure, Path(path))


def draw_parts(explanation: PartsExplanation, path: str | Path) -> Path:
    """Draw a picture and its parts in colours, the largest named with their shares, and write it atomically.

    Args:
        explanation: what to draw.
        path: PNG, SVG or PDF to write; its folder is made if missing.

    Raises:
        ConfigError: a format that cannot be drawn.
    """
    figure = Figure(figsize=(9.0, 3.6), layout="constrained")
    FigureCanvasAgg(figure)
    left, right = figure.subplots(1, 2)
    colours = {number: PALETTE[place % len(PALETTE)] for place, number in enumerate(explanation.shares)}
    painted = np.zeros((*explanation.parts.shape, 3))
    for number, colour in colours.items():
        painted[explanation.parts == number] = to_rgb(colour)
    pixels = np.asarray(explanation.picture, dtype=float) / 255
    left.imshow(pixels)
    right.imshow(0.45 * pixels + 0.55 * painted)
    named = list(explanation.shares.items())[:_NAMED]
    marks = [Rectangle((0, 0), 1, 1, color=colours[number]) for number, _ in named]
    labels = [f"part {number}: {100 * share:.0f} %" for number, share in named]
    right.legend(marks, labels, loc="center left", bbox_to_anchor=(1.02, 0.5), frameon=False, fontsize=9)
    for axes in (left, right):
        axes.set_axis_off()
    return save_figure(figure, Path(path))


def draw_words(explanation: WordExplanation, path: str | Path, columns: int = 6) -> Path:
    """Draw where each word is seen, one small picture a word, and write it atomically.

    Args:
        explanation: what to draw.
        path: PNG, SVG or PDF to write; its folder is made if missing.
        columns: pictures in a row.

    Returns:
        The path.

    Raises:
        ConfigError: a format that cannot be drawn.
    """
    panels = 1 + len(explanation.maps)
    rows = -(-panels // columns)
    side = WIDTH / columns
    figure = Figure(figsize=(WIDTH, rows * (side + 0.25)), layout="constrained")
    FigureCanvasAgg(figure)
    axes = [blank(one) for one in figure.subplots(rows, columns, squeeze=False).flat]
    axes[0].imshow(explanation.picture)
    axes[0].set_title("the picture", fontsize=11, color=MUTED)
    for panel, word in zip(axes[1:], explanation.maps, strict=False):
        draw_word(panel, explanation.picture, word)
    return save_figure(figure, Path(path))


def draw_word(axes: Axes, picture: Image.Image, word: WordMap) -> None:
    """The picture under the map of one word: strong colour where it is seen, a frame around its best patch.

    Args:
        axes: where to draw.
        picture: as the encoder sees it.
        word: its map; colours go from its lowest to its highest cosine, which is written above.
    """
    width, height = picture.size
    extent = (0, width, height, 0)
    heat = np.asarray(word.heat, dtype=np.float32)
    axes.imshow(picture.convert("L"), cmap="gray", vmin=-90, vmax=300, extent=extent)  # paler than it is
    axes.imshow(heat, cmap="inferno", alpha=0.6, extent=extent, interpolation="nearest")
    row, column = word.best
    size = (width / heat.shape[1], height / heat.shape[0])
    axes.add_patch(Rectangle((column * size[0], row * size[1]), *size, fill=False, color=MARK, linewidth=2.2))
    axes.set_title(f"{word.word}  {heat.max():.2f}", fontsize=12, color=INK)
    axes.axis("off")


def _head(figure: Figure, grid: GridSpec, explanation: ConceptExplanation) -> None:
    picture = figure.add_subplot(grid[0, 0])
    picture.imshow(explanation.picture)
    picture.axis("off")
    said = blank(figure.add_subplot(grid[0, 1]))
    image, text, both = explanation.active
    said.text(0, 0.86, f"“{explanation.text}”", fontsize=15, color=INK, va="center")
    lines = (
        f"cosine {explanation.similarity:.2f};  overlap of concepts {explanation.overlap:.0%}",
        f"the picture activates {image} concepts, the text {text}, both {both}"
        + (f"; below the {len(explanation.concepts)} shared most" if explanation.concepts else ": nothing in common"),
    )
    for place, line in enumerate(lines):
        said.text(0, 0.56 - 0.2 * place, line, fontsize=10.5, color=MUTED, va="center")
    if explanation.concepts:
        legend = "bars: weight in picture and text;  shading: where in the picture, and which words, call the concept"
        if any(concept.patches for concept in explanation.concepts):
            legend += ";  right: where it is strongest in the data"
        said.text(0, 0.08, legend, fontsize=9, color=MUTED, va="center", style="italic")


def _weights(axes: Axes, concept: SharedConcept, explanation: ConceptExplanation) -> None:
    """Two bars: how much of the concept picture and text have."""
    most = max(max(one.image_weight, one.text_weight) for one in explanation.concepts)
    blank(axes).set(xlim=(0, 1), ylim=(0, 1))
    axes.text(0, 0.84, f"concept {concept.entry}", fontsize=10.5, color=INK, va="center")
    bars = (("picture", concept.image_weight, PICTURE, 0.5), ("text", concept.text_weight, TEXT, 0.2))
    for name, weight, colour, y in bars:
        axes.add_patch(Rectangle((0, y - 0.09), 0.5 * weight / most, 0.18, color=colour))
        axes.text(0.5 * weight / most + 0.02, y, f"{name} {weight:.1%}", fontsize=8, color=MUTED, va="center")


def _heat(axes: Axes, concept: SharedConcept, picture: Image.Image) -> None:
    """The picture, pale where no patch calls the concept, with the strongest patch in a frame."""
    heat = np.asarray(concept.heat, dtype=np.float32)
    grid = Grid(*heat.shape)
    rows = np.arange(picture.height) * grid.rows // picture.height
    columns = np.arange(picture.width) * grid.columns // picture.width
    heat = heat[rows][:, columns, None]  # (height, width, 1)
    pixels = np.asarray(picture, dtype=np.float32) / 255
    faded = 0.25 * pixels.mean(axis=2, keepdims=True) + 0.72
    axes.imshow(np.clip(heat * pixels + (1 - heat) * faded, 0, 1))
    axes.set(xticks=[], yticks=[])
    for spine in axes.spines.values():
        spine.set_color("#d8d8dc")
    _frame(axes, picture, grid.box(int(concept.heat.argmax())))


def _words(axes: Axes, concept: SharedConcept, limit: float = 0.98) -> None:
    """The text with the words that call the concept in colour, and words that do so elsewhere."""
    blank(axes).set(xlim=(0, 1), ylim=(0, 1))
    lines = 2
    x, y = 0.0, 0.80
    for word, call in concept.words:
        shade = tuple(1 - 0.75 * call * (1 - part) for part in to_rgb(TEXT))
        written = axes.text(
            x,
            y,
            word,
            fontsize=10.5,
            color=INK,
            va="center",
            bbox={"facecolor": shade, "edgecolor": "none", "pad": 1.5},
        )
        width = written.get_window_extent().width / axes.get_window_extent().width
        if x + width > limit and x > 0:
            lines -= 1
            x, y = 0.0, y - 0.25
            if not lines:
                written.set_text("…")
                break
            written.set_position((x, y))
        x += width + 0.035
    for count in range(len(concept.corpus_words), 0, -1):  # as many as there is room for
        said = ", ".join(concept.corpus_words[:count])
        written = axes.text(0, 0.14, f"elsewhere: {said}", fontsize=9, color=MUTED, va="center")
        if count == 1 or written.get_window_extent().width <= axes.get_window_extent().width:
            break
        written.remove()


def _witness(axes: Axes, witness: Witness) -> None:
    """A picture of the corpus with the patch in a frame."""
    axes.imshow(witness.picture)
    _frame(axes, witness.picture, witness.box)
    axes.axis("off")


def _frame(axes: Axes, picture: Image.Image, box: tuple[float, float, float, float]) -> None:
    left, top, right, bottom = (
        share * size - 0.5 for share, size in zip(box, (*picture.size, *picture.size), strict=True)
    )
    corner = (left, top)
    axes.add_patch(Rectangle(corner, right - left, bottom - top, fill=False, color=FRAME, linewidth=1.8))


def blank(axes: Axes) -> Axes:
    """The axes without lines and numbers."""
    axes.axis("off")
    return axes


def save_figure(figure: Figure, path: Path) -> Path:
    """Write a figure atomically.

    Raises:
        ConfigError: a format that cannot be drawn.
    """
    kind = path.suffix.removeprefix(".").lower()
    kinds = figure.canvas.get_supported_filetypes()
    if kind not in kinds:
        raise ConfigError(f"{path}: cannot draw {kind or 'a file without an ending'}; choose .png, .svg or .pdf")
    with replacing(path) as partial:
        figure.savefig(partial, format=kind, dpi=_DPI)
    return path
