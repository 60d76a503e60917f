"""Answers for people: a table in the terminal, a contact sheet to look at."""

from __future__ import annotations

import math
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from PIL import Image, ImageDraw, ImageFont

from accord.files import replacing
from accord.searching.hit import Hit

if TYPE_CHECKING:
    from rich.table import Table

_CELL = 192  # side of a picture, pixels
_GAP = 20
_LINE = 18  # height of a line of text, pixels
_LINES = 3  # score, and two lines of caption
_INK, _MUTED, _PAPER, _EMPTY = "#1c1c1e", "#6e6e73", "#ffffff", "#f2f2f4"


def format_hits(hits: Sequence[Hit], title: str | None = None) -> Table:
    """Hits as a table: rank, score, cosine, row, class, caption, file; columns without any entry are left out.

    ``cosine`` stands beside the score of a second stage.

    >>> table = format_hits([Hit(1, 0.83, row=7, captions=("red heart",), label="heart")])
    >>> [column.header for column in table.columns]
    ['', 'score', 'row', 'class', 'caption']
    """
    from rich.table import Table
    from rich.text import Text

    table = Table(title=title)
    two_stages = any(hit.cosine is not None for hit in hits)
    for heading in ("", "score", *(["cosine"] if two_stages else []), "row"):
        table.add_column(heading, justify="right")
    entries = {
        "class": [hit.label or "" for hit in hits],
        "caption": [" · ".join(hit.captions) for hit in hits],
        "file": [hit.path or "" for hit in hits],
    }
    shown = {heading: texts for heading, texts in entries.items() if any(texts)}
    for heading in shown:
        table.add_column(heading, overflow="fold")
    for position, hit in enumerate(hits):
        # Text, not str: a caption with square brackets is not markup.
        cells = [Text(texts[position]) for texts in shown.values()]
        cosine = [f"{hit.cosine:.3f}" if hit.cosine is not None else ""] if two_stages else []
        table.add_row(str(hit.rank), f"{hit.score:.3f}", *cosine, str(hit.row), *cells)
    return table


def contact_sheet(hits: Sequence[Hit], path: Path, columns: int = 5, title: str = "") -> Path:
    """Write one PNG with the hits' pictures, ranks, scores and captions, atomically.

    Args:
        hits: best first; a hit without a picture gets an empty frame.
        path: PNG file to write; its folder is made if missing.
        columns: pictures a row.
        title: what was asked, written on top.

    Returns:
        ``path``.
    """
    columns = max(1, min(columns, len(hits)))
    rows = max(1, math.ceil(len(hits) / columns))
    top = _GAP + (2 * _LINE if title else 0)
    height = _CELL + _LINES * _LINE + _GAP
    sheet = Image.new("RGB", (_GAP + columns * (_CELL + _GAP), top + rows * height), _PAPER)
    draw = ImageDraw.Draw(sheet)
    if title:
        draw.text((_GAP, _GAP), _fit(title, _font(18), sheet.width - 2 * _GAP)[0], fill=_INK, font=_font(18))
    for position, hit in enumerate(hits):
        row, column = divmod(position, columns)
        _draw_hit(sheet, draw, hit, _GAP + column * (_CELL + _GAP), top + row * height)
    with replacing(path) as partial:
        sheet.save(partial, format="PNG")
    return path


def _draw_hit(sheet: Image.Image, draw: ImageDraw.ImageDraw, hit: Hit, x: int, y: int) -> None:
    picture = hit.image()
    if picture is None:
        draw.rectangle((x, y, x + _CELL, y + _CELL), fill=_EMPTY)
    else:
        scale = _CELL / max(picture.size)
        size = (max(1, round(picture.width * scale)), max(1, round(picture.height * scale)))
        picture = picture.resize(size, Image.Resampling.LANCZOS)
        sheet.paste(picture, (x + (_CELL - size[0]) // 2, y + (_CELL - size[1]) // 2))
    draw.text((x, y + _CELL + 2), f"{hit.rank}   {hit.score:.3f}", fill=_MUTED, font=_font(12))
    for line, text in enumerate(_fit(hit.caption or hit.label or "", _font(13), _CELL, lines=2), start=1):
        draw.text((x, y + _CELL + line * _LINE), text, fill=_INK, font=_font(13))


def _fit(text: str, font: ImageFont.FreeTypeFont, width: float, lines: int = 1) -> list[str]:
    """``text`` broken at spaces into at most ``lines`` lines of ``width`` pixels; the last one is cut to fit."""
    fitted: list[str] = []
    words = text.split()
    while words:
        count = 1
        while count < len(words) and font.getlength(" ".join(words[: count + 1])) <= width:
            count += 1
        if len(fitted) == lines - 1:
            count = len(words)
        fitted.append(_cut(" ".join(words[:count]), font, width))
        words = words[count:]
    return fitted or [""]


def _cut(line: str, font: ImageFont.FreeTypeFont, width: float) -> str:
    if font.getlength(line) <= width:
        return line
    while line and font.getlength(line + "…") > width:
        line = line[:-1]
    return line.rstrip() + "…"


def _font(size: int) -> ImageFont.FreeTypeFont:
    """DejaVu Sans from matplotlib's files, found without importing it: Pillow's own font knows Latin only."""
    spec = find_spec("matplotlib")
    folder = Path(spec.origin).parent if spec and spec.origin else Path()
    return ImageFont.truetype(str(folder / "mpl-data/fonts/ttf/DejaVuSans.ttf"), size)
