"""Blocks of a CLIP's towers as the start of transformers of the same sizes, which read something else.

HBI's over frames begins as CLIP's text tower, CiCo's over windows as its image tower.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, get_args

import torch
from torch import Tensor, nn

from accord.encoders.bundles.clip import ClipImageTower, ClipTextTower
from accord.encoders.clip_tower import clip_vision_state
from accord.encoders.transformer import ActivationName, Transformer

_OURS = {
    ".attn.": ".self_attn.",
    **{".ln_1.": ".norm1.", ".ln_2.": ".norm2."},
    **{".mlp.c_fc.": ".linear1.", ".mlp.c_proj.": ".linear2."},
}


@dataclass(frozen=True, eq=False)
class ClipBlocks:
    """What a tower of a CLIP lends.

    Args:
        width: of a token.
        depth: number of blocks.
        heads: attention heads.
        activation: inside the MLPs.
        state: all tensors of the tower but its token embedding and last norm, by the names of
            :class:`~accord.encoders.clip_tower.ClipVisionTransformer`.
    """

    width: int
    depth: int
    heads: int
    activation: ActivationName
    state: Mapping[str, Tensor]

    @torch.no_grad()
    def lend(self, transformer: Transformer) -> bool:
        """Give a transformer of these sizes the first blocks, as many as both have; returns whether it is such one."""
        layers: Any = transformer.layers  # nn.TransformerEncoderLayers, which nn.ModuleList does not tell
        sizes = (layers[0].linear1.in_features, transformer.heads, transformer.activation)
        if sizes != (self.width, self.heads, self.activation):
            return False
        for number, layer in enumerate(layers[: self.depth]):
            layer.load_state_dict(self._block(number))
        return True

    @torch.no_grad()
    def lend_positions(self, positions: nn.Parameter) -> None:
        """Give a table ``(N, width)`` the first positions, as many as both have."""
        found = self.state["positional_embedding"][: len(positions)]
        positions[: len(found)] = found

    def _block(self, number: int) -> dict[str, Tensor]:
        """The tensors of a block by the names of a layer of :class:`Transformer`."""
        start, found = f"resblocks.{number}", {}
        for name, value in self.state.items():
            if name.startswith(f"{start}."):
                own = name.removeprefix(start)
                for theirs, ours in _OURS.items():
                    own = own.replace(theirs, ours)
                found[own.removeprefix(".")] = value
        return found


def clip_blocks(tower: Any) -> ClipBlocks | None:
    """The blocks of a bundle's encoder.

    None where it is no tower of a CLIP as transformers has it, or its MLPs are not those of :class:`Transformer`.
    """
    if not isinstance(tower, ClipImageTower | ClipTextTower):
        return None
    config = tower.model.config
    if config.hidden_act not in get_args(ActivationName) or config.intermediate_size != 4 * config.hidden_size:
        return None
    sizes = (config.hidden_size, config.num_hidden_layers, config.num_attention_heads, config.hidden_act)
    return ClipBlocks(*sizes, clip_vision_state(tower.model.state_dict()))
