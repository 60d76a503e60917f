"""Small pictures of rows that a verb has worked on, made anew of what the source holds; its files are never sent."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Mapping, Sequence

from starlette.responses import FileResponse, Response

from accord.data.corpus import Corpus
from accord.data.quarantine import RowError
from accord.errors import AccordError
from accord.evaluation.sections import Picture
from accord.pipeline.pictured import media_of, rows_to_look_at
from accord.serving.rendering import STATIC

SIDE = 160  # pixels
_KEPT = 4000  # pictures, of a few kilobytes each
_FOR_NOW = {"cache-control": "private, max-age=3600"}


class Pictures:
    """Pictures of the rows of one source, which is opened when the first is looked at.

    Args:
        source: as the verb noted it.
        columns: field -> column names, as the verb noted them; empty where nothing is known to look at.
        of: media that are shown before others.
    """

    def __init__(self, source: str, columns: Mapping[str, Sequence[str]], of: Sequence[str] = ()) -> None:
        self._source, self._of = source, of
        self._media = media_of(columns)
        self._rows: tuple[Corpus, dict[int, int]] | None = None
        self._gone = False
        self._made: OrderedDict[int, bytes | None] = OrderedDict()
        self._lock = threading.Lock()

    @property
    def any(self) -> bool:
        """Whether rows have something to look at."""
        return bool(self._media)

    def look_again(self) -> None:
        """Try anew what could not be shown."""
        with self._lock:
            self._gone = False
            self._made = OrderedDict((row, made) for row, made in self._made.items() if made is not None)

    def get(self, row: int) -> bytes | None:
        """A WebP of the row of this number; None where there is none, or its file is gone."""
        with self._lock:  # sources promise nothing to several at once
            if row not in self._made:
                self._made[row] = self._draw(row)
            self._made.move_to_end(row)
            while len(self._made) > _KEPT:
                self._made.popitem(last=False)
            return self._made[row]

    def answer(self, row: int) -> Response:
        """The picture as an answer, or a placeholder."""
        found = self.get(row)
        if found is None:
            return FileResponse(STATIC / "gone.svg", media_type="image/svg+xml")
        return Response(found, media_type="image/webp", headers=_FOR_NOW)

    def _draw(self, row: int) -> bytes | None:
        if self._gone:
            return None
        try:
            corpus, places = self._opened()
            shown = corpus.picture(places[row], SIDE, self._of) if row in places else None
        except RowError:
            return None
        except AccordError:  # the source has gone or changed, which is not asked again for every row
            self._gone = True
            return None
        return None if shown is None else Picture.of(shown, "", SIDE).data

    def _opened(self) -> tuple[Corpus, dict[int, int]]:
        if self._rows is None:
            corpus = rows_to_look_at(self._source, self._media)
            self._rows = corpus, {int(number): place for place, number in enumerate(corpus.ids)}
        return self._rows
