"""The targets of a corpus's rows: which there are, what stands in their cells, and what they lie on."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from accord.data.frames import Clip
from accord.data.labels import read_labels
from accord.data.media import Unreadable, picture_size
from accord.data.targets.base import Canvas, Target, listed
from accord.data.targets.boxes import LABEL
from accord.data.video import read_video
from accord.errors import ConfigError, DataError

if TYPE_CHECKING:
    import datasets

    from accord.data.corpus import Corpus
