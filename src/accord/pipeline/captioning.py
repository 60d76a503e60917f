"""``caption``: words for pictures or clips, or answers about them, by a model that was trained to give such."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from accord.data.corpus import Corpus
from accord.data.fields import declarations
from accord.encoders.generation import Decoding
from accord.files import check_replaceable, write_atomically
from accord.methods.abilities import Ability, Answers, Captions
from accord.pipeline.model import load
from accord.pipeline.rows import media_files, readable_files
from accord.training.model import Model

QUESTION = "question"  # the column of what is asked


@dataclass(frozen=True)
class Captioned:
    """A picture, or a clip, and what the model says of it.

    Args:
        image: path of the picture or clip.
        caption: the words.
        score: mean log-likelihood of their tokens in nats; at most 0, higher is likelier.
    """

    image: Path
    caption: str
    score: float


def caption(
    run: str | Path,
    images: str | Path | Sequence[str | Path],
    *,
    question: str | None = None,
    decoding: Decoding | Mapping[str, Any] | None = None,
    seed: int = 0,
    out: str | Path | None = None,
    device: str = "auto",
    workers: int | None = None,
) -> list[Captioned]:
    """Write a caption for each picture or clip; one that cannot be read is left out, and said on stderr.

    Args:
        run: folder of a run, name of a model that ships, or that of a bundle; its method writes captions.
        images: files, or folders whose pictures are taken, those in folders below among them; clips, for a run of such.
        question: to be answered about each of them, by a run that answers questions; None for a caption.
        decoding: how captions are written; None for beam search.
        seed: of sampling.
        out: JSON Lines file with ``image``, ``caption`` and ``score`` of each picture, or None.
        device: ``auto`` for the best there is, ``cpu``, ``cuda`` or ``mps``.
        workers: processes that decode; None for what suits the device.

    Raises:
        ConfigError: there is no such run or device, its method writes no captions, or a setting is wrong.
        DataError: a path does not exist, a folder has nothing to look at, or nothing can be read.
        StorageError: ``out`` is a file of another kind, or cannot be written.
    """
    if out is not None:
        check_replaceable(Path(out), b'"caption": ', "file of captions of Accord")
    model = load(run, device, workers)
    field = _looks_at(model, Captions if question is None else Answers)
    given = [images] if isinstance(images, str | Path) else images
    corpus, paths = readable_files(field, [path for item in given for path in media_files(Path(item), field)])
    if question is None:
        written = model.caption_corpus(corpus, decoding=decoding, seed=seed)
    else:
        written = model.answer_corpus(_asked(corpus, question), decoding=decoding, seed=seed)
    found = [Captioned(path, str(text), text.score) for path, text in zip(paths, written, strict=True)]
    if out is not None:
        lines = (json.dumps({**vars(item), "image": str(item.image)}, ensure_ascii=False) for item in found)
        write_atomically(Path(out), "".join(f"{line}\n" for line in lines))
    return found


def _asked(corpus: Corpus, question: str) -> Corpus:
    """The rows with a question beside each."""
    rows = corpus.rows.add_column(QUESTION, [question] * len(corpus))
    return replace(corpus, rows=rows, columns=corpus.columns.model_copy(update={"input_text": QUESTION}))


def _looks_at(model: Model, ability: type[Ability]) -> str:
    """The medium that the model says something of.

    Raises:
        ConfigError: it says nothing of any.
    """
    model.able(ability)
    media = [field for field, made in declarations().items() if made.medium]
    return next(field for field in model.method.subjects_of(media) if field in media)
