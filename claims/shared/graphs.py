"""A part of the Debian archive as a graph that a method gets through in a minute."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from accord.data.corpus import Corpus, open_corpus
from accord.data.reading.graphs import graph_of_columns
from accord.data.splits import split

SECTIONS = ("games", "sound", "science", "graphics", "mail", "database")
LINKS = ("maintainer", "depends")  # tags nearly name the section


def packages(seed: int) -> tuple[Corpus, Corpus]:
    """Packages of six sections; half of the sources give labels, the other half is scored. One graph holds both."""
    everything = open_corpus("pack:archive_tagged", columns={"graph": LINKS}, quiet=True)
    chosen = [everything.classes.index(name) for name in SECTIONS]
    assert everything.labels is not None
    kept = np.flatnonzero(np.isin(everything.labels, chosen))
    rows = everything.rows.select(kept)
    labels = np.array([chosen.index(label) for label in everything.labels[kept]])
    corpus = replace(
        everything,
        rows=rows,
        ids=np.arange(len(kept)),
        labels=labels,
        classes=SECTIONS,
        graph=graph_of_columns(rows, everything.columns),
    )
    parts = split(corpus.groups(), corpus.labels, {"test": 0.5}, seed)
    return corpus.select(parts.rows["train"]), corpus.select(parts.rows["test"])
