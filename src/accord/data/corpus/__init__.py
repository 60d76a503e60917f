"""A corpus: rows of a source with their modalities, labels and groups, every one of them known to be readable.

``rows`` is the corpus itself, ``opening`` makes one of a source, ``memory`` of things that are there already;
``contents`` looks at whole columns.
"""

from accord.data.corpus.memory import corpus_from_fields, corpus_from_graph, corpus_from_items
from accord.data.corpus.opening import open_corpus, survey, undecoded
from accord.data.corpus.rows import Corpus

__all__ = [
    "Corpus",
    "corpus_from_fields",
    "corpus_from_graph",
    "corpus_from_items",
    "open_corpus",
    "survey",
    "undecoded",
]
