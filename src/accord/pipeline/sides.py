"""What a model or an encoder makes of rows, by layer and by how much of a row it is shown."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from accord.data.corpus import Corpus
from accord.data.inputs import VideoInput
from accord.data.loading.loader import eval_loader
from accord.encoders import Encoder, build_encoder
from accord.encoders.registry import modalities
from accord.encoders.video import FrameEncoder
from accord.functional import clamp_outliers
from accord.methods.abilities import Embeds
from accord.pipeline.embedded import TABLES, read_embeddings
from accord.pipeline.model import Model, load

BATCH = 32


@dataclass(frozen=True, eq=False)
class Side:
    """One of two that are held against each other, of one modality.

    Args:
        name: what it is called.
        modality: what it reads.
        source: an encoder, a model, or vectors with the numbers of their rows.
        rows: ``(N,)`` numbers of the rows that it has vectors of; None for any.
    """

    name: str
    modality: str
    source: Encoder | Model | Tensor
    rows: NDArray[np.int64] | None = None

    @property
    def has_layers(self) -> bool:
        """Whether its layers can be looked at one by one."""
        return isinstance(self.source, Encoder) and "layers" in self.source.gives

    @property
    def reads_frames(self) -> bool:
        """Whether it can be shown more or fewer frames."""
        return isinstance(self.source, Encoder) and isinstance(self.source.input, VideoInput)

    @property
    def reads_captions(self) -> bool:
        """Whether it can be shown more or fewer captions."""
        return isinstance(self.source, Encoder) and self.modality == "text"

    def features(self, corpus: Corpus, *, layers: bool = False, shown: int | None = None, workers: int = 0) -> Tensor:
        """Its features ``(N, L, D)`` of rows, cut where they are huge; L is 1 without layers.

        Args:
            corpus: the rows.
            layers: all layers, where it has them.
            shown: frames or captions of each row; None for its own number of frames, and the first caption.
            workers: processes that decode.
        """
        if isinstance(self.source, Tensor):
            assert self.rows is not None
            place = {int(row): at for at, row in enumerate(self.rows)}
            return self.source[[place[int(row)] for row in corpus.ids]][:, None]
        if isinstance(self.source, Model):
            return self.source.embed_corpus(corpus, self.modality)[:, None]
        return clamp_outliers(
            torch.cat(list(_encoded(self.source, corpus, layers and self.has_layers, shown, workers)))
        )


def sides_of(name: str, device: torch.device, workers: int | None) -> list[Side]:
    """What a name stands for: one side for each modality.

    Args:
        name: a Parquet file with vectors; ``MODALITY:ENCODER``, such as ``text:minilm`` or
            ``video:frames:efficientnet_lite0``; or a run, a model that ships, or a bundle.
        device: where encoders compute.
        workers: processes that decode.

    Raises:
        ConfigError: there is no such encoder or model, or it embeds nothing.
        DataError: a file holds no vectors.
    """
    if Path(name).suffix.lower() in TABLES and Path(name).is_file():
        found = read_embeddings(Path(name))
        return [
            Side(f"{modality} of {name}", modality, vectors[there], found.corpus.ids[there])
            for modality, vectors in found.vectors.items()
            for there in [found.present[modality]]
        ]
    modality, _, encoder = name.partition(":")
    if encoder and modality in modalities():
        return [Side(name, modality, build_encoder(modality, encoder).eval().to(device))]
    model = load(name, device.type, workers)
    model.able(Embeds)
    return [Side(f"{modality} of {name}", modality, model) for modality in model.modalities]


def frame_indices(total: int, frames: int, native: int | None = None) -> Tensor:
    """Which of ``total`` frames are shown, ``(clips, frames of a clip)``, evenly from the first to the last.

    A model whose clips have ``native`` frames is shown fewer by repeating them in place, and more as several clips, of
    which the features are averaged.

    Args:
        total: frames there are.
        frames: how many are shown.
        native: of a clip of the model; None for a model that takes any number.

    Source:
        "Dynamic Reflections" (2026, ICLR), section 3.

    Example:
        >>> frame_indices(9, 3), frame_indices(9, 2, native=4)
        (tensor([[0, 4, 8]]), tensor([[0, 0, 8, 8]]))
        >>> frame_indices(9, 5, native=4)
        tensor([[0, 0, 2, 4],
                [4, 6, 8, 8]])
    """
    chosen = torch.linspace(0, total - 1, frames, dtype=torch.float64).round().long()
    if native is None:
        return chosen[None]
    clips = -(-frames // native)
    nearest = ((torch.arange(clips * native, dtype=torch.float64) + 0.5) * frames / (clips * native)).long()
    return chosen[nearest].reshape(clips, native)


@torch.inference_mode()
def _encoded(encoder: Encoder, corpus: Corpus, layers: bool, shown: int | None, workers: int) -> Iterator[Tensor]:
    """Features ``(B, L, D)`` of a batch of rows after the other."""
    device = next(encoder.parameters()).device
    for x, mask in _batches(encoder, corpus, shown, workers):
        mask = None if mask is None else mask.to(device)
        yield _vectors(encoder, x.to(device), mask, layers, shown).float().cpu()


def _vectors(encoder: Encoder, x: Tensor, mask: Tensor | None, layers: bool, shown: int | None) -> Tensor:
    native = encoder.input.frames if isinstance(encoder.input, VideoInput) else None
    if native is None or shown is None or shown == native or isinstance(encoder, FrameEncoder):
        found = encoder(x, mask, layers=layers)
        return found.stream("layers").values if layers else found.pooled[:, None]
    real = [x.shape[1]] * len(x) if mask is None else mask.sum(dim=1).tolist()
    chosen = torch.stack([frame_indices(total, shown, native) for total in real]).to(x.device)  # (B, clips, native)
    row = torch.arange(len(x), device=x.device)[:, None]
    return torch.stack([_vectors(encoder, x[row, clip], None, layers, None) for clip in chosen.unbind(dim=1)]).mean(
        dim=0
    )


def _batches(
    encoder: Encoder, corpus: Corpus, shown: int | None, workers: int
) -> Iterator[tuple[Tensor, Tensor | None]]:
    if encoder.modality == "text" and shown is not None:
        texts = [" ".join(each[:shown]) for each in corpus.texts()]
        tokenizer: Any = encoder.input.tokenizer  # type: ignore[union-attr]
        for first in range(0, len(texts), BATCH):
            yield tokenizer(texts[first : first + BATCH])
        return
    spec: Any = encoder.input
    spec = replace(spec, frames=shown) if isinstance(spec, VideoInput) and shown is not None else spec
    name = encoder.modality
    for batch in eval_loader(corpus, {name: spec}, batch_size=BATCH, workers=workers, modalities=[name]):
        yield batch[name], batch.get(f"{name}_mask")
