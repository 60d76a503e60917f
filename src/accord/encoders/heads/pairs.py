"""Heads on pairs: gates of two labels, scores of inputs with labels, weights; of all pairs at once nothing is kept."""

from __future__ import annotations

from functools import reduce
from typing import Literal, get_args

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from accord.functional.checks import as_float, check_choice, check_ndim, check_same_width, check_shape
from accord.functional.distributed import own_rows, world_size

Fuse = Literal["mean", "product"]
GateKind = Literal["sigmoid", "gumbel", "stochastic"]
GATE_SPREAD = 0.5  # standard deviation of a stochastic gate's noise
CHUNK_ELEMENTS = 1 << 22  # hidden units of pairs held at a time: 16 MiB in float32


class PairGate(nn.Module):
    """Which dimensions two classes may be compared in: a vector in [0, 1] from their labels (Hydra; 2024, arXiv).

    With ``"mean"``, the gate of ``MLP((e[y1] + e[y2]) / 2)`` of the label embeddings e; with ``"product"``,
    ``g(y1) · g(y2)`` of the gates of each label alone. Batch norm inside sees the pairs of the batch, so that
    training needs at least two, and a gate is read in eval mode.

    What the MLP gives, a, becomes a gate by ``sigmoid(a)``; in training by a draw of the binary concrete distribution
    with that chance (``"gumbel"``; Maddison et al. 2017, ICLR), or by ``clamp(a + 1/2 + ε, 0, 1)`` with ε of standard
    deviation 1/2 (``"stochastic"``; Yamada et al. 2020, ICML). In eval mode nothing is drawn.

    Args:
        num_classes: number of labels.
        dim: width of the gate.
        embed: width of the label embedding.
        hidden: width of the hidden layer.
        fuse: how the labels come together.
        kind: how an activation becomes a gate.

    Raises:
        ValueError: an unknown way to fuse, or kind of gate.

    Example:
        >>> gate = PairGate(10, dim=4, embed=8, hidden=16).eval()
        >>> first, second = torch.tensor([0, 3]), torch.tensor([5, 3])
        >>> torch.equal(gate(first, second), gate(second, first))
        True
    """

    def __init__(
        self,
        num_classes: int,
        dim: int,
        embed: int = 512,
        hidden: int = 1024,
        fuse: Fuse = "mean",
        kind: GateKind = "sigmoid",
    ) -> None:
        super().__init__()
        check_choice(get_args(Fuse), fuse=fuse)
        check_choice(get_args(GateKind), kind=kind)
        self.fuse, self.kind = fuse, kind
        self.label_embedding = nn.Embedding(num_classes, embed)
        self.mlp = nn.Sequential(
            nn.ReLU(),
            nn.BatchNorm1d(embed),
            nn.Linear(embed, hidden),
            nn.ReLU(),
            nn.BatchNorm1d(hidden),
            nn.Linear(hidden, dim),
        )

    def forward(self, y1: Tensor, y2: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """Gate of the pairs of labels ``y1 (B,)`` and ``y2 (B,)``; ``(B, dim)``, see :meth:`drawn`."""
        return self.drawn(y1, y2, generator)[0]

    def drawn(self, y1: Tensor, y2: Tensor, generator: torch.Generator | None = None) -> tuple[Tensor, Tensor]:
        """A gate of each pair, and the chance of each of its dimensions to be open.

        Args:
            y1: ``(B,)`` int64.
            y2: ``(B,)`` int64.
            generator: the same in all processes, which draw for the pairs of all and keep those of their own.

        Returns:
            ``(B, dim)`` twice, float32; the second has a gradient where the first was clamped, and is the first where
            nothing is drawn.

        Raises:
            ShapeError: not two vectors of equal length.
        """
        check_ndim(1, y1=y1)
        check_shape((len(y1),), y2=y2)
        first, second = self.label_embedding(y1), self.label_embedding(y2)
        fused = [(first + second) / 2] if self.fuse == "mean" else [first, second]
        gates, chances = zip(*(self._opened(self.mlp(labels).float(), generator) for labels in fused), strict=True)
        return reduce(torch.mul, gates), reduce(torch.mul, chances)

    def _opened(self, activation: Tensor, generator: torch.Generator | None) -> tuple[Tensor, Tensor]:
        if self.kind == "stochastic":
            middle = activation + 0.5
            noise = _shared_noise(activation, generator).clamp(1e-6, 1 - 1e-6) if self.training else None
            moved = middle if noise is None else middle + GATE_SPREAD * torch.special.ndtri(noise)
            return moved.clamp(0, 1), torch.special.ndtr(middle / GATE_SPREAD)
        chance = activation.sigmoid()
        if self.kind == "sigmoid" or not self.training:
            return chance, chance
        return (activation + torch.logit(_shared_noise(activation, generator), eps=1e-6)).sigmoid(), chance


class OpenGate(nn.Module):
    """A gate that lets all dimensions through, whatever the labels: the control of :class:`PairGate`.

    Args:
        dim: width of the gate.

    Example:
        >>> OpenGate(3)(torch.tensor([0]), torch.tensor([5]))
        tensor([[1., 1., 1.]])
    """

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.dim = dim

    def forward(self, y1: Tensor, y2: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """Ones ``(B, dim)`` for the pairs of labels ``y1 (B,)`` and ``y2 (B,)``."""
        return self.drawn(y1, y2)[0]

    def drawn(self, y1: Tensor, y2: Tensor, generator: torch.Generator | None = None) -> tuple[Tensor, Tensor]:
        """Ones twice, as :meth:`PairGate.drawn`."""
        ones = torch.ones(len(y1), self.dim, device=y1.device)
        return ones, ones


def _shared_noise(like: Tensor, generator: torch.Generator | None) -> Tensor:
    """Uniform noise in [0, 1) of that shape, drawn for the rows of all processes, of which these are the own ones."""
    rows, width = like.shape
    return torch.rand(world_size() * rows, width, device=like.device, generator=generator)[own_rows(rows)]


class LabelMatcher(nn.Module):
    """Score inputs against labels that are themselves vectors, so that new labels are new rows.

    ``"gile"``: ``w · (tanh(W_x x + b_x) ⊙ tanh(W_l l + b_l)) + b`` (Pappas and Henderson 2019, TACL). ``"concat"``: a
    two-layer MLP on ``[x; l]`` (CLESS; Rethmeier and Augenstein 2022), computed without the table of all pairs.

    Args:
        dim_x: width of the inputs.
        dim_l: width of the label vectors.
        joint: width J of the joint space, or of the hidden layer.
        form: which of the two.

    Example:
        >>> LabelMatcher(8, 6, joint=4)(torch.randn(3, 8), torch.randn(5, 6)).shape
        torch.Size([3, 5])
    """

    def __init__(self, dim_x: int, dim_l: int, joint: int, form: Literal["gile", "concat"] = "gile") -> None:
        super().__init__()
        if form not in ("gile", "concat"):
            raise ValueError(f"form = {form!r}: expected 'gile' or 'concat'")
        self.form = form
        self.input, self.label = nn.Linear(dim_x, joint), nn.Linear(dim_l, joint, bias=form == "gile")
        self.out = nn.Linear(joint, 1)

    def forward(self, x: Tensor, labels: Tensor) -> Tensor:
        """Logit of every ``x (B, dim_x)`` with every label ``(C, dim_l)``; ``(B, C)``.

        Labels ``(B, C, dim_l)`` are of each input its own.

        Raises:
            ShapeError: shapes that do not fit.
        """
        check_shape((None, self.input.in_features), x=x)
        check_shape((*((len(x), None) if labels.ndim == 3 else (None,)), self.label.in_features), labels=labels)
        left, right = self.input(x), self.label(labels)
        if labels.ndim == 3:
            left = left[:, None]  # (B, 1, J)
            return self.out((left + right).tanh() if self.form == "concat" else left.tanh() * right.tanh())[..., 0]
        if self.form == "concat":
            return _pair_scores(left, right, self.out)
        return (left.tanh() * self.out.weight) @ right.tanh().T + self.out.bias


class PairWeightMLP(nn.Module):
    """Weight of every pair in (0, 1): ``sigmoid(v · tanh(W (f_i + c_j) + b) + b')`` (AdaMEOW; Yu et al. 2024, TKDE).

    W is applied to each side once, and the hidden layer of the pairs is made in chunks of rows and again in the
    backward pass: beyond the result, memory is linear in the number of rows.

    Args:
        d: width of the embeddings.
        hidden: width of the hidden layer.

    Example:
        >>> PairWeightMLP(8)(torch.randn(3, 8), torch.randn(5, 8)).shape
        torch.Size([3, 5])
    """

    def __init__(self, d: int, hidden: int = 16) -> None:
        super().__init__()
        self.inner, self.out = nn.Linear(d, hidden), nn.Linear(hidden, 1)

    def forward(self, zf: Tensor, zc: Tensor) -> Tensor:
        """Weights of rows ``zf (M, d)`` against ``zc (N, d)``; ``(M, N)``.

        Raises:
            ShapeError: not matrices of equal width.
        """
        check_same_width(zf=zf, zc=zc)
        return _pair_scores(self.inner(zf), F.linear(zc, self.inner.weight), self.out).sigmoid()

    def parts(self, zf: Tensor, zc: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """What :func:`accord.functional.adaptive_infonce` makes the weights of.

        Returns:
            ``(M, J)`` and ``(N, J)``, the two sides of the hidden units; their readout ``(J,)`` and its bias ``(1,)``.

        Raises:
            ShapeError: not matrices of equal width.
        """
        check_same_width(zf=zf, zc=zc)
        with torch.autocast(zf.device.type, enabled=False):
            right = F.linear(as_float(zc), self.inner.weight)
            return self.inner(as_float(zf)), right, self.out.weight[0], self.out.bias


def _pair_scores(left: Tensor, right: Tensor, out: nn.Linear) -> Tensor:
    """``out(tanh(left_i + right_j))`` of all pairs without ``(M, N, J)``; ``(M, N)`` in float32 at least."""

    def score(rows: Tensor) -> Tensor:
        return (rows[:, None] + right).tanh() @ weight

    with torch.autocast(left.device.type, enabled=False):
        left, right, weight = as_float(left), as_float(right), as_float(out.weight[0])
        chunks = left.split(max(1, CHUNK_ELEMENTS // max(1, right.numel())))
        return torch.cat([checkpoint(score, rows, use_reentrant=False) for rows in chunks]) + out.bias
