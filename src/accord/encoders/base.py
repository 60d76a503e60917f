"""The contract of every encoder: an input of one modality goes in, :class:`Features` come out."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from contextvars import ContextVar
from dataclasses import replace
from fnmatch import fnmatchcase
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from accord.data.inputs import Input
from accord.data.loading.streams import Features, Stream
from accord.encoders.freezing import Freeze, frozen_names, resting
from accord.encoders.pooling import masked_mean
from accord.encoders.stages import repeated
from accord.errors import ConfigError

RANDOM = "random initialisation"
_HALF: ContextVar[torch.dtype | None] = ContextVar("half", default=None)  # see `encoders_in`
_AT_ONCE = 16 * 3 * 224**2  # input values, 16 pictures: more are no faster on a processor, and take gigabytes


class Encoder(nn.Module):
    """Base of all encoders.

    A subclass sets ``modality``, ``gives`` and ``dim``, implements :meth:`encode`, lists its trainable
    :meth:`blocks` from input to output, and returns from :meth:`spec` what :func:`build_encoder` needs to
    rebuild its architecture without weights. What it adds to a pretrained network it names in ``adapters``.

    Called with :class:`Features` instead of raw input, an encoder returns them unchanged: a frozen encoder's
    features can be computed once and fed again.
    """

    modality: ClassVar[str]
    gives: frozenset[str] = frozenset({"pooled"})  # "pooled", "tokens" where it has a main sequence, names of streams
    adapters: tuple[str, ...] = ()  # patterns of the names of parameters that are trained whatever is frozen
    dim: int
    input: Input
    weights_from: str = RANDOM  # what was loaded, printed and recorded

    def encode(self, x: Any, mask: Tensor | None = None) -> Features:
        """Features of raw input ``x`` (a batch tensor of this modality); ``mask`` is True on real positions."""
        raise NotImplementedError

    def encode_layers(self, x: Any, mask: Tensor | None = None) -> Features:
        """:meth:`encode` with the stream ``layers`` ``(B, L, D)``: :meth:`layer_vector` of each repeated block.

        Raises:
            ConfigError: the encoder has no repeated blocks of one width.
        """
        features, hidden = self.encode_hidden(x, mask)
        vectors = torch.stack([self.layer_vector(tokens, features) for tokens in hidden], dim=1)  # (B, L, D)
        return Features(features.pooled, streams={**features.streams, "layers": Stream(vectors)}, main=features.main)

    def encode_hidden(self, x: Any, mask: Tensor | None = None) -> tuple[Features, list[Tensor]]:
        """:meth:`encode`, and what each repeated block returned ``(B, N, D)``, where there is padding as well.

        Raises:
            ConfigError: the encoder has no repeated blocks of one width.
        """
        if "layers" not in self.gives:
            name = self.spec()["name"]
            raise ConfigError(f"{self.modality} encoder {name} has no layers of one width: choose a transformer")
        with _outputs(repeated(self.blocks())) as hidden:
            return self.encode(x, mask), hidden

    def layer_vector(self, hidden: Tensor, features: Features) -> Tensor:
        """One vector ``(B, D)`` for what a block returned ``(B, N, D)``; here the mean over the real positions."""
        tokens, mask = features.sequence()
        return masked_mean(hidden[:, : tokens.shape[1]], mask)

    def forward(
        self, x: Any, mask: Tensor | None = None, *, layers: bool = False, times: Tensor | None = None
    ) -> Features:
        """:meth:`encode`, or the identity on :class:`Features`; without gradient when frozen.

        Args:
            x: a batch of this modality.
            mask: ``(B, N)`` bool, True where ``x`` is real; None when all of it is, or there is no padding.
            layers: also the stream ``layers``, see :meth:`encode_layers`.
            times: ``(B, T)`` seconds of the frames of a clip or the snippets of a sequence, for the streams' times.
        """
        if isinstance(x, Features):
            return x
        encode = self.encode_layers if layers else self.encode
        with self.computing():
            features = self._in_portions(encode, x, mask)
        features = features if _HALF.get() is None else features.to(torch.float32)
        return features if times is None else _timed(features, times)

    @contextmanager
    def computing(self) -> Iterator[None]:
        """How the network is run: without gradient when frozen, in half precision where :func:`encoders_in` says so."""
        half, device = _HALF.get(), next((parameter.device.type for parameter in self.parameters()), "cpu")
        precision = nullcontext() if half is None else torch.autocast(device, half)
        with torch.no_grad() if self.frozen else nullcontext(), precision:
            yield

    def _in_portions(self, encode: Callable[..., Features], x: Any, mask: Tensor | None) -> Features:
        """:meth:`encode`; on a processor a few items after the other, where neither gradients nor a batch's
        statistics bind them together."""
        alone = isinstance(x, Tensor) and x.device.type == "cpu" and not torch.compiler.is_compiling()
        if not alone or self.training or torch.is_grad_enabled() or x.numel() <= _AT_ONCE:
            return encode(x, mask)
        items = max(1, _AT_ONCE // x[0].numel())
        masks = [None] * -(-len(x) // items) if mask is None else mask.split(items)
        return Features.cat([encode(*part) for part in zip(x.split(items), masks, strict=True)])

    @property
    def token_dim(self) -> int:
        """Width of a token: that of the pooled vector, unless the encoder pools through a head of its own."""
        return self.dim

    def stream_dim(self, name: str) -> int:
        """Width of the vectors of a stream: that of a token, unless the encoder gives streams of several widths."""
        return self.token_dim

    def blocks(self) -> list[nn.Module]:
        """The stages of the network from input to output, for :meth:`freeze`."""
        raise NotImplementedError

    def spec(self) -> dict[str, Any]:
        """JSON-able description that rebuilds the architecture; see :func:`accord.encoders.build_encoder`."""
        raise NotImplementedError

    @property
    def frozen(self) -> bool:
        """True when no parameter is trained."""
        return not any(parameter.requires_grad for parameter in self.parameters())

    @property
    def pretrained(self) -> bool:
        """True when weights were loaded."""
        return self.weights_from != RANDOM

    @property
    def trained_part(self) -> str:
        """What of it is trained, in words."""
        how, parameters = getattr(self, "_how", "none"), list(self.parameters())
        if self.frozen or how in ("none", len(self.blocks())):
            return "frozen" if self.frozen else "trained"
        if isinstance(how, int):
            return f"trained in its last {how} of {len(self.blocks())} blocks"
        return f"trained in {sum(one.requires_grad for one in parameters)} of its {len(parameters)} parameters"

    def usual_freeze(self) -> Freeze:
        """What ``"auto"`` stands for: pretrained weights are kept, and random ones have to be trained."""
        return "all" if self.pretrained else "none"

    def own_names(self, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The tensors of a weights file by the names of this network, where others publish them under theirs."""
        return dict(state)

    def freeze(self, what: Freeze = "all") -> Encoder:
        """Freeze a part of the encoder; its :attr:`adapters` are trained whatever is frozen.

        Modules without a trained parameter also stay in eval mode, so that their batch-norm statistics do not move.

        Args:
            what: ``"all"``, ``"none"``, all but the last ``k`` blocks (an int), :meth:`usual_freeze` (``"auto"``), or
                patterns of parameter names: see :func:`accord.encoders.freezing.frozen_names`.

        Raises:
            ConfigError: ``what`` is not one of these, ``k`` exceeds the number of blocks, or a pattern matches nothing.

        Example:
            >>> from accord.encoders import build_encoder
            >>> encoder = build_encoder("image", "tiny_vit", freeze=["model.*", "!*.bias"])
            >>> encoder.trained_part
            'trained in 26 of its 55 parameters'
        """
        how = self.usual_freeze() if what == "auto" else what
        parts = self._freeze_names(how) if isinstance(how, list) else self._freeze_blocks(how)
        for name, parameter in self.named_parameters():
            if any(fnmatchcase(name, pattern) for pattern in self.adapters):
                parameter.requires_grad_(True)
        held = {part for largest in resting(parts) for part in largest.modules()}
        self._how, self._resting = how, [name for name, part in self.named_modules() if part in held]
        return self.train(self.training)

    def _freeze_blocks(self, how: Any) -> Iterable[nn.Module]:
        """Train nothing, everything or the last blocks; the others."""
        blocks = self.blocks()
        if how not in ("all", "none") and not (type(how) is int and 0 <= how <= len(blocks)):
            raise ConfigError(
                f"freeze = {how!r}: expected 'all', 'none', 'auto', the last k of {len(blocks)} blocks, or patterns of "
                "parameter names"
            )
        first = {"all": len(blocks), "none": 0}.get(how, len(blocks) - how if type(how) is int else 0)
        self.requires_grad_(how == "none")
        for block in blocks[first:]:
            block.requires_grad_(True)
        return blocks[:first]

    def _freeze_names(self, patterns: list[str]) -> Iterable[nn.Module]:
        """Freeze the parameters of some names; where frozen ones may be."""
        held = frozen_names(patterns, [name for name, _ in self.named_parameters()], self.modality)
        for name, parameter in self.named_parameters():
            parameter.requires_grad_(name not in held)
        return self.children()

    def train(self, mode: bool = True) -> Encoder:
        """As :meth:`torch.nn.Module.train`, but what is frozen remains in eval mode."""
        super().train(mode)
        if mode and self.frozen:
            super().train(False)
        for name in getattr(self, "_resting", []):  # by name: sharded training puts other modules in their place
            self.get_submodule(name).training = False
        return self


