"""How far two models agree on which rows are alike: by layer, and by how much of a row they are shown.

After "Dynamic Reflections: Probing Video Representations with Text Alignment" (2026, ICLR), for any two models.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from itertools import product
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from accord.data.corpus import Corpus
from accord.data.reading.sources import announce
from accord.diagnostics.agreement import Cell, law_of, panels_of
from accord.diagnostics.figure import check_figure, draw_figure
from accord.diagnostics.finding import Diagnostic, Panel
from accord.diagnostics.law import intervals
from accord.errors import ConfigError, DataError
from accord.evaluation.metric import mean_metric
from accord.files import FIGURE, check_replaceable, write_atomically
from accord.functional import cka, layer_sweep
from accord.pipeline.embedded import read_embeddings
from accord.pipeline.rows import ColumnNames, despite_bad_rows, open_rows
from accord.pipeline.sides import Side, sides_of
from accord.training.device import resolve_device

_MARK = '"accord": "agreement"'
PERMUTATIONS, DRAWS = 50, 100


def agreement(
    one: str,
    other: str,
    data: str | Path | None = None,
    figure: str | Path | None = None,
    *,
    k: int = 10,
    rows: int = 1024,
    layers: bool = False,
    frames: Sequence[int] = (),
    captions: Sequence[int] = (),
    json_file: str | Path | None = None,
    columns: ColumnNames | None = None,
    seed: int = 0,
    device: str = "auto",
    workers: int | None = None,
) -> list[Diagnostic]:
    """Mutual k-nearest neighbours of two models on the same rows, and CKA beside it.

    With several numbers of frames or captions, the law by which agreement grows is fitted. Of rows with the same first
    caption or of one group one is kept, since their neighbours would be in no certain order.

    Args:
        one: a run, a model that ships, a bundle, ``MODALITY:ENCODER`` such as ``video:frames:efficientnet_lite0``, or a
            Parquet file with vectors.
        other: likewise.
        data: the rows; None where both are files, whose rows are matched by ``id``, or by their order.
        figure: where to draw it (PNG, SVG or PDF), or None.
        k: neighbours.
        rows: at most as many are looked at, drawn by ``seed``. Scores of different numbers do not compare.
        layers: look at every layer of encoders instead of their output, and tell the best pair.
        frames: numbers of frames of each clip that video encoders are shown.
        captions: numbers of captions of each row that text encoders are shown, joined to one text.
        json_file: where to write the numbers, or None.
        columns: field -> column name(s) of the rows, where the guess is wrong.
        seed: of what is drawn.
        device: ``auto`` for the best there is, ``cpu``, ``cuda`` or ``mps``.
        workers: processes that decode; None for what suits the device.

    Raises:
        ConfigError: no such model or encoder; neither reads what is to be varied; no data where they are needed.
        DataError: the data cannot be read, or too few rows have what both read.
        StorageError: ``figure`` or ``json_file`` is a file of another kind.
    """
    if figure is not None:
        check_figure(Path(figure))
        check_replaceable(Path(figure), FIGURE, "figure of Accord")
    if json_file is not None:
        check_replaceable(Path(json_file), _MARK.encode(), "file of numbers of accord probe --against")
    where = resolve_device(device)
    sides = [sides_of(name, where, workers) for name in (one, other)]
    corpus = _rows_of(one, sides, data, columns)
    pairs = [(x, y) for x, y in product(*sides) if _readable(x, corpus) and _readable(y, corpus)]
    if not pairs:
        read = ", ".join(sorted({side.modality for both in sides for side in both}))
        raise DataError(f"{corpus.name} has {', '.join(corpus.modalities)}, and the models read {read}")
    _check_varied(pairs, frames, captions)
    shown = _Shown(k, layers, tuple(frames) or (None,), tuple(captions) or (None,), workers or 0)
    numbers: list[Diagnostic] = []
    panels: list[Panel] = []
    for x, y in pairs:
        drawn = _drawn(corpus, (x, y), max(captions, default=0), rows, k, seed)

        cells, _ = despite_bad_rows(drawn, partial(shown.cells, x, y))
        numbers += _told(f"{x.name} and {y.name}", cells, k, seed)
        panels += panels_of(cells, x.name, y.name)
    if figure is not None:
        draw_figure(panels, Path(figure))
    if json_file is not None:
        about = {"accord": "agreement", "of": one, "with": other, "rows": corpus.name}
        text = json.dumps(about | {"numbers": [number.to_dict() for number in numbers]}, indent=2, ensure_ascii=False)
        write_atomically(Path(json_file), f"{text}\n")
    return numbers


# --- rows -------------------------------------------------------------------------------------------------------------


def _rows_of(one: str, sides: Sequence[Sequence[Side]], data: str | Path | None, columns: ColumnNames | None) -> Corpus:
    """The rows of ``data``, or those of the first of two files.

    Raises:
        ConfigError: something has to be embedded, and there is nothing named.
    """
    if data is not None:
        return open_rows(data, columns=columns or {}, incomplete=True)
    if any(side.rows is None for both in sides for side in both):
        raise ConfigError("name DATA: one of the two has to see the rows")
    return read_embeddings(Path(one), columns).corpus


def _readable(side: Side, corpus: Corpus) -> bool:
    return side.rows is not None or side.modality in corpus.modalities


def _drawn(corpus: Corpus, pair: tuple[Side, Side], captions: int, most: int, k: int, seed: int) -> Corpus:
    """Rows that both have, with so many captions, one of each caption and group, at most ``most``.

    Raises:
        DataError: not more than k.
    """
    there = corpus.having(*(side.modality for side in pair if side.rows is None))
    for side in pair:
        if side.rows is not None:
            there = there.select(np.flatnonzero(np.isin(there.ids, side.rows)))
    if captions > 1:
        there = there.select(np.flatnonzero([len(each) >= captions for each in there.texts()]))
    texts = [each[0] if each else None for each in there.texts()]
    groups = there.groups()
    alike = [groups[row] if groups is not None else text for row, text in enumerate(texts)]
    first: dict[object, int] = {}
    for row, what in enumerate(alike):
        first.setdefault(row if what is None else what, row)
    kept = np.array(sorted(first.values()), dtype=np.int64)
    if len(kept) < len(there):
        announce(f"{corpus.name}: of {len(there):,} rows {len(kept):,} are kept, one of each group or caption")
    if len(kept) > most:
        kept = np.sort(np.random.default_rng(seed).permutation(kept)[:most])
    if len(kept) <= k:
        having = f"what both read and {captions} captions" if captions > 1 else "what both read"
        raise DataError(f"{corpus.name}: {len(kept)} rows have {having}; expected more than k = {k}")
    return there.select(kept)


def _check_varied(pairs: Sequence[tuple[Side, Side]], frames: Sequence[int], captions: Sequence[int]) -> None:
    sides = [side for pair in pairs for side in pair]
    for name, wanted, able, what in (
        ("frames", frames, any(side.reads_frames for side in sides), "video encoder, such as video:frames:NAME"),
        ("captions", captions, any(side.reads_captions for side in sides), "text encoder, such as text:minilm"),
    ):
        if wanted and not able:
            raise ConfigError(f"{name} = {list(wanted)}: neither of the two is a {what}")
        if wanted and min(wanted) < 1:
            raise ConfigError(f"{name} = {list(wanted)}: expected numbers from 1")


# --- what is measured -------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Shown:
    """How the two are looked at."""

    k: int
    layers: bool
    frames: tuple[int | None, ...]
    captions: tuple[int | None, ...]
    workers: int

    def cells(self, x: Side, y: Side, corpus: Corpus) -> list[Cell]:
        """The agreement for every number of frames and captions; neither side is shown the same twice."""
        one, other = (self._features(side, corpus) for side in (x, y))
        found = []
        for frames, captions in product(self.frames, self.captions):
            first, second = (seen[_amount(side, frames, captions)] for side, seen in ((x, one), (y, other)))
            sweep = layer_sweep(first, second, self.k)
            best = cka(first[:, sweep.best[0]], second[:, sweep.best[1]], unbiased=True)
            found.append(Cell(frames, captions, sweep, best))
        return found

    def _features(self, side: Side, corpus: Corpus) -> dict[int | None, Tensor]:
        amounts = dict.fromkeys(_amount(side, *both) for both in product(self.frames, self.captions))
        return {
            shown: side.features(corpus, layers=self.layers, shown=shown, workers=self.workers) for shown in amounts
        }


def _amount(side: Side, frames: int | None, captions: int | None) -> int | None:
    """How much of a row a side is shown."""
    return frames if side.reads_frames else captions if side.reads_captions else None


def _told(pair: str, cells: Sequence[Cell], k: int, seed: int) -> list[Diagnostic]:
    """The numbers of the most evidence, and the law over all."""
    last = cells[-1]
    count = len(last.sweep.per_item)
    score = mean_metric(f"{k} neighbours of {pair}", last.sweep.per_item, chance=100 * k / (count - 1))
    told = [
        Diagnostic.of(score, f"percent of the {k} nearest rows that are so for both{_of_what(last, seed)}"),
        Diagnostic(
            f"CKA of {pair}", last.cka, "kernels alike: 1 the same, 0 unrelated; wide models score high", n=count
        ),
    ]
    return told + _law(pair, cells, count, seed)


def _of_what(cell: Cell, seed: int) -> str:
    """Which layers, and what the best of as many reaches by chance."""
    pairs = cell.sweep.scores.numel()
    if pairs == 1:
        return ""
    null = 100 * cell.sweep.null(PERMUTATIONS, torch.Generator().manual_seed(seed))
    one, other = (place + 1 for place in cell.sweep.best)
    return (
        f", in layer {one} and layer {other}; the best of {pairs} pairs of layers reaches {float(null.mean()):.1f} by "
        f"chance, at most {float(null.max()):.1f} of {PERMUTATIONS} times"
    )


def _law(pair: str, cells: Sequence[Cell], count: int, seed: int) -> list[Diagnostic]:
    law = law_of(cells)
    if law is None:
        return []
    evidence = law.evidence
    items = np.stack([cell.sweep.per_item.numpy() for cell in cells])
    bounds = intervals(evidence, items, DRAWS, seed, law.fitted.form)
    low, high = 100 * bounds[:, 0]
    meaning = f"what they tend to with more to see, {law.formula}; R² {law.fitted.r2:.3f}; {law.spread(bounds)}"
    return [Diagnostic(f"limit of {pair}", 100 * law.fitted.limit, meaning, float(low), float(high), n=count, unit="%")]
