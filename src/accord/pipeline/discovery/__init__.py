"""``discover``: the classes of rows of which some are labelled, or none: how many there are, and what they show.

``verb`` finds them, ``stability`` finds them again in parts of the rows, ``names`` gives them words, ``sheets`` lays
them out as a page, ``files`` writes what was found.
"""

from accord.pipeline.discovery.classes import FoundClass, FoundClasses
from accord.pipeline.discovery.verb import discover

__all__ = ["FoundClass", "FoundClasses", "discover"]
