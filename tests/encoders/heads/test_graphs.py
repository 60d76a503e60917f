"""Graph layers: against released code, in every layout of the adjacency."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from accord.encoders.heads import (
    MetaPathContext,
    SemanticAttention,
    SharedGCN,
)


def random(*shape: int) -> Tensor:
    return torch.randn(*shape, dtype=torch.float64)


def test_the_shared_gcn_is_that_of_the_released_code(golden) -> None:
    given = golden("meow")
    gcn = SharedGCN(8, d_in=5)
    gcn.load_state_dict(
        {"weight1": given["gcn_w1"], "weight2": given["gcn_w2"], "activation.weight": given["gcn_prelu"]}
    )
    for adjacency in (given["gcn_adj"], given["gcn_adj"].to_sparse(), given["gcn_adj"].to_sparse_csr()):
        torch.testing.assert_close(gcn(given["gcn_x"], adjacency), given["gcn_out"], rtol=1e-5, atol=1e-5)


def test_the_shared_gcn_normalises_the_whole_matrix_and_its_gradient_does_not_depend_on_the_layout() -> None:
    gcn, adjacency = SharedGCN(3).double(), torch.rand(6, 6, dtype=torch.float64)
    adjacency = adjacency.masked_fill(adjacency < 0.5, 0)
    x = random(6, 3).requires_grad_()
    out = gcn(x, adjacency)
    assert out.mean().item() == pytest.approx(0, abs=1e-9)
    assert out.var(correction=0).item() == pytest.approx(1, rel=1e-2)
    assert out.mean(dim=1).abs().max() > 0.05
    weight, inputs = random(6, 3), (x, *gcn.parameters())
    want = torch.autograd.grad((out * weight).sum(), inputs)
    for convert in (Tensor.to_sparse, Tensor.to_sparse_csr):
        got = torch.autograd.grad((gcn(x, convert(adjacency)) * weight).sum(), inputs)
        for mine, theirs in zip(got, want, strict=True):
            torch.testing.assert_close(mine, theirs)
    with torch.autocast("cpu", torch.bfloat16):
        assert gcn.float()(x.detach().bfloat16(), adjacency.float().to_sparse()).dtype == torch.float32


def test_semantic_attention_weighs_views_by_their_mean_and_gives_equal_views_equal_weight() -> None:
    attention, views = SemanticAttention(4).double(), [random(5, 4) for _ in range(3)]
    out, beta = attention(views)
    score = [attention.query[0] @ torch.tanh(attention.project(view)).mean(dim=0) for view in views]
    want = torch.stack(score).exp() / torch.stack(score).exp().sum()
    torch.testing.assert_close(beta, want)
    torch.testing.assert_close(out, sum(w * view for w, view in zip(want, views, strict=True)))
    same, even = attention([views[0]] * 4)
    torch.testing.assert_close(even, torch.full((4,), 0.25, dtype=torch.float64))
    torch.testing.assert_close(same, views[0])


def test_contexts_are_means_of_neighbours_and_a_node_without_any_keeps_its_own_features() -> None:
    module = MetaPathContext(3, 2).double()
    target, nodes = random(4, 3), [random(5, 3), random(2, 3)]
    matrices = [(torch.rand(4, size) < 0.6).double() for size in (5, 2)]
    for matrix in matrices:
        matrix[3] = 0
    message = torch.zeros(4, 3, dtype=torch.float64)
    for matrix, features, mapping in zip(matrices, nodes, module.maps, strict=True):
        for i in range(4):
            near = [features[j] for j in range(len(features)) if matrix[i, j]]
            if near:
                message[i] += mapping(torch.stack(near).mean(dim=0))
    want = F.elu(target + message)
    for convert in (lambda m: m, Tensor.to_sparse, Tensor.to_sparse_csr):
        got = module(target, list(zip(map(convert, matrices), nodes, strict=True)))
        torch.testing.assert_close(got, want)
    torch.testing.assert_close(want[3], F.elu(target[3]))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: SharedGCN(2)(torch.zeros(3, 2), torch.eye(2)), "adjacency has shape"),
        (lambda: SemanticAttention(2)([]), "views is empty"),
        (lambda: SemanticAttention(2)([torch.zeros(3, 2), torch.zeros(2, 2)]), r"views\[1\] has shape"),
        (lambda: MetaPathContext(2, 1)(torch.zeros(3, 2), []), "contexts has 0 entries: expected 1"),
        (lambda: MetaPathContext(2, 1)(torch.zeros(3, 2), [(torch.eye(3), torch.zeros(2, 2))]), r"contexts\[0\]"),
    ],
)
def test_wrong_arguments_are_named(call, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call()
