"""The contract of every encoder: an input of one modality goes in, :class:`Features` come out."""

from __future__ import annotations

from typing import Any, ClassVar, Literal

import torch
from torch import Tensor, nn

from accord.data.features import Features
from accord.data.inputs import Input
from accord.errors import ConfigError

Freeze = Literal["none", "all", "auto"] | int
RANDOM = "random initialisation"
_AT_ONCE = 16 * 3 * 224**2  # input values, 16 pictures: more are no faster on a processor, and take gigabytes


class Encoder(nn.Module):
    """Base of all encoders.

    A subclass sets ``modality``, ``gives`` and ``dim``, implements :meth:`encode`, lists its trainable
    :meth:`blocks` from input to output, and returns from :meth:`spec` what :func:`build_encoder` needs to
    rebuild its architecture without weights.

    Called with :class:`Features` instead of raw input, an encoder returns them unchanged: a frozen encoder's
    features can be computed once and fed again.
    """

    modality: ClassVar[str]
    gives: frozenset[str] = frozenset({"pooled"})  # of "pooled", "tokens", "maps"
    dim: int
    input: Input
    weights_from: str = RANDOM  # what was loaded, printed and recorded

    def encode(self, x: Any, mask: Tensor | None = None) -> Features:
        """Features of raw input ``x`` (a batch tensor of this modality); ``mask`` is True on real positions."""
        raise NotImplementedError

    def forward(self, x: Any, mask: Tensor | None = None) -> Features:
        """:meth:`encode`, or the identity on :class:`Features`; without gradient when frozen."""
        if isinstance(x, Features):
            return x
        if self.frozen:
            with torch.no_grad():
                return self._in_portions(x, mask)
        return self._in_portions(x, mask)

    def _in_portions(self, x: Any, mask: Tensor | None) -> Features:
        """:meth:`encode`; on a processor a few items after the other, where neither gradients nor a batch's
        statistics bind them together."""
        alone = isinstance(x, Tensor) and x.device.type == "cpu" and not torch.compiler.is_compiling()
        if not alone or self.training or torch.is_grad_enabled() or x.numel() <= _AT_ONCE:
            return self.encode(x, mask)
        items = max(1, _AT_ONCE // x[0].numel())
        masks = [None] * -(-len(x) // items) if mask is None else mask.split(items)
        return Features.cat([self.encode(*part) for part in zip(x.split(items), masks, strict=True)])

    @property
    def token_dim(self) -> int:
        """Width of a token: that of the pooled vector, unless the encoder pools through a head of its own."""
        return self.dim

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
        held = len(getattr(self, "_frozen_blocks", []))
        if self.frozen or not held:
            return "frozen" if self.frozen else "trained"
        return f"trained in its last {len(self.blocks()) - held} of {len(self.blocks())} blocks"

    def usual_freeze(self) -> Freeze:
        """What ``"auto"`` stands for: pretrained weights are kept, and random ones have to be trained."""
        return "all" if self.pretrained else "none"

    def freeze(self, what: Freeze = "all") -> Encoder:
        """Freeze ``"all"``, ``"none"``, all but the last ``k`` blocks (an int), or :meth:`usual_freeze` (``"auto"``).

        Frozen blocks also stay in eval mode, so that their batch-norm statistics do not move.

        Raises:
            ConfigError: ``what`` is not one of these, or ``k`` exceeds the number of blocks.
        """
        what = self.usual_freeze() if what == "auto" else what
        blocks = self.blocks()
        if what not in ("all", "none") and not (isinstance(what, int) and 0 <= what <= len(blocks)):
            raise ConfigError(
                f"freeze = {what!r}: expected 'all', 'none', 'auto' or the last k of {len(blocks)} blocks"
            )
        trained = {"all": 0, "none": len(blocks)}.get(what, what) if isinstance(what, str) else what
        self.requires_grad_(what == "none")
        for block in blocks[len(blocks) - int(trained) :]:
            block.requires_grad_(True)
        self._frozen_blocks = [] if what == "none" else blocks[: len(blocks) - int(trained)]
        return self.train(self.training)

    def train(self, mode: bool = True) -> Encoder:
        """As :meth:`torch.nn.Module.train`, but frozen blocks remain in eval mode."""
        super().train(mode)
        if mode and self.frozen:
            super().train(False)
        for block in getattr(self, "_frozen_blocks", []):
            block.eval()
        return self


__all__ = ["Encoder", "Features", "Freeze"]
