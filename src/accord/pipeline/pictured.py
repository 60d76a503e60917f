"""Rows to look at: those of a source that a verb has worked on, with nothing but what can be shown as a picture.

Nothing is decoded, checked or left out, so that it opens at once; a row is read when it is looked at.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import pyarrow.parquet as pq

from accord.data.corpus import Corpus, survey
from accord.data.fields import declarations
from accord.errors import DataError
from accord.files import reading
from accord.pipeline.embedded import embedded_rows, is_embeddings_file


def media_of(columns: Mapping[str, Sequence[str]]) -> dict[str, str]:
    """Of the columns that a verb has noted (field -> names), those of media.

    Example:
        >>> media_of({"image": ["file"], "text": ["title"], "label": ["kind"]})
        {'image': 'file'}
    """
    made = declarations()
    return {field: names[0] for field, names in columns.items() if names and field in made and made[field].medium}


def rows_to_look_at(source: str, media: Mapping[str, str]) -> Corpus:
    """The rows of a source under their numbers, with their media alone.

    Args:
        source: what the verb worked on: anything that :func:`accord.data.open_corpus` takes, or a file of embeddings.
        media: field -> column, from :func:`media_of`.

    Raises:
        DataError: the source is gone, or has no such column.
    """
    if is_embeddings_file(source):
        with reading(Path(source), "write it again with accord embed"):
            own = (pq.read_schema(source).metadata or {}).get(b"accord")
        return embedded_rows(Path(source), None if own else dict(media))
    if not media:
        raise DataError(f"{source} has nothing to look at")
    columns = {field: media.get(field) for field in declarations()}
    return replace(survey(source, columns=columns), incomplete=True)
