"""Heads: against released code, against dense references, and at the edges that each of them has."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from accord.encoders import heads
from accord.encoders.heads import (
    AttentionalPooler,
    LabelMatcher,
    MetaPathContext,
    MLPHead,
    PairGate,
    PairWeightMLP,
    PixelPropagation,
    PrefixProjector,
    QueryMLP,
    SemanticAttention,
    SemanticGrouping,
    SharedGCN,
    prepend,
)
from accord.errors import ShapeError


@pytest.fixture(autouse=True)
def seeded() -> None:
    torch.manual_seed(0)


def random(*shape: int) -> Tensor:
    return torch.randn(*shape, dtype=torch.float64)


# -- projectors


def test_a_projector_has_its_hidden_layers_biases_and_last_norm() -> None:
    head = MLPHead(3, 4, hidden=5, layers=2, bias=False, last_bias=True, norm_last="plain")
    kinds = [type(part).__name__ for part in head]
    assert kinds == [*["Linear", "BatchNorm1d", "ReLU"] * 2, "Linear", "BatchNorm1d"]
    assert [part.bias is not None for part in head if isinstance(part, nn.Linear)] == [False, False, True]
    assert (head[-2].in_features, head[-2].out_features, head[-1].affine) == (5, 4, False)
    assert MLPHead(3, 4, hidden=5, norm_last="affine")[-1].affine
    assert [type(part) for part in MLPHead(3, 4, layers=0)] == [nn.Linear]


def test_a_projector_is_the_maps_one_after_the_other() -> None:
    head = MLPHead(3, 4, hidden=5).double()
    x = random(6, 3)
    hidden = x @ head[0].weight.T + head[0].bias
    hidden = (hidden - hidden.mean(dim=0)) / (hidden.var(dim=0, unbiased=False) + 1e-5).sqrt()
    torch.testing.assert_close(head(x), hidden.clamp(min=0) @ head[3].weight.T + head[3].bias)


# -- query map


def test_the_query_map_normalises_maps_activates_normalises_and_maps() -> None:
    head, x = QueryMLP(6, 4).double(), random(2, 3, 6)
    standard = (x - x.mean(-1, keepdim=True)) / (x.var(-1, correction=0, keepdim=True) + 1e-5).sqrt()
    hidden = standard @ head[1].weight.T + head[1].bias
    hidden = hidden * 0.5 * (1 + torch.erf(hidden / 2**0.5))
    hidden = (hidden - hidden.mean(-1, keepdim=True)) / (hidden.var(-1, correction=0, keepdim=True) + 1e-5).sqrt()
    torch.testing.assert_close(head(x), hidden @ head[4].weight.T + head[4].bias)


# -- attentional pooler


def test_the_pooler_is_that_of_the_released_code(golden) -> None:
    given = {name.removeprefix("pool_cap_"): value for name, value in golden("coca").items()}
    pooler = AttentionalPooler(16, 12, n_queries=5, n_heads=4).double()
    pooler.load_state_dict(
        {
            "query": given["query"],
            "query_norm.weight": given["lnq_w"],
            "query_norm.bias": given["lnq_b"],
            "context_norm.weight": given["lnk_w"],
            "context_norm.bias": given["lnk_b"],
            "attention.q_proj_weight": given["q_w"],
            "attention.k_proj_weight": given["k_w"],
            "attention.v_proj_weight": given["v_w"],
            "attention.in_proj_bias": given["in_b"],
            "attention.out_proj.weight": given["o_w"],
            "attention.out_proj.bias": given["o_b"],
        }
    )
    torch.testing.assert_close(pooler(given["x"]), given["out"])
    torch.testing.assert_close(pooler(given["x"], torch.ones(3, 9, dtype=torch.bool)), given["out"])


def test_padding_is_not_attended_to_and_a_row_without_tokens_is_zero_with_finite_gradients() -> None:
    pooler, tokens = AttentionalPooler(8, 6, 3, 2).double(), random(3, 5, 6).requires_grad_()
    mask = torch.tensor([[1, 1, 1, 1, 1], [1, 1, 0, 0, 0], [0, 0, 0, 0, 0]]).bool()
    pooled = pooler(tokens, mask)
    torch.testing.assert_close(pooled[1:2], pooler(tokens[1:2, :2]))
    assert not pooled[2].any()
    pooled.square().sum().backward()
    assert tokens.grad.isfinite().all()
    assert not tokens.grad[1, 2:].any()
    assert not tokens.grad[2].any()


def test_the_pooler_is_blind_to_the_order_of_tokens() -> None:
    pooler, tokens = AttentionalPooler(8, 8, 3, 2).double(), random(2, 5, 8)
    torch.testing.assert_close(pooler(tokens), pooler(tokens[:, torch.randperm(5)]))


# -- gate


def test_the_gate_is_that_of_the_released_code(golden) -> None:
    prefix = "feature_filter_gate.in.w."
    given = golden("hydra_pairs")
    gate = PairGate(4, dim=12, embed=8, hidden=16)
    weights = {name.removeprefix(prefix).replace("__", "."): v for name, v in given.items() if name.startswith(prefix)}
    gate.load_state_dict(weights, strict=False)
    got = gate(given["feature_filter_gate.in.y1"], given["feature_filter_gate.in.y2"])
    torch.testing.assert_close(got, given["feature_filter_gate.out.gate"], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("fuse", ["mean", "product"])
def test_the_gate_does_not_depend_on_the_order_of_the_labels(fuse: str) -> None:
    gate = PairGate(6, dim=3, embed=4, hidden=5, fuse=fuse).double()
    y1, y2 = torch.randint(6, (7,)), torch.randint(6, (7,))
    first = gate(y1, y2)
    torch.testing.assert_close(first, gate(y2, y1))
    assert ((first > 0) & (first < 1)).all()


def test_the_product_gate_is_the_product_of_the_gates_of_its_labels() -> None:
    gate = PairGate(6, dim=3, embed=4, hidden=5, fuse="product").eval()
    both = gate(torch.tensor([1]), torch.tensor([4]))
    own = [gate(torch.tensor([label]), torch.tensor([label])).sqrt() for label in (1, 4)]
    torch.testing.assert_close(both, own[0] * own[1])


# -- dense heads


@pytest.mark.parametrize("layers", [0, 1, 2])
def test_pixel_propagation_smooths_the_transformed_map(layers: int) -> None:
    module, x = PixelPropagation(4, num_layers=layers).double(), random(2, 4, 3, 2)
    assert sum(isinstance(part, nn.Conv2d) for part in module.modules()) == layers
    unit, values = F.normalize(x.flatten(2), dim=1), F.normalize(module.transform(x).flatten(2), dim=1)
    similarity = torch.einsum("nci,ncj->nij", unit, unit).clamp(min=0).square()
    want = torch.einsum("nij,ncj->nci", similarity, values).view(2, 4, 3, 2)
    torch.testing.assert_close(module(x), want)


def test_grouping_is_that_of_the_released_code(golden) -> None:
    given = golden("slotcon")
    module = SemanticGrouping(6, 8)
    with torch.no_grad():
        module.prototypes.copy_(given["grp_C"])
    slots, dots = module(given["grp_x"])
    torch.testing.assert_close(slots, given["grp_slots"], rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(dots, given["grp_dots"], rtol=1e-5, atol=1e-5)
    loss = (slots * given["grp_probe_slots"]).sum() + (dots * given["grp_probe_dots"]).sum()
    loss.backward()
    torch.testing.assert_close(module.prototypes.grad, given["grp_grad_C"], rtol=1e-4, atol=1e-4)


# -- prefix


def test_the_prefix_holds_constant_tokens_then_those_of_the_embedding() -> None:
    projector, z = PrefixProjector(4, 6, n_tokens=3, n_constant=2), torch.randn(2, 4)
    prefix = projector(z)
    assert prefix.shape == (2, 5, 6)
    assert torch.equal(prefix[0, :2], prefix[1, :2])
    torch.testing.assert_close(prefix[:, 2:].flatten(1), projector.project(z))
    assert PrefixProjector(4, 6)(z).shape == (2, 4, 6)


def test_prepending_extends_the_mask_in_its_own_type_and_works_without_text() -> None:
    prefix, embeds = torch.randn(2, 3, 4), torch.randn(2, 2, 4)
    tokens, mask = prepend(prefix, embeds, torch.tensor([[1, 0], [1, 1]]))
    assert torch.equal(tokens, torch.cat([prefix, embeds], dim=1))
    assert mask.tolist() == [[1, 1, 1, 1, 0], [1, 1, 1, 1, 1]]
    tokens, mask = prepend(prefix)
    assert torch.equal(tokens, prefix)
    assert mask.dtype == torch.bool
    assert mask.all()
    with pytest.raises(ShapeError, match=r"embeds has shape \(2, 2, 5\)"):
        prepend(prefix, torch.randn(2, 2, 5))


# -- pairs


def dense_label_scores(matcher: LabelMatcher, x: Tensor, labels: Tensor) -> Tensor:
    rows = []
    for vector in x:
        row = []
        for label in labels:
            left, right = matcher.input(vector), matcher.label(label)
            joint = left.tanh() * right.tanh() if matcher.form == "gile" else (left + right).tanh()
            row.append(matcher.out(joint))
        rows.append(torch.cat(row))
    return torch.stack(rows)


def dense_weights(module: PairWeightMLP, zf: Tensor, zc: Tensor) -> Tensor:
    return module.out(module.inner(zf[:, None] + zc).tanh()).squeeze(-1).sigmoid()


@pytest.mark.parametrize("chunk", [1, 1 << 22])
@pytest.mark.parametrize("form", ["gile", "concat"])
def test_labels_are_scored_as_one_by_one_in_any_chunk(monkeypatch, form: str, chunk: int) -> None:
    monkeypatch.setattr(heads, "CHUNK_ELEMENTS", chunk)
    matcher = LabelMatcher(4, 3, joint=5, form=form).double()
    x, labels = random(6, 4).requires_grad_(), random(7, 3).requires_grad_()
    inputs = (x, labels, *matcher.parameters())
    got, want = matcher(x, labels), dense_label_scores(matcher, x, labels)
    torch.testing.assert_close(got, want)
    weight = random(6, 7)
    for mine, theirs in zip(
        torch.autograd.grad((got * weight).sum(), inputs),
        torch.autograd.grad((want * weight).sum(), inputs),
        strict=True,
    ):
        torch.testing.assert_close(mine, theirs)


def test_a_concatenating_matcher_is_a_two_layer_network_on_both_vectors() -> None:
    matcher = LabelMatcher(4, 3, joint=5, form="concat").double()
    network = nn.Sequential(nn.Linear(7, 5), nn.Tanh(), nn.Linear(5, 1)).double()
    network[0].weight.data = torch.cat([matcher.input.weight, matcher.label.weight], dim=1).detach()
    network[0].bias.data, network[2] = matcher.input.bias.detach(), matcher.out
    x, labels = random(2, 4), random(3, 3)
    want = [[network(torch.cat([a, b])).item() for b in labels] for a in x]
    torch.testing.assert_close(matcher(x, labels), torch.tensor(want, dtype=torch.float64))


@pytest.mark.parametrize("chunk", [1, 40, 1 << 22])
def test_pair_weights_equal_the_dense_table_in_any_chunk(monkeypatch, chunk: int) -> None:
    monkeypatch.setattr(heads, "CHUNK_ELEMENTS", chunk)
    module = PairWeightMLP(4, hidden=3).double()
    zf, zc = random(6, 4).requires_grad_(), random(7, 4).requires_grad_()
    inputs = (zf, zc, *module.parameters())
    got, want = module(zf, zc), dense_weights(module, zf, zc)
    torch.testing.assert_close(got, want)
    weight = random(6, 7)
    for mine, theirs in zip(
        torch.autograd.grad((got * weight).sum(), inputs),
        torch.autograd.grad((want * weight).sum(), inputs),
        strict=True,
    ):
        torch.testing.assert_close(mine, theirs)
    torch.testing.assert_close(module(zf[2:4], zc), want[2:4])  # a block of rows


class LargestTensor(torch.utils._python_dispatch.TorchDispatchMode):
    """Notes the largest number of elements that any operation returns."""

    largest = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        out = func(*args, **(kwargs or {}))
        for tensor in out if isinstance(out, tuple | list) else [out]:
            if isinstance(tensor, Tensor):
                self.largest = max(self.largest, tensor.numel())
        return out


def test_pair_weights_never_hold_the_hidden_layer_of_all_pairs(monkeypatch) -> None:
    monkeypatch.setattr(heads, "CHUNK_ELEMENTS", 16 * 200 * 2)
    module, z = PairWeightMLP(8), torch.randn(200, 8, requires_grad=True)
    with LargestTensor() as seen:
        module(z, z).sum().backward()
    assert seen.largest == 200 * 200  # 640,000 with the hidden layer


def test_pair_scores_are_single_precision_under_autocast_and_accept_no_rows() -> None:
    module, z = PairWeightMLP(4), torch.randn(5, 4)
    with torch.autocast("cpu", torch.bfloat16):
        got = module(z, z)
    assert got.dtype == torch.float32
    torch.testing.assert_close(got, module(z, z), rtol=0.02, atol=0.02)
    assert module(z[:0], z).shape == (0, 5)
    assert module(z, z[:0]).shape == (5, 0)


# -- graphs


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


# -- arguments


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: MLPHead(2, 3, norm_last="batch"), "norm_last = 'batch'"),
        (lambda: MLPHead(2, 3, layers=-1), "layers = -1"),
        (lambda: AttentionalPooler(4, 3, 0, 1), "n_queries = 0"),
        (lambda: AttentionalPooler(4, 3, 1, 1)(torch.zeros(2, 5, 4)), r"tokens has shape \(2, 5, 4\)"),
        (lambda: AttentionalPooler(4, 3, 1, 1)(torch.zeros(2, 5, 3), torch.zeros(2, 4)), "mask has shape"),
        (lambda: PairGate(2, 3, fuse="sum"), "fuse = 'sum'"),
        (lambda: PairGate(2, 3)(torch.tensor([0]), torch.tensor([0, 1])), r"y2 has shape \(2,\): expected \(1,\)"),
        (lambda: PixelPropagation(2, num_layers=3), "num_layers = 3"),
        (lambda: PrefixProjector(2, 3, n_tokens=0), "n_tokens = 0"),
        (lambda: PrefixProjector(2, 3)(torch.zeros(2, 3)), r"z has shape \(2, 3\)"),
        (lambda: LabelMatcher(2, 3, 4, form="sum"), "form = 'sum'"),
        (lambda: LabelMatcher(2, 3, 4)(torch.zeros(1, 2), torch.zeros(1, 2)), "labels has shape"),
        (lambda: PairWeightMLP(2)(torch.zeros(1, 2), torch.zeros(1, 3)), "zc has shape"),
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
