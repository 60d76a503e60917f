"""Nodes of a typed graph: the graph is fed as a whole, so rows are neither read nor put together one by one."""

from __future__ import annotations

from accord.data.modalities.base import Modality


class Nodes(Modality):
    """Nodes. The loader puts the corpus's graph and the rows' numbers in it into the batch."""

    name = "graph"
    argument = "nodes"
    item, items = "node", "nodes"
    medium = False
    by_row = False


MODALITY: Modality = Nodes()
