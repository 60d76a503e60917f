"""What stays between requests: where things are, the models and indices in memory, and work that goes on."""

from __future__ import annotations

import tempfile
import threading
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

from fastapi import Depends, Request
from limits.storage import MemoryStorage
from limits.strategies import MovingWindowRateLimiter

from accord.cleaning.table import CLEAN
from accord.errors import ConfigError, no_such
from accord.pipeline.discovery.files import ABOUT
from accord.pipeline.model import Model, load
from accord.serving.config import ServeConfig
from accord.serving.discovered import Discovery
from accord.serving.jobs import Jobs
from accord.serving.kept import Kept
from accord.serving.places import CLEANED, DISCOVERED, RUN, Places
from accord.serving.reviewing import Review
from accord.serving.searches import Searches
from accord.serving.uploads import Uploads
from accord.training.artifact import WEIGHTS


class Workshop:
    """State of one application.

    Args:
        config: its settings.
    """

    def __init__(self, config: ServeConfig) -> None:
        self.config = config
        self.places = Places(config.runs)
        self.jobs = Jobs()
        self.models = Models(self.places, config)
        self.cleanings = Kept(lambda key: self.places.get(key, CLEANED).file(CLEAN), Review)
        self.discoveries = Kept(lambda key: self.places.get(key, DISCOVERED).file(ABOUT), Discovery)
        self._files = tempfile.TemporaryDirectory(prefix="accord-serve-")
        self.files = Path(self._files.name)  # of uploads; gone with the application
        self.uploads = Uploads(self.files, config)
        self.pace = MovingWindowRateLimiter(MemoryStorage())  # of what a visitor may not do often
        self.searches = Searches(self.models, self.jobs, config.data)

    def close(self) -> None:
        """Let go of everything."""
        self.jobs.close()
        self._files.cleanup()


class Models:
    """Models by the names that pages offer, the latest few in memory; one request at a time uses each.

    Args:
        places: where runs are.
        config: models besides, device, how many stay.
    """

    def __init__(self, places: Places, config: ServeConfig) -> None:
        self._places, self._config = places, config
        self._opened: OrderedDict[tuple[str, float], tuple[Model, threading.RLock]] = OrderedDict()
        self._lock = threading.Lock()

    def names(self) -> list[str]:
        """Finished runs, the newest first, then the models that were named at the start."""
        finished = [place.key for place in self._places.all(RUN) if (place.folder / WEIGHTS).is_file()]
        return [*finished, *self._config.models]

    def source(self, name: str) -> str:
        """What :func:`accord.pipeline.load` calls the model of this name.

        Raises:
            ConfigError: pages offer no such model.
        """
        known = self.names()
        if name not in known:
            raise ConfigError(no_such("model", name, known))
        return name if name in self._config.models else str(self._places.get(name, RUN).folder)

    @contextmanager
    def using(self, name: str) -> Iterator[Model]:
        """The model, for this request alone; opened if it is not, and anew when it was trained again.

        Raises:
            ConfigError, StorageError: there is no such model, or it cannot be opened.
        """
        model, lock = self._open(name)
        with lock:
            yield model

    def _open(self, name: str) -> tuple[Model, threading.RLock]:
        source = self.source(name)
        weights = Path(source) / WEIGHTS
        key = (source, weights.stat().st_mtime if weights.is_file() else 0.0)
        with self._lock:  # two visitors do not open it twice
            if key not in self._opened:
                self._opened[key] = (load(source, self._config.device), threading.RLock())
            self._opened.move_to_end(key)
            while len(self._opened) > self._config.kept_models:
                self._opened.popitem(last=False)
            return self._opened[key]


def workshop_of(request: Request) -> Workshop:
    """The application's state, for a route that asks for it."""
    found: Workshop = request.app.state.workshop
    return found


Shop = Annotated[Workshop, Depends(workshop_of)]
