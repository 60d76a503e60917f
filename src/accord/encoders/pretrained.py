"""Loading a transformers model from a folder: quietly, without unpickling, and never half at random."""

from __future__ import annotations

import pickle
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch

from accord.encoders.weights import Found
from accord.errors import WeightsError


def load_pretrained(
    cls: Any, found: Found, settings: Any, *, unused: str | None = None, safetensors: bool | None = None
) -> Any:
    """Load ``cls`` with all of its weights, in float32.

    transformers fills what a checkpoint lacks with random numbers and warns; here that is an error.

    Args:
        cls: a class with ``from_pretrained``, such as ``AutoModel``.
        found: the folder.
        settings: its configuration.
        unused: name of a submodule that is not going to be run, and may be absent from the checkpoint.
        safetensors: True reads no other form of weights; None takes it first.

    Raises:
        WeightsError: the weights cannot be read, do not fit, or are not all there.
    """
    try:
        with quiet():
            model, report = cls.from_pretrained(
                found.path,
                config=settings,
                dtype=torch.float32,
                weights_only=True,
                use_safetensors=safetensors,
                local_files_only=True,
                output_loading_info=True,
            )
    except (OSError, RuntimeError, ValueError, pickle.UnpicklingError) as error:
        raise WeightsError(f"{found.path} cannot be loaded: {str(error).strip().splitlines()[0]}") from None
    missing = sorted(key for key in report["missing_keys"] if unused is None or unused not in key.split("."))
    if missing:
        raise WeightsError(
            f"{found.path} lacks {len(missing)} of the tensors of {type(model).__name__}, "
            f"{missing[0]} the first: these are weights of another model"
        )
    return model


@contextmanager
def quiet() -> Iterator[None]:
    """No progress bar and no load report: what matters of it is raised."""
    from transformers.utils import logging

    verbosity, bar = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(verbosity)
        if bar:
            logging.enable_progress_bar()
