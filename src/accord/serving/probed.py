"""A space of embeddings that was looked at: its numbers, and up to 50,000 of its points in a plane, with their rows."""

from __future__ import annotations

import csv
import io
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from accord.data.corpus import Corpus
from accord.data.reading.cells import cells_of
from accord.diagnostics import Diagnostic, Factor
from accord.diagnostics.figure import draw_figure
from accord.diagnostics.plane import principal_plane
from accord.diagnostics.space import CATEGORIES
from accord.errors import ConfigError, no_such
from accord.pipeline.embedded import Embedded
from accord.pipeline.examples import row_name
from accord.pipeline.probing import Probed, look_at
from accord.searching.rows import file_paths, label_names

POINTS = 50_000  # of the picture, over all of its modalities
LABEL = "label"  # what rows are coloured by where they have labels
_COLOURS = 12  # values that have one of their own
_TYPES = ("string", "large_string", "int", "uint", "float", "double", "bool")


class Values(NamedTuple):
    """What rows are told apart by.

    Args:
        names: of values.
        codes: which of them each row has, -1 for none.
        rest: whether the last name stands for all values that have none of their own.
    """

    names: list[str]
    codes: list[int]
    rest: bool


@dataclass(frozen=True, eq=False)
class SpaceSeen:
    """What was found in a space.

    Args:
        title: what was looked at.
        corpus: the rows that are drawn.
        modalities: whose points are drawn, each with a point a row.
        points: ``(M * N, 2)`` float32, modality after modality.
        share: percent of the variance that the plane holds.
        count: rows that were measured.
        apart: modalities whose vectors have another size, and which are not drawn.
        numbers: what was measured.
        unfit: why some measures did not fit -> which.
        figure: where the figure is; None where there is nothing to draw.
        subjects: media that are shown before others.
    """

    title: str
    corpus: Corpus
    modalities: tuple[str, ...]
    points: NDArray[np.float32]
    share: float
    count: int
    apart: tuple[str, ...]
    numbers: Sequence[Diagnostic]
    unfit: Mapping[str, Sequence[str]]
    figure: Path | None
    subjects: tuple[str, ...]

    def colours(self) -> list[str]:
        """What rows can be coloured by besides their modality: labels, and columns of words or numbers."""
        columns = self.corpus.columns
        taken = {*columns.files, *columns.text, columns.label} | {"id", "row of the file"}
        kinds = self.corpus.rows.features.items()
        found = [name for name, kind in kinds if str(getattr(kind, "dtype", "")).startswith(_TYPES)]
        named = [LABEL] if self.corpus.labels is not None else []
        return named + [name for name in found if name not in taken and name != LABEL]

    def colouring(self, by: str) -> Values:
        """The values that rows are coloured by.

        Raises:
            ConfigError: rows cannot be coloured by that.
            DataError: the column holds something else than words or numbers.
        """
        if by not in self.colours():
            raise ConfigError(no_such("column", by, self.colours()))
        if by == LABEL and self.corpus.labels is not None:
            return named_values(label_names(self.corpus))
        return named_values(list(cells_of(self.corpus.rows, by)), by)

    def rows(self, places: Sequence[int]) -> list[dict[str, Any]]:
        """Number, name, caption and label of the rows at these places, and whether they can be pictured."""
        some = self.corpus.select(places)
        labels, texts = label_names(some), some.texts()
        return [
            {
                "place": place,
                "row": int(some.ids[number]),
                "name": row_name(some, number),
                "caption": texts[number][0] if texts[number] else "",
                "label": labels[number] or "",
                "pictured": bool(self.corpus.columns.media),
            }
            for number, place in enumerate(places)
        ]

    def table(self, places: Sequence[int]) -> str:
        """The rows at these places as CSV: number, caption, label, file."""
        some = self.corpus.select(places)
        stream = io.StringIO()
        writer = csv.writer(stream)
        writer.writerow(("row", "caption", "label", "file"))
        for row, texts, label, file in zip(
            some.ids.tolist(), some.texts(), label_names(some), file_paths(some, self.subjects), strict=True
        ):
            writer.writerow((row, texts[0] if texts else "", label or "", file or ""))
        return stream.getvalue()


def see(embedded: Embedded, title: str, figure: Path, factors: Sequence[str] = (), seed: int = 0) -> SpaceSeen:
    """Measure a space, draw its figure, and lay its points into a plane.

    Args:
        embedded: rows with vectors.
        title: what they are.
        figure: PNG to write.
        factors: columns that say more of the rows.
        seed: of what is drawn.

    Raises:
        DataError: a factor is no column with at least two values.
        ConfigError: no row has vectors of all modalities.
    """
    found = look_at(embedded, factors=factors, seed=seed)
    if not len(found.rows):
        raise ConfigError(f"no row of {embedded.corpus.name} has all of {', '.join(embedded.vectors)}")
    panels = found.finding.panels
    rows, modalities, apart = _drawn(found, seed)
    plane = principal_plane({name: rows.vectors[name] for name in modalities})
    return SpaceSeen(
        title=title,
        corpus=rows.corpus,
        modalities=modalities,
        points=np.concatenate([plane.points[name].numpy() for name in modalities]),
        share=plane.share,
        count=len(found.rows),
        apart=apart,
        numbers=found.finding.numbers,
        unfit=found.unfit,
        figure=draw_figure(panels, figure) if panels else None,
        subjects=_subjects(embedded),
    )


def _drawn(found: Probed, seed: int) -> tuple[Embedded, tuple[str, ...], tuple[str, ...]]:
    """The rows whose points are drawn, and of which modalities: those of one size with the first."""
    vectors = found.rows.vectors
    width = next(iter(vectors.values())).shape[1]
    together = tuple(name for name, rows in vectors.items() if rows.shape[1] == width)
    apart = tuple(name for name in vectors if name not in together)
    most = POINTS // len(together)
    if len(found.rows) <= most:
        return found.rows, together, apart
    kept = np.sort(np.random.default_rng(seed).permutation(len(found.rows))[:most])
    return found.rows.select(kept), together, apart


def _subjects(embedded: Embedded) -> tuple[str, ...]:
    of: Collection[str] = () if embedded.model is None else embedded.model.method.subjects
    return tuple(of)


def named_values(cells: Sequence[Any], name: str = LABEL) -> Values:
    """The commonest values and which of them each cell is; numbers of more than 20 kinds are cut into fifths.

    Args:
        cells: one a row; None, empty and NaN are none.
        name: of the column, for messages.

    Example:
        >>> named_values(["cat", "dog", "cat", None])
        Values(names=['cat', 'dog'], codes=[0, 1, 0, -1], rest=False)
    """
    held = [None if cell is None or cell != cell or cell == "" else cell for cell in cells]
    counts = Counter(cell for cell in held if cell is not None)
    if len(counts) > CATEGORIES and all(isinstance(cell, int | float) for cell in counts):
        cut = Factor.of(held, name)
        return Values(list(cut.names), cut.values.tolist(), False)
    kept = [cell for cell, _ in counts.most_common(_COLOURS if len(counts) <= _COLOURS else _COLOURS - 1)]
    code = {cell: number for number, cell in enumerate(kept)}
    names = [str(cell) for cell in kept]
    if len(counts) > len(kept):
        names.append(f"{len(counts) - len(kept):,} others")
    codes = [-1 if cell is None else code.get(cell, len(kept)) for cell in held]
    return Values(names, codes, len(counts) > len(kept))
