"""``transfer``: train on texts alone what is used on pictures, in the space of a model that knows both."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal, get_args

from accord.data.reading.sources import absolute_source
from accord.errors import ConfigError, no_such
from accord.pipeline.folder import run_config
from accord.pipeline.run import Run, train
from accord.shipped import absolute_name, require_model

Task = Literal["classification", "entailment", "answers", "captions"]


def transfer(
    space: str | Path | None = None,
    texts: str | Path | None = None,
    *,
    task: Task = "classification",
    pairs: str | Path | None = None,
    adapter: str | None = None,
    columns: Mapping[str, Any] | None = None,
    out: str | Path | None = None,
    resume: bool = False,
    settings: Mapping[str, Any] | None = None,
    **training: Any,
) -> Run:
    """Train on texts, in a frozen space, what is then used on pictures (CLOSE).

    Args:
        space: what knows texts and pictures: folder of a run, name of a model that ships, or that of a bundle.
        texts: rows with texts, and with labels or answers, as the task asks; pictures in them are not looked at.
        task: what is learnt: classes, whether a premise entails ``input_text``, answers to the question in it, or
            captions.
        pairs: some rows with texts *and* pictures that show how far the two lie apart; they set the level of the noise,
            and the adapter where it is made of them. None takes the paper's level for the task.
        adapter: what moves texts in training, see ``method.adapter``; None for noise.
        columns: field -> column name(s) of ``texts``, where the guess is wrong.
        out: directory of the run, new or empty; default ``runs/close-TEXTS``.
        resume: go on from the last checkpoint in ``out``.
        settings: any other setting by dotted name, such as ``{"method.width": 128}``.
        **training: as for :func:`accord.pipeline.train`: ``epochs``, ``batch_size``, ``seed``, ``device`` and so on.

    Raises:
        ConfigError: there is no such space, or it does not know texts and something else; a setting is wrong.
        DataError: texts or pairs cannot be read, or lack what the task asks for.

    Example:
        >>> run = accord.transfer("clip:models/vit", "stories.csv", task="captions")      # doctest: +SKIP
        >>> run.model.caption(["cat.png"])                                                # doctest: +SKIP
    """
    if resume and out is not None and texts is None:
        return train(config=run_config(Path(out)), out=out, resume=True, settings=settings, **training)
    if space is None or texts is None:
        raise ConfigError("say in which space, and on which texts: accord transfer SPACE TEXTS")
    if task not in get_args(Task):
        raise ConfigError(no_such("task", task, list(get_args(Task))))
    require_model(space)
    changes = {
        "space": absolute_name(space),
        "pairs": None if pairs is None else absolute_source(pairs),
        "method.head": task,
        "method.adapter": adapter,
    }
    chosen = {name: value for name, value in changes.items() if value is not None}
    run = train(
        texts, "close", columns=columns, out=out, resume=resume, settings={**chosen, **(settings or {})}, **training
    )
    return replace(run, next_steps=(*uses(run, task), *run.next_steps))


def uses(run: Run, task: str) -> tuple[str, ...]:
    """Commands that use a finished run on pictures.

    Args:
        run: the run.
        task: what it was trained for.
    """
    words = {
        "classification": (["zero-shot", str(run.path), "pictures/"], ["evaluate", str(run.path), "labelled/"]),
        "entailment": (["evaluate", str(run.path), "labelled/"],),
        "answers": (
            ["caption", str(run.path), "pictures/", "--question", "what is it?"],
            ["evaluate", str(run.path), "answered/"],
        ),
        "captions": (["caption", str(run.path), "pictures/"], ["evaluate", str(run.path), "captioned/"]),
    }
    return tuple(shlex.join(("accord", *line)) for line in words[task])