@contextmanager
def encoders_in(half: torch.dtype) -> Iterator[None]:
    """Let encoders compute in half precision what autocast lets them, and return float32, while this lasts.

    What is computed of their features keeps its digits and its range, which in float16 ends at 65,504.
    """
    before = _HALF.set(half)
    try:
        yield
    finally:
        _HALF.reset(before)


@contextmanager
def _outputs(blocks: Iterable[nn.Module]) -> Iterator[list[Tensor]]:
    """What the blocks return while this lasts, in the order in which they run."""
    seen: list[Tensor] = []

    def keep(block: nn.Module, args: Any, out: Any) -> None:
        seen.append(out[0] if isinstance(out, tuple) else out)

    hooks = [block.register_forward_hook(keep) for block in blocks]
    try:
        yield seen
    finally:
        for hook in hooks:
            hook.remove()


def _timed(features: Features, times: Tensor) -> Features:
    """The features with the times of frames: of the main sequence, and of cells that lie in a grid of time first.

    A position that several frames make up has the time of the first.
    """
    count = times.shape[1]

    def timed(name: str, stream: Stream) -> Stream:
        cells, grid = stream.values.shape[1], stream.grid or ()
        slots = grid[0] if len(grid) > 2 else cells if name == features.main else 0
        if not slots or count % slots:
            return stream
        return replace(stream, times=times[:, :: count // slots].repeat_interleave(cells // slots, dim=1))

    streams = {name: timed(name, stream) for name, stream in features.streams.items()}
    return Features(features.pooled, streams=streams, main=features.main)


__all__ = ["Encoder", "Features", "Freeze", "Stream"]
