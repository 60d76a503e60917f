"""Layers on the nodes of graphs: a convolution shared by graphs, attention over views, context along meta-paths."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from accord.errors import ShapeError
from accord.functional.checks import as_float, check_range, check_same_shape, check_shape


class SharedGCN(nn.Module):
    """Two graph convolutions and one normalisation of the whole matrix, for any number of graphs (MEOW).

    ``LN(A PReLU(A X W1) W2)`` without bias. The layer norm has one mean and one variance for all nodes and
    dimensions together, and no parameters.

    Args:
        dim: width of hidden layer and output.
        d_in: width of the input, by default ``dim``.
        dropout: share of ``X W1`` and of ``H W2`` that is dropped.

    Example:
        >>> SharedGCN(4)(torch.randn(3, 4), torch.eye(3).to_sparse()).shape
        torch.Size([3, 4])
    """

    def __init__(self, dim: int, d_in: int | None = None, dropout: float = 0.0) -> None:
        super().__init__()
        bound = dim**-0.5
        self.weight1 = nn.Parameter(torch.empty(dim if d_in is None else d_in, dim).uniform_(-bound, bound))
        self.weight2 = nn.Parameter(torch.empty(dim, dim).uniform_(-bound, bound))
        self.activation, self.dropout = nn.PReLU(), nn.Dropout(dropout)

    def forward(self, x: Tensor, adjacency: Tensor) -> Tensor:
        """Embed nodes ``x (N, d_in)`` over ``adjacency (N, N)``, dense or sparse, in float32; ``(N, dim)``.

        Raises:
            ShapeError: shapes that do not fit.
        """
        check_shape((None, len(self.weight1)), x=x)
        check_shape((len(x), len(x)), adjacency=adjacency)
        with torch.autocast(x.device.type, enabled=False):  # sparse products have no half precision
            hidden = self.activation(adjacency @ self.dropout(as_float(x) @ self.weight1))
            out = adjacency @ self.dropout(hidden @ self.weight2)
            return F.layer_norm(out, out.shape)


class SemanticAttention(nn.Module):
    """Weigh views of the same nodes by how they look on average (Wang et al. 2019, WWW, "HAN").

    ``β = softmax_m(q · mean_i tanh(V h_i^m + b))``, and the sum of the views with these weights.

    Args:
        dim: width of the views.
        dropout: share of q that is dropped.

    Example:
        >>> out, beta = SemanticAttention(4)([torch.randn(3, 4), torch.randn(3, 4)])
        >>> out.shape, beta.shape
        (torch.Size([3, 4]), torch.Size([2]))
    """

    def __init__(self, dim: int, dropout: float = 0.0) -> None:
        super().__init__()
        self.project, self.dropout = nn.Linear(dim, dim), nn.Dropout(dropout)
        self.query = nn.Parameter(torch.empty(1, dim))
        nn.init.xavier_normal_(self.project.weight, gain=1.414)
        nn.init.xavier_normal_(self.query, gain=1.414)

    def forward(self, views: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
        """The fused nodes ``(N, dim)`` and the weights ``(m,)`` of m views, each ``(N, dim)``.

        Raises:
            ShapeError: no view, or views of different shapes.
        """
        if not views:
            raise ShapeError("views is empty: expected at least one (N, dim)")
        check_same_shape(**{f"views[{position}]": view for position, view in enumerate(views)})
        query = self.dropout(self.query).squeeze(0)
        score = torch.stack([self.project(view).tanh().mean(dim=0) @ query for view in views])
        beta = score.softmax(dim=0)
        return sum((weight * view for weight, view in zip(beta, views, strict=True)), views[0].new_zeros(())), beta


class MetaPathContext(nn.Module):
    """Add to the nodes of one type what lies along a meta-path: ``ELU(h + Σ_c Q_c mean_c)`` (MEOW).

    Context c is the mean of the neighbours of one type at one position of the path, mapped by its own ``Q_c``. Each
    meta-path has its own module.

    Args:
        dim: width of target and context nodes.
        n_contexts: contexts of the path: one for two hops, one per position for longer paths.
        dropout: share of each message that is dropped.

    Example:
        >>> paper_author = torch.tensor([[1.0, 1.0], [0.0, 1.0], [0.0, 0.0]]).to_sparse()
        >>> MetaPathContext(4, 1)(torch.randn(3, 4), [(paper_author, torch.randn(2, 4))]).shape
        torch.Size([3, 4])
    """

    def __init__(self, dim: int, n_contexts: int, dropout: float = 0.0) -> None:
        super().__init__()
        check_range(1, max(n_contexts, 1), n_contexts=n_contexts)
        self.maps = nn.ModuleList(nn.Linear(dim, dim, bias=False) for _ in range(n_contexts))
        self.dropout = nn.Dropout(dropout)

    def forward(self, target: Tensor, contexts: Sequence[tuple[Tensor, Tensor]]) -> Tensor:
        """Nodes with their contexts, ``(N, dim)``.

        Args:
            target: ``(N, dim)``.
            contexts: for each context its matrix ``(N, M)``, dense or sparse, and the nodes ``(M, dim)``. A row of
                sum 0 gets no message.

        Raises:
            ShapeError: shapes or a number of contexts that do not fit.
        """
        if len(contexts) != len(self.maps):
            raise ShapeError(f"contexts has {len(contexts)} entries: expected {len(self.maps)}")
        message = torch.zeros_like(target)
        for position, ((matrix, nodes), mapping) in enumerate(zip(contexts, self.maps, strict=True)):
            check_shape((len(target), len(nodes)), **{f"matrix of contexts[{position}]": matrix})
            message = message + self.dropout(mapping(_neighbour_mean(matrix, nodes)))
        return F.elu(target + message)


def _neighbour_mean(matrix: Tensor, nodes: Tensor) -> Tensor:
    """Weighted mean of the neighbours of every row, zero without any; ``(N, d)`` in float32 at least."""
    with torch.autocast(nodes.device.type, enabled=False):
        nodes = as_float(nodes)
        matrix = matrix.to(nodes.dtype)
        total = matrix @ nodes.new_ones(len(nodes), 1)
        return matrix @ nodes / torch.where(total == 0, 1, total)
